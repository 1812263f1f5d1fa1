"""Where a run's numbers go: always to `RUN/metrics.jsonl`, to the display, and to a mirror such as wandb."""

import contextlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from data import whole_file
from training.machine.clock import Clock
from training.mirrors.mirror import Mirror, within
from training.mirrors.writer import Samples
from training.run import metrics_file
from training.run.display import Display, Row, describe

MOST_SECONDS = 120.0  # that samples and pictures of one evaluation may take


class Tracker:
    """Writes rows of metrics; only the first of several processes does. Use as a context manager."""

    def __init__(
        self, workdir: Path, config: ConfigDict, *, first_step: int, active: bool = True, clock: Clock | None = None
    ):
        """To the `clock` of the run, what the mirror takes is no training."""
        self._active = active
        self._clock = clock or Clock({})
        self._steps = config.steps
        self._mirror: Mirror | None = None
        self._display: Display | None = None
        self._behind: list[tuple[int, Row]] = []  # rows that the mirror has not seen
        self._samples = True  # until they fail
        if not active:
            return
        self._file = open_metrics(workdir / "metrics.jsonl", first_step)
        self._mirror = Mirror(workdir, config, first_step=first_step)
        self._display = Display(f"{config.task}:{config.model.name}", config.steps, first_step)

    def __enter__(self) -> "Tracker":
        return self

    def __exit__(self, *error: object) -> None:
        self.close(failed=error[0] is not None)

    def close(self, *, failed: bool) -> None:
        """Ends the record: nothing more is written. A second call does nothing."""
        if not self._active:
            return
        self._active = False
        if self._display:
            self._display.close()
        with contextlib.suppress(OSError):  # of a row that could not be written, which has been said
            self._file.close()
        if self._mirror:
            self.mirror()
            self._mirror.close(failed=failed)

    def advance(self, step: int) -> None:
        """Moves the progress bar."""
        if self._display:
            self._display.advance(step)

    def doing(self, activity: str) -> None:
        """What training waits for now; "" when it goes on."""
        if self._display:
            self._display.doing(activity)

    def write(self, kind: str, step: int, row: Row) -> None:
        """One line of metrics.jsonl and one of the log; the mirror gets the same under `kind/` with `mirror`."""
        if not self._active:
            return
        with whole_file.naming(Path(self._file.name)):
            self._file.write(json.dumps({"kind": kind, "step": step, **row}) + "\n")
            self._file.flush()
        self._behind.append((step, {f"{kind}/{name}": value for name, value in row.items()}))
        self.say(describe(kind, step, self._steps, row), row if kind == "train" else None)

    def mirror(self) -> None:
        """Sends the mirror what it has not seen; called after the save, if this step has one."""
        if self._behind and self._mirror and self._mirror.listens:
            with self._clock.pause("mirror"):
                for step, row in self._behind:
                    self._mirror.log(step, row)
        self._behind.clear()

    def say(self, line: str, row: Row | None = None) -> None:
        """A line for the display."""
        if self._display:
            self._display.say(line, row)

    @property
    def mirrored(self) -> bool:
        """Whether a mirror listens, which takes tables and pictures as well."""
        return self._mirror is not None and self._mirror.listens

    def show(self, step: int, make: Callable[[], Samples]) -> None:
        """Sample outputs and pictures for the mirror. Where they fail, or take too long, that is said, and there are no
        more of them."""
        if not (self._mirror and self._mirror.listens and self._samples):
            return
        try:
            columns, rows, pictures = within(MOST_SECONDS, make)
        except Exception as error:  # of drawing or decoding: the run is worth more
            lines = str(error).strip().splitlines()
            self.say(f"samples: {lines[0] if lines else type(error).__name__}; the run goes on without them")
            self._samples = False
            return
        if rows or pictures:
            self._mirror.show(step, columns, rows, pictures)

    def summarise(self, summary: Mapping[str, Any]) -> None:
        """The contents of summary.json, to the mirror."""
        if self._mirror:
            self.mirror()
            with self._clock.pause("mirror"):
                self._mirror.summarise(summary)


def open_metrics(path: Path, first_step: int):
    """Opens for appending, without the rows that a killed run wrote beyond the step it resumes from."""
    if path.exists():
        kept = [json.dumps(row) + "\n" for row in metrics_file.rows(path) if row["step"] <= first_step]
        whole_file.write_text(path, "".join(kept))
    return path.open("a", encoding="utf-8")
