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


def write_folder(folder: Path, sizes: dict[str, int]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (split, count) in enumerate(sizes.items()):
        for language, lines in zip(("xx", "yy"), pairs(count, seed), strict=True):
            write(folder / f"{split}.{language}", lines)
    return folder
