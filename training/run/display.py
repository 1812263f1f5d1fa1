"""What a run prints: a progress bar with lines above it, or plain lines."""

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # only a terminal needs it
    from rich.progress import Progress, TaskID

Row = Mapping[str, float | int | str]

DOING = {"compile": "compiling", "eval": "evaluating", "save": "saving", "mirror": "sending"}
"""Words for what the clock knows."""


class Display:
    """Prints to stderr: on a terminal a bar with lines above it, elsewhere plain lines."""

    def __init__(self, title: str, steps: int, first_step: int):
        self._progress: Progress | None = None
        self._latest = ""  # of the training rows, as the bar shows it
        self._programs = 0
        if sys.stderr.isatty():
            self._progress, self._bar = start_progress(title, steps, first_step)

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


SHOWN = (
    "loss",
    "perplexity",
    "token_accuracy",
    "exact_match",
    "bleu",
    "chrf",
    "learning_rate",
    "gradient_norm",
    "target_tokens_per_second",
    "padding_share",
)


def describe(kind: str, step: int, steps: int, row: Row) -> str:
    """`step 500/2000 train  loss 1.234  ...` with the few numbers that a log wants."""
    values = "  ".join(f"{name} {_number(row[name])}" for name in SHOWN if name in row)
    return f"step {step}/{steps} {kind}  {values}"


def _number(value: float | int | str) -> str:
    """Four digits, without a power of ten where it would be of a large number."""
    return f"{value:,.0f}" if 9999.5 <= float(value) < 1e9 else f"{value:.4g}"


def start_progress(title: str, steps: int, first_step: int) -> tuple["Progress", "TaskID"]:
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
    task = bar.add_task(title, total=steps, completed=first_step, now="")
    bar.start()
    return bar, task
