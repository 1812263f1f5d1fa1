"""How far the engine is: a bar with time left and a line a running run on a terminal, plain lines elsewhere."""

import json
import sys
import time
from pathlib import Path
from typing import Any

from experiments.engine.trial import Job

TAIL = 4096  # bytes of metrics.jsonl that hold its last line


class Progress:
    """Use as a context manager. Work is counted in estimated seconds, which every finished run corrects."""

    def __init__(self, runs: int, seconds: float, jobs: int = 1):
        self._jobs = jobs
        self._runs, self._done, self._worked = runs, 0, 0.0
        self._left = seconds
        self._running: dict[str, tuple[Any, int, float]] = {}  # by folder: its bar, steps, estimated seconds
        self._bars: Any = None
        self._begun = time.monotonic()

    def __enter__(self) -> "Progress":
        if sys.stderr.isatty():
            from rich import progress
            from rich.console import Console

            self._bars = progress.Progress(
                progress.TextColumn("{task.description}"),
                progress.BarColumn(),
                progress.TaskProgressColumn(),
                progress.TimeElapsedColumn(),
                progress.TextColumn("{task.fields[left]}"),
                console=Console(stderr=True),
                transient=True,
            )
            self._bars.start()
            self._all = self._bars.add_task(f"0 of {self._runs} runs", total=1.0, left=self._time_left(0.0))
        return self

    def __exit__(self, *error: object) -> None:
        if self._bars:
            self._bars.stop()

    def say(self, line: str) -> None:
        if self._bars:
            self._bars.console.print(line, highlight=False, markup=False)
        else:
            print(line, file=sys.stderr, flush=True)

    def expect(self, left: int) -> None:
        """How many runs are left, those that are running too: trials may have extended the grid."""
        self._runs = self._done + left

    def begin(self, job: Job, steps: int, seconds: float) -> None:
        bar = self._bars.add_task(f"  {job.name}", total=steps, left="") if self._bars else None
        self._running[job.workdir] = (bar, steps, seconds)

    def end(self, job: Job, how: str, seconds: float, message: str) -> None:
        bar, _, estimated = self._running.pop(job.workdir)
        if bar is not None:
            self._bars.remove_task(bar)
        if how == "stopped":
            return
        self._done += 1
        self._worked += estimated
        self.say(f"[{self._done}/{self._runs}] {job.name}: {f'failed: {message}' if message else duration(seconds)}")

    def advance(self, waiting: float) -> None:
        """Moves the bars; `waiting` is the estimated seconds of what has not been started."""
        if not self._bars:
            return
        part = left = 0.0
        for folder, (bar, steps, seconds) in self._running.items():
            step = last_step(Path(folder))
            self._bars.update(bar, completed=step)
            part += seconds * step / steps
            left += seconds * (1 - step / steps)
        worked, self._left = self._worked + part, waiting + left
        share = worked / max(worked + self._left, 1e-9)
        self._bars.update(
            self._all, completed=share, description=f"{self._done} of {self._runs} runs", left=self._time_left(share)
        )

    def _time_left(self, share: float) -> str:
        spent = time.monotonic() - self._begun
        return (
            f"{duration(spent * (1 - share) / share)} left"
            if share > 0.01
            else f"about {duration(self._left / self._jobs)}"
        )


def last_step(folder: Path) -> int:
    """The last step that a run has logged."""
    try:
        with (folder / "metrics.jsonl").open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - TAIL))
            lines = file.read().splitlines()
        return int(json.loads(lines[-1])["step"])
    except (OSError, ValueError, IndexError, KeyError):
        return 0


def duration(seconds: float) -> str:
    """`45 s`, `3 min`, `2 h 10 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
