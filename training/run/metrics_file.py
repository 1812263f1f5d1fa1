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


def lost(path: Path, step: int, logged: int) -> str:
    """A message if fewer training rows up to `step` are left than the `logged` of the run; else empty."""
    left = sum(row["kind"] == "train" and row["step"] <= step for row in rows(path))
    if left >= logged:
        return ""
    what = (
        f"{logged - left} of its {logged} rows of training"
        if path.is_file()
        else "the file is gone, and with it its rows"
    )
    return f"{path}: up to step {step}, {what} are lost; training goes on, and so does the file"
