"""The interface of a mirror: how a library writes, and the id under which it keeps the run."""

import os
import re
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from data import whole_file

ID = re.compile(r"[A-Za-z0-9_-]{1,64}")

Row = Mapping[str, float | int | str | None]


class Samples(NamedTuple):
    """A table of sample outputs, and pictures by name."""

    columns: list[str]
    rows: list[list[str]]
    pictures: dict[str, Path]


class Writer(Protocol):
    """One library's way of writing. Any method may raise anything."""

    def log(self, step: int, row: Row) -> None:
        """Numbers of one step."""

    def show(self, step: int, columns: Sequence[str], rows: Sequence[Sequence[str]], pictures: Mapping[str, Path]):
        """A table of sample outputs, and pictures by name."""

    def curve(self, name: str, x: str, rows: Sequence[Row]) -> None:
        """Rows of numbers against their value of `x`: a table and a line for every other column."""

    def summarise(self, values: Mapping[str, Any]) -> None:
        """Values of the run as a whole."""

    def finish(self, *, failed: bool) -> None:
        """Ends the record."""


class NotInstalled(Exception):
    """The message says how to install it."""


def run_id(workdir: Path, *, fresh: bool = False) -> str:
    """The id in RUN/wandb_id, so that a resumed run goes on there; at first that of WANDB_RUN_ID, or a new one."""
    file = workdir / "wandb_id"
    kept = file.read_text(encoding="utf-8", errors="replace").strip() if file.is_file() else ""
    for known in () if fresh else (kept, os.environ.get("WANDB_RUN_ID", "")):
        if ID.fullmatch(known):
            break
    else:
        known = secrets.token_hex(4)
    whole_file.write_text(file, known)
    return known
