"""Small parallel text, made up: sentences of many lengths in two invented languages."""

import gzip
from pathlib import Path

import numpy as np

WORDS = {
    "xx": ["Hund", "Mann", "große", "läuft", "über", "Straße", "und", "sieht", "Kind", "roten", "Ball", "schnell"],
    "yy": ["dog", "man", "tall", "runs", "across", "street", "and", "sees", "child", "red", "ball", "quickly"],
}


def pairs(count: int, seed: int = 0, longest: int = 14) -> tuple[list[str], list[str]]:
    random = np.random.default_rng(seed)
    lines: dict[str, list[str]] = {"xx": [], "yy": []}
    for _ in range(count):
        chosen = random.integers(0, len(WORDS["xx"]), random.integers(1, longest + 1))
        lines["xx"].append(" ".join(WORDS["xx"][i] for i in chosen))
        lines["yy"].append(" ".join(WORDS["yy"][i] for i in chosen[: max(1, len(chosen) - random.integers(0, 3))]))
    return lines["xx"], lines["yy"]


def write(path: Path, lines: list[str]) -> Path:
    content = "".join(f"{line}\n" for line in lines).encode()
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
    return path


MULTI30K = {"train": 200, "val": 20, "test_2016_flickr": 10}


def write_multi30k(folder: Path, sizes: dict[str, int] = MULTI30K) -> Path:
    """Files named as Multi30k's, in three invented languages; the splits' seeds are their places."""
    folder.mkdir(parents=True)
    for seed, (split, count) in enumerate(sizes.items()):
        german, english = pairs(count, seed)
        for language, lines in (("de", german), ("en", english), ("fr", [line.upper() for line in english])):
            write(folder / f"{split}.{language}.gz", lines)
    return folder


def write_folder(folder: Path, sizes: dict[str, int]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (split, count) in enumerate(sizes.items()):
        for language, lines in zip(("xx", "yy"), pairs(count, seed), strict=True):
            write(folder / f"{split}.{language}", lines)
    return folder
