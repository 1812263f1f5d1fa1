"""What a question is: the contract between a file of `experiments/questions/` and the engine.

A question is a module. It says what is claimed, what was predicted before the runs, which runs it takes, what is
measured on them, and how numbers become a figure and findings; `docs/howto/ask_a_question.md` builds one.
"""

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from experiments.analysis.finding import Finding
from experiments.analysis.frames import DataFrame, LayerChart
from experiments.analysis.published import Published

SCALES = ("smoke", "cpu", "gpu")  # seconds, for the tests; 2 cores and some hours; the papers' sizes on one GPU
MOMENTS = ("start", "evaluations", "end")
NONE, DOUBLED = "none", "doubled steps"  # in the axis `control` of questions that have controls


@dataclasses.dataclass(frozen=True)
class Tuning:
    """How one value is chosen for each cell of the grid: on validation, with a seed that is not reported.

    Every value of the grid is tried. Where the best lies on an edge, the grid goes on beyond it by the ratio of its
    last two values, at most `extensions` times; a best value that is on an edge even then is named.

    Trials are as long as the reported runs, or `overrides` makes them short. The best values of short trials are not
    those of long runs: so the best two are tried at full length, then their neighbours until the best lies between two,
    and the best of these is reported.
    """

    values: tuple[float, ...]  # ascending
    key: str = "optimizer.learning_rate"
    seed: int = 1000
    metric: str = "loss"  # lowest; or token_accuracy or exact_match, highest
    extensions: int = 4
    overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # of short trials, such as fewer steps


@dataclasses.dataclass(frozen=True)
class Probing:
    """A probe that a question uses, when, with which options, and on which runs.

    `start`: before the first step; `evaluations`: wherever train.py evaluates; `end`: on the best checkpoint.
    """

    probe: str  # a name in PROBES
    at: tuple[str, ...] = ("end",)
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    only: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # runs with these axes; all where it is empty
    alone: bool = False  # it measures time: in a process of its own, one at a time

    def asks(self, axes: Mapping[str, Any]) -> bool:
        return all(axes.get(axis) == value for axis, value in self.only.items())


@dataclasses.dataclass(frozen=True)
class Run:
    """One run: a config file with its argument, and the values that are set.

    `axes` say where it lies in the grid, `{"task": "recall", "system": "gru"}`: columns of the table.
    Runs of the same axes differ in nothing but the seed.
    """

    config: str  # FILE:ARGUMENT, what train.py takes as --config
    axes: Mapping[str, str | int | float]
    seed: int = 0
    overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # by dotted key
    tuning: Tuning | None = None
    follows: str = ""  # the cell whose chosen value this one takes, as a control does, rather than have trials
    times: float = 1.0  # that value, for a control of the rate
    probes: tuple[Probing, ...] = ()  # besides the question's
    here: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # overrides of this machine, as where text lies
    label: str = ""  # in place of the name that follows from the axes

    @property
    def name(self) -> str:
        """Of its cell, fit for a folder; the seeds of a cell share it."""
        if self.label:
            return self.label
        words = (re.sub(r"[^a-z0-9.]+", "-", str(value).lower()).strip("-") for value in self.axes.values())
        return "-".join(words)


class Question(Protocol):
    """What a module of `experiments/questions/` holds."""

    CLAIM: str  # as taught
    SOURCE: str  # who teaches it, and what is known against it
    VERSION: int  # raised when code or settings change its numbers
    HISTORY: Mapping[int, str]  # a line a version: what changed; what was wrong, how it was found
    UNDER_REVIEW: str  # why its verdict is not shown for now; empty where it is
    PREDICTION: str  # written before the runs
    THRESHOLDS: Mapping[str, float]  # what counts as an effect, written before the runs
    CUT: str  # what scale `cpu` leaves out of the papers' settings
    LIMITS: str  # what the verdict does not show
    BUDGETS: Mapping[str, Mapping[str, int]]  # by scale: what models are sized to (`fairness.budget`)
    PROBES: Sequence[Probing]

    def runs(self, scale: str) -> Iterable[Run]:
        """The grid. Raises ValueError for a scale that the question does not have."""
        ...

    def figure(self, table: DataFrame) -> Sequence[LayerChart]:
        """The panels, drawn from the table and nothing else (`experiments/analysis/charts.py`)."""
        ...

    def training(self, table: DataFrame) -> Sequence[LayerChart]:
        """The curves of training (`experiments/analysis/training_curves.py`); empty where nothing is trained."""
        ...

    def verdict(self, table: DataFrame) -> Sequence[Finding]:
        """A finding for each claim, from the table and nothing else."""
        ...

    def published(self, table: DataFrame) -> Published | None:
        """A paper's table beside ours; None where no paper has one."""
        ...


class Unclaimed:
    """Base of what the engine runs without a claim: a sweep, a scorecard. It gives `runs`."""

    VERSION = 1
    HISTORY: Mapping[int, str] = {}
    CLAIM = SOURCE = PREDICTION = CUT = LIMITS = UNDER_REVIEW = ""
    THRESHOLDS: Mapping[str, float] = {}
    BUDGETS: Mapping[str, Mapping[str, int]] = {}
    PROBES: Sequence[Probing] = ()

    def runs(self, scale: str) -> Iterable[Run]:
        raise NotImplementedError

    def figure(self, table: DataFrame) -> Sequence[LayerChart]:
        return ()

    def training(self, table: DataFrame) -> Sequence[LayerChart]:
        return ()

    def verdict(self, table: DataFrame) -> Sequence[Finding]:
        return ()

    def published(self, table: DataFrame) -> Published | None:
        return None


def over_seeds(run: Run, count: int) -> list[Run]:
    """The run with seeds 0 to `count` - 1."""
    return [dataclasses.replace(run, seed=seed) for seed in range(count)]


def controlled(run: Run) -> Run:
    """The run among its controls: NONE in the axis `control`, and the name that it has without."""
    return dataclasses.replace(run, axes={**run.axes, "control": NONE}, label=run.name)


def changed(run: Run, control: str, overrides: Mapping[str, Any] | None = None, *, times: float = 1.0) -> Run:
    """A control of a run: in the axis `control` another name, some values changed, and the rate that was chosen for the
    run itself, so many times."""
    follows = run.name if run.tuning else ""
    axes, overrides = {**run.axes, "control": control}, {**run.overrides, **(overrides or {})}
    return dataclasses.replace(run, axes=axes, overrides=overrides, follows=follows, times=times, label="")


def doubled(run: Run) -> Run:
    """The run with twice the steps, for whether training had levelled off (`experiments/analysis/levelled.py`)."""
    twice = {key: 2 * run.overrides[key] for key in ("steps", "every.eval")}
    return changed(run, DOUBLED, twice)
