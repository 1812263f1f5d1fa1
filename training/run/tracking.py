"""Where a run's numbers go: `RUN/metrics.jsonl` always, a progress bar or plain lines, and wandb.

The folder is the record; wandb mirrors it and is never read back.
"""

import contextlib
import json
import netrc
import os
import secrets
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from data import whole_file

Row = Mapping[str, float | int | str]


DOING = {"compile": "compiling", "eval": "evaluating", "save": "saving"}
"""Words for what the clock knows."""


class Display:
    """What whoever watches sees: on a terminal a bar with lines above it, elsewhere plain lines, on stderr."""

    def __init__(self, config: ConfigDict, first_step: int):
        self._steps = config.steps
        self._progress: Any = None
        self._latest = ""  # of the training rows, as the bar shows it
        self._programs = 0
        if sys.stderr.isatty():
            self._progress, self._bar = start_progress(config, first_step)

    def advance(self, step: int) -> None:
        """Moves the progress bar."""
        if self._progress:
            self._progress.update(self._bar, completed=step)

    def say(self, line: str, row: Row | None = None) -> None:
        """A line. On a terminal, training rows go into the bar instead."""
        if self._progress and row:
            self._latest = f"loss {row['loss']:.4g}  {row['target_tokens_per_second']:,.0f} tok/s"
            self._progress.update(self._bar, now=self._latest)
        elif self._progress:
            self._progress.console.print(line, highlight=False, markup=False)
        else:
            print(line, file=sys.stderr, flush=True)

    def doing(self, activity: str) -> None:
        """What training waits for now; "" when it goes on. A terminal's bar shows it; elsewhere only compiling gets a
        line, since every shape of batch has a program and a large one takes a minute."""
        self._programs += activity == "compile"
        said = DOING.get(activity, activity) + (f" program {self._programs}" if activity == "compile" else "")
        if self._progress:
            self._progress.update(self._bar, now=said or self._latest)
        elif activity == "compile":
            self.say(said)

    def close(self) -> None:
        if self._progress:
            self._progress.stop()

    def __enter__(self) -> "Display":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class Tracker:
    """Writes rows of metrics; only the first of several processes does. Use as a context manager."""

    def __init__(self, workdir: Path, config: ConfigDict, *, first_step: int, active: bool = True):
        self._active = active
        self._steps = config.steps
        self._wandb: Any = None
        self._display: Display | None = None
        if not active:
            return
        self._file = open_metrics(workdir / "metrics.jsonl", first_step)
        self._wandb = start_wandb(workdir, config)
        self._display = Display(config, first_step)

    def __enter__(self) -> "Tracker":
        return self

    def __exit__(self, *error: object) -> None:
        self.close(failed=error[0] is not None)

    def close(self, *, failed: bool) -> None:
        """Ends the record; nothing more is written, and a second time nothing happens."""
        if not self._active:
            return
        self._active = False
        if self._display:
            self._display.close()
        with contextlib.suppress(OSError):  # of a row that could not be written, which has been said
            self._file.close()
        if self._wandb:
            self._wandb.finish(exit_code=1 if failed else 0)

    def advance(self, step: int) -> None:
        """Moves the progress bar."""
        if self._display:
            self._display.advance(step)

    def doing(self, activity: str) -> None:
        """What training waits for now; "" when it goes on."""
        if self._display:
            self._display.doing(activity)

    def write(self, kind: str, step: int, row: Row) -> None:
        """One line of metrics.jsonl, one of the log, and the same to wandb under `kind/`."""
        if not self._active:
            return
        with whole_file.naming(Path(self._file.name)):
            self._file.write(json.dumps({"kind": kind, "step": step, **row}) + "\n")
            self._file.flush()
        if self._wandb:
            self._wandb.log({f"{kind}/{name}": value for name, value in row.items()} | {"step": step})
        self.say(describe(kind, step, self._steps, row), row if kind == "train" else None)

    def say(self, line: str, row: Row | None = None) -> None:
        """A line for whoever watches."""
        if self._display:
            self._display.say(line, row)

    @property
    def mirrored(self) -> bool:
        """Whether wandb listens, which takes tables and pictures as well."""
        return self._wandb is not None

    def show(self, step: int, columns: Sequence[str], rows: list[list[str]], pictures: Mapping[str, Path]) -> None:
        """Sample outputs as a table, and pictures that lie in the run's folder, to wandb."""
        import wandb

        shown: dict[str, Any] = {name: wandb.Image(str(path)) for name, path in pictures.items()}
        if rows:
            shown["samples"] = wandb.Table(columns=list(columns), data=rows)
        self._wandb.log(shown | {"step": step})

    def summarise(self, summary: Mapping[str, Any]) -> None:
        """The contents of summary.json, to wandb."""
        if self._wandb:
            self._wandb.summary.update(summary)


