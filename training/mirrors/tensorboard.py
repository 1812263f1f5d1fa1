"""TensorBoard's event files in RUN/tensorboard, by tensorboardX."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from training.mirrors.writer import Row


class TensorBoard:
    def __init__(self, workdir: Path, config: ConfigDict, first_step: int):
        from tensorboardX import SummaryWriter

        # What a killed run wrote beyond the step it resumes from is hidden.
        self._writer = SummaryWriter(str(workdir / "tensorboard"), purge_step=first_step + 1 if first_step else None)
        self._writer.add_text("config", _block(json.loads(config.to_json())))

    def log(self, step: int, row: Row) -> None:
        for name, value in row.items():
            if isinstance(value, int | float):
                self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def show(self, step: int, columns: Sequence[str], rows: Sequence[Sequence[str]], pictures: Mapping[str, Path]):
        from matplotlib import image

        for name, path in pictures.items():
            self._writer.add_image(name, image.imread(path)[..., :3], step, dataformats="HWC")
        if rows:
            self._writer.add_text("samples", _table(columns, rows), step)

    def curve(self, name: str, x: str, rows: Sequence[Row]) -> None:
        """`x` is the step of a point."""
        self._writer.add_text(f"{name}/table", _table(list(rows[0]), [list(row.values()) for row in rows]))
        for row in rows:
            for column, value in row.items():
                if column != x and isinstance(value, int | float):
                    self._writer.add_scalar(f"{name}/{column} by {x}", value, round(float(row[x] or 0)))

    def summarise(self, values: Mapping[str, Any]) -> None:
        self._writer.add_text("summary", _block(values))

    def finish(self, *, failed: bool) -> None:
        self._writer.close()


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """As Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    cells = [[" ".join(str(cell).replace("|", "\\|").split()) for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def _block(values: Mapping[str, Any]) -> str:
    return "\n".join("    " + line for line in json.dumps(values, indent=1).splitlines())
