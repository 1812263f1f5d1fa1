"""Progress: one bar with the time left on a terminal, and a line for every finished run."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from training.run import metrics_file

if TYPE_CHECKING:
    from rich import progress  # imported where there is a terminal

TAIL = 4096  # bytes of metrics.jsonl that hold its last line
WIDTH = 20  # characters of the bar: a line that fills the terminal is wrapped by its ^C, and stays behind


class Progress:
    """Use as a context manager. Work is counted in seconds, estimated from recorded runs."""

    def __init__(self) -> None:
        self._bar: progress.Progress | None = None

    def __enter__(self) -> "Progress":
        if sys.stderr.isatty():
            from rich import progress
            from rich.console import Console

            columns = (
                "{task.description}",
                progress.BarColumn(WIDTH),
                progress.TaskProgressColumn(),
                "{task.fields[left]}",
            )
            self._bar = progress.Progress(*columns, console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task("starting", total=1.0, left="")
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.end()

    def end(self) -> None:
        """Takes the bar away; `say` goes on."""
        if self._bar:
            self._bar.stop()

    def say(self, line: str) -> None:
        if self._bar:
            self._bar.console.print(line, highlight=False, markup=False)
        else:
            print(line, file=sys.stderr, flush=True)

    def show(self, done: int, runs: int, worked: float, left: float, slots: int) -> None:
        """`worked` and `left` are seconds if one run is done at a time."""
        if self._bar:
            self._bar.update(
                self._task,
                completed=worked,
                total=max(worked + left, 1e-9),
                description=f"{done} of {runs} runs",
                left=f"about {duration(left / slots)} left",
            )


def last_step(folder: Path) -> int:
    """The last step that a run has logged."""
    try:
        with (folder / "metrics.jsonl").open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - TAIL))
            lines = file.read().splitlines()
        return next((row["step"] for line in reversed(lines) if (row := metrics_file.row(line))), 0)
    except OSError:
        return 0


def duration(seconds: float) -> str:
    """`45 s`, `3 min`, `2 h 10 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
