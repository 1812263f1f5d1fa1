"""A job is one process: one run, or several runs of one cell. It is described by a file, with its log beside it.

The runs of a cell share a process, so they share its start and its compiled programs. A run that measures time has a
process of its own.
"""

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from data import whole_file
from experiments.engine.process import LOG
from experiments.engine.schedule import Due
from experiments.engine.trial import Spec
from experiments.questions.question import Probing

FOLDER = "jobs"  # beside the runs' folders


class Job(NamedTuple):
    name: str
    folder: Path
    runs: tuple[Spec, ...]
    alone: bool = False  # it measures time

    @property
    def file(self) -> Path:
        return self.folder / f"{self.name}.json"

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}{LOG}"

    @property
    def left(self) -> list[Spec]:
        return [one for one in self.runs if not one.rows.exists()]

    def write(self) -> Path:
        plain = [dataclasses.asdict(one) for one in self.runs]
        whole_file.write_json(self.file, {"runs": plain, "alone": self.alone})
        return self.file


def read(file: Path) -> Job:
    """Raises ValueError for a file that is not a job."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        probes = [tuple(Probing(**probing) for probing in one["probes"]) for one in found["runs"]]
        runs = tuple(Spec(**{**one, "probes": mine}) for one, mine in zip(found["runs"], probes, strict=True))
        return Job(file.stem, file.parent, runs, found["alone"])
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{file} is not a job; remove it") from None


def together(due: Iterable[Due], spec: Callable[[Due], Spec], slots: int) -> list[Job]:
    """The jobs for these runs, in order. The trials, and the seeds, of a cell stay together, but are split so that each
    of `slots` processes has work."""
    cells: dict[tuple, list[Due]] = {}
    for one in due:
        cells.setdefault(tuple(one.key) if one.alone else (one.key.name, one.role), []).append(one)
    parts = math.ceil(slots / max(len(cells), 1))
    return [_job(part, spec) for mine in cells.values() for part in _split(mine, parts)]


def _split(runs: Sequence[Due], parts: int) -> list[Sequence[Due]]:
    size = math.ceil(len(runs) / parts)
    return [runs[start : start + size] for start in range(0, len(runs), size)]


def _job(runs: Sequence[Due], spec: Callable[[Due], Spec]) -> Job:
    specs = tuple(map(spec, runs))
    first = Path(specs[0].workdir)
    more = f"-and-{len(runs) - 1}-more" * (len(runs) > 1)
    return Job(first.name + more, first.parent / FOLDER, specs, any(one.alone for one in runs))


class End(NamedTuple):
    """A job is over. Its rows tell whether it did its runs."""

    job: Job
    how: str  # one line, such as "killed by signal 9 (SIGKILL)"


class Executor(Protocol):
    """Where jobs run. `execute` gives it jobs and asks which are over; it does not know questions."""

    slots: int  # how many jobs run at a time

    @property
    def running(self) -> Sequence[Job]:
        """The jobs that were taken, here or by an earlier start, and are not over."""
        ...

    def start(self, jobs: Sequence[Job]) -> None:
        """Takes as many jobs as there is room for, from the first on."""
        ...

    def wait(self, seconds: float) -> list[End]:
        """The jobs that have ended, after at most so many seconds."""
        ...

    def stop(self) -> str:
        """The user wants to leave. Returns what becomes of the running jobs, in words."""
        ...

    def close(self) -> None:
        """Ends everything that must not outlive the command."""
        ...
