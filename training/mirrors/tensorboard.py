"""TensorBoard's event files in RUN/tensorboard, by tensorboardX."""

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from training.mirrors.writer import Row


class TensorBoard:
    """Writes at once, by the library's `EventsWriter`: its `SummaryWriter` has a thread and a hook at exit, which hang
    where the disk is full."""

    def __init__(self, workdir: Path, config: ConfigDict, first_step: int):
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        self._event = Event
        folder = workdir / "tensorboard"
        folder.mkdir(parents=True, exist_ok=True)
        self._file = EventsWriter(str(folder / "events"), f".{os.getpid()}")
        if first_step:  # what a killed run wrote beyond the step it resumes from is hidden
            self._write(first_step + 1, session_log=SessionLog(status=SessionLog.START))
        self._text("config", _block(json.loads(config.to_json())))
        self._file.flush()

    def log(self, step: int, row: Row) -> None:
        for name, value in row.items():
            if isinstance(value, int | float):
                self._scalar(name, value, step)
        self._file.flush()

    def show(self, step: int, columns: Sequence[str], rows: Sequence[Sequence[str]], pictures: Mapping[str, Path]):
        from matplotlib import image
        from tensorboardX import summary

        for name, path in pictures.items():
            self._write(step, summary=summary.image(name, image.imread(path)[..., :3], dataformats="HWC"))
        if rows:
            self._text("samples", _table(columns, rows), step)
        self._file.flush()

    def curve(self, name: str, x: str, rows: Sequence[Row]) -> None:
        """`x` is the step of a point."""
        self._text(f"{name}/table", _table(list(rows[0]), [list(row.values()) for row in rows]))
        for row in rows:
            for column, value in row.items():
                if column != x and isinstance(value, int | float):
                    self._scalar(f"{name}/{column} by {x}", value, round(float(row[x] or 0)))
        self._file.flush()

    def summarise(self, values: Mapping[str, Any]) -> None:
        self._text("summary", _block(values))
        self._file.flush()

    def finish(self, *, failed: bool) -> None:
        self._file.close()

    def _scalar(self, name: str, value: float, step: int) -> None:
        from tensorboardX import summary

        self._write(step, summary=summary.scalar(name, value))

    def _text(self, name: str, text: str, step: int = 0) -> None:
        from tensorboardX import summary

        self._write(step, summary=summary.text(name, text))

    def _write(self, step: int, **what: Any) -> None:
        self._file.write_event(self._event(wall_time=time.time(), step=step, **what))


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """As Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    cells = [[" ".join(str(cell).replace("|", "\\|").split()) for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def _block(values: Mapping[str, Any]) -> str:
    return "\n".join("    " + line for line in json.dumps(values, indent=1).splitlines())
