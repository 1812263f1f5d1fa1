"""The wandb run of a folder, by the library's own writer: online, or offline for `wandb sync`."""

import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from training.mirrors import wandb_account
from training.mirrors.writer import NotInstalled, Row, run_id

START, UPLOAD = 30.0, 60.0  # seconds that wandb may take online
WRITTEN = 30.0  # and after an offline run, to have its file there


class WandbRun:
    def __init__(self, run: Any):
        self._run = run
        run.define_metric("step")
        run.define_metric("*", step_metric="step", step_sync=False)  # else a row without gets the last one seen

    def log(self, step: int, row: Row) -> None:
        self._run.log({**row, "step": step})

    def show(self, step: int, columns: Sequence[str], rows: Sequence[Sequence[str]], pictures: Mapping[str, Path]):
        import wandb

        shown: dict[str, Any] = {name: wandb.Image(str(path)) for name, path in pictures.items()}
        if rows:
            shown["samples"] = wandb.Table(columns=list(columns), data=[list(row) for row in rows])
        self._run.log(shown | {"step": step})

    def curve(self, name: str, x: str, rows: Sequence[Row]) -> None:
        """A table, a plot of its first column on the run's page, and points under `name/COLUMN` against `x`, which a
        workspace draws as lines of many runs."""
        import wandb

        columns = [x, *(column for column in rows[0] if column != x)]
        table = wandb.Table(columns=list(columns), data=[[row.get(column) for column in columns] for row in rows])
        self._run.define_metric(x)
        self._run.define_metric(f"{name}/*", step_metric=x, step_sync=False)
        self._run.log({f"{name}/plot": wandb.plot.line(table, x, columns[1], title=f"{name}: {columns[1]}")})
        for row in rows:
            points = {f"{name}/{column}": value for column, value in row.items() if column != x and value is not None}
            self._run.log({x: row[x], **points})

    def summarise(self, values: Mapping[str, Any]) -> None:
        self._run.summary.update(values)

    def finish(self, *, failed: bool) -> None:
        """Raises RuntimeError where wandb's own process has ended without a word and an offline run has no file."""
        self._run.finish(exit_code=1 if failed else 0)
        written, deadline = Path(self._run.settings.sync_file), time.monotonic() + WRITTEN
        while self._run.offline and not written.is_file():  # it may be written a moment after the end
            if time.monotonic() > deadline:
                raise RuntimeError(f"nothing was written to {written.parent}")
            time.sleep(0.1)


def kill() -> None:
    """Ends the process that writes for wandb in the background and no longer answers; wandb has no call for it."""
    import psutil
    import wandb

    for child in psutil.Process().children():
        if child.name().startswith("wandb"):
            child.kill()
    wandb.teardown()


def start_wandb(workdir: Path, config: ConfigDict) -> WandbRun | None:
    """The run of this folder. None where wandb is disabled; offline where the server cannot be reached."""
    mode = wandb_account.mode_of(config.wandb.mode)
    if mode == "disabled":
        return None
    try:
        import wandb
    except ImportError:
        raise NotInstalled("wandb is not installed: metrics go to metrics.jsonl alone") from None
    if os.environ.get("WANDB_RUN_ID") != run_id(workdir):  # wandb reads it too, and refuses what is no id
        os.environ.pop("WANDB_RUN_ID", None)
    settings = wandb.Settings(
        silent=True,
        console="off",
        reinit="create_new",  # beside others of this process
        init_timeout=START,
        finish_timeout=UPLOAD,
    )

    def begin(mode: Any, *, fresh: bool = False) -> WandbRun:
        run = wandb.init(
            project=config.wandb.project,
            group=config.wandb.group,
            name=f"{config.wandb.name}-seed{config.seed}",
            job_type=config.model.name,
            config=config.to_dict(),
            id=run_id(workdir, fresh=fresh),
            resume="allow",
            dir=str(workdir),
            settings=settings,
            mode=mode,
        )
        return WandbRun(run)

    try:
        if mode == "online" and not wandb_account.reachable():
            raise ConnectionError(f"{wandb_account.server()} does not answer")
        return begin(mode)
    except Exception as error:  # no network, a key that is refused, an id that was deleted there or is in use here
        said = str(error).strip().splitlines()
        taken = "in use" in str(error) or "deleted" in str(error)
        if not taken and not isinstance(error, ConnectionError):
            wandb.teardown()  # else the id of what could not begin stays in use
        run = begin("offline", fresh=taken)  # where this raises the same, it is said by who leaves wandb out
        print(f"wandb: {said[0] if said else type(error).__name__}; going on offline", file=sys.stderr, flush=True)
        return run
