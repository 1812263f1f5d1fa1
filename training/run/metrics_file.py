"""Reads `metrics.jsonl`. A kill may have cut it and a disk may have damaged it; every whole row counts."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """The whole rows, in order; none where there is no file."""
    for line in path.read_bytes().split(b"\n") if path.is_file() else []:
        if found := row(line):
            yield found


def row(line: bytes) -> dict[str, Any] | None:
    """One row; None for a cut or damaged one, or the empty line at the end."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    whole = isinstance(found, dict) and isinstance(found.get("step"), int) and isinstance(found.get("kind"), str)
    return found if whole else None


def lost(path: Path, step: int, *, train: int, val: int) -> str:
    """A message if fewer rows up to `step` are left than the `train` of training and `val` of validation that the run
    wrote; else empty."""
    left = [row["kind"] for row in rows(path) if row["step"] <= step]
    written = {"train": (train, "training"), "val": (val, "validation")}
    gone = [
        f"{number - left.count(kind)} of its {number} rows of {what}"
        for kind, (number, what) in written.items()
        if left.count(kind) < number
    ]
    if not gone:
        return ""
    if not path.is_file():
        return f"{path}: the file is gone, and its rows up to step {step} with it"
    return f"{path}: up to step {step}, {' and '.join(gone)} are lost"
