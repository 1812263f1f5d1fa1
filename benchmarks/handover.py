"""What our program leaves in the folder for the peers, which have numpy: config, weights and batch; and their names."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

Weights = dict[str, np.ndarray]
FUSED = {"qkv": ("query", "key", "value"), "kv": ("key", "value")}


def leave(folder: Path, config: str, weights: Mapping[str, Any], batch: Mapping[str, Any]) -> None:
    (folder / "config.json").write_text(config, encoding="utf-8")
    np.savez(folder / "weights.npz", **weights)
    np.savez(folder / "batch.npz", **batch)


class Given(NamedTuple):
    config: SimpleNamespace  # as nested attributes
    weights: Weights  # by our names, with the columns of fused projections parted
    batch: dict[str, np.ndarray]
    vocab: int  # 0 of a stack


def read(folder: Path) -> Given:
    text = (folder / "config.json").read_text(encoding="utf-8")
    config = json.loads(text, object_hook=lambda values: SimpleNamespace(**values))
    weights: Weights = {}
    for name, array in np.load(folder / "weights.npz").items():
        fused = next((part for part in FUSED if f"/{part}/" in name), "")
        parts = FUSED.get(fused, (fused,))
        for part, columns in zip(parts, np.split(array, len(parts), axis=-1), strict=True):
            weights[name.replace(f"/{fused}/", f"/{part}/")] = columns
    return Given(config, weights, dict(np.load(folder / "batch.npz").items()), len(weights.get("head/bias", ())))


def renamed(name: str, names: str) -> str:
    """A peer's name of a parameter -> ours, by pairs of a pattern and what it becomes, one after the other."""
    words = names.split()
    for pattern, ours in zip(words[::2], words[1::2], strict=True):
        name = re.sub(pattern, ours, name)
    return name.replace(".", "/")