SHOWN = (
    "loss",
    "perplexity",
    "token_accuracy",
    "exact_match",
    "learning_rate",
    "gradient_norm",
    "target_tokens_per_second",
    "padding_share",
)


def describe(kind: str, step: int, steps: int, row: Row) -> str:
    """`step 500/2000 train  loss 1.234  ...` with the few numbers that a log wants."""
    values = "  ".join(f"{name} {row[name]:.4g}" for name in SHOWN if name in row)
    return f"step {step}/{steps} {kind}  {values}"


def open_metrics(path: Path, first_step: int):
    """Opens for appending, without the rows that a killed run wrote beyond the step it resumes from."""
    if path.exists():
        rows = []
        for line in path.read_text().splitlines():
            with contextlib.suppress(json.JSONDecodeError):  # the last line of a killed run may be cut
                row = json.loads(line)
                if row["step"] <= first_step:
                    rows.append(line)
        whole_file.write_text(path, "".join(row + "\n" for row in rows))
    return path.open("a")


def start_progress(config: ConfigDict, first_step: int):
    """A bar with steps, time left, loss and speed."""
    from rich import progress
    from rich.console import Console

    bar = progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(bar_width=None),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[now]}"),
        progress.TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    task = bar.add_task(f"{config.task}:{config.model.name}", total=config.steps, completed=first_step, now="")
    bar.start()
    return bar, task


def has_wandb_credentials() -> bool:
    """Whether WANDB_API_KEY or ~/.netrc lets wandb log in."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc().authenticators("api.wandb.ai") is not None
    except (OSError, netrc.NetrcParseError):
        return False


def start_wandb(workdir: Path, config: ConfigDict):
    """The wandb run of this folder, or None. Online where there are credentials, else offline."""
    mode = config.wandb.mode
    if mode == "disabled":
        return None
    try:
        import wandb
    except ImportError:
        print("wandb is not installed: metrics go to metrics.jsonl alone", file=sys.stderr)
        return None
    if mode == "auto":
        mode = "online" if has_wandb_credentials() else "offline"
    id_file = workdir / "wandb_id"
    if not id_file.exists():
        whole_file.write_text(id_file, secrets.token_hex(4))
    settings = dict(
        project=config.wandb.project,
        group=config.wandb.group,
        name=f"{config.wandb.name}-seed{config.seed}",
        job_type=config.model.name,
        config=config.to_dict(),
        id=id_file.read_text(),
        resume="allow",
        dir=str(workdir),
        settings=wandb.Settings(silent=True, console="off", reinit="create_new"),  # beside others of this process
    )
    try:
        run = wandb.init(**settings, mode=mode)
    except wandb.Error as error:  # no network, a key that is refused: the run is worth more than its mirror
        print(f"wandb: {str(error).splitlines()[0]}; going on offline", file=sys.stderr)
        run = wandb.init(**settings, mode="offline")
    run.define_metric("step")
    run.define_metric("*", step_metric="step")
    return run
