"""A run of Trackio, which keeps its projects on this machine."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from models.options import flat
from training.mirrors.writer import Row, run_id


class Trackio:
    def __init__(self, workdir: Path, config: ConfigDict):
        import trackio

        self._run = trackio.init(
            project=config.wandb.project,
            name=f"{config.wandb.name}-seed{config.seed}-{run_id(workdir)}",
            group=config.wandb.group,
            config=config.to_dict(),
            resume="allow",
            embed=False,
        )

    def log(self, step: int, row: Row) -> None:
        self._run.log(dict(row), step=step)

    def show(self, step: int, columns: Sequence[str], rows: Sequence[Sequence[str]], pictures: Mapping[str, Path]):
        import trackio

        shown: dict[str, Any] = {name: trackio.Image(str(path)) for name, path in pictures.items()}
        if rows:
            shown["samples"] = trackio.Table(columns=list(columns), data=[list(row) for row in rows])
        self._run.log(shown, step=step)

    def curve(self, name: str, x: str, rows: Sequence[Row]) -> None:
        """`x` is the step of a point."""
        import trackio

        columns = list(rows[0])
        table = trackio.Table(columns=columns, data=[[row.get(column) for column in columns] for row in rows])
        self._run.log({f"{name}/table": table})
        for row in rows:
            points = {f"{name}/{column}": value for column, value in row.items() if column != x and value is not None}
            self._run.log(points, step=round(float(row[x] or 0)))

    def summarise(self, values: Mapping[str, Any]) -> None:
        self._run.log({f"summary/{name}": value for name, value in flat(dict(values)).items() if value is not None})

    def finish(self, *, failed: bool) -> None:
        self._run.finish()
