"""The plan: which runs a question needs at a scale, and which of them are due now.

A grid names runs; some leave a value to be tuned. Finished trials decide what follows: a value beyond the grid's edge,
a trial at full length, and at last the reported runs. The plan depends on finished runs alone, so every start computes
the same plan.
"""

import dataclasses
import functools
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from data import checks
from experiments.analysis.table import COLUMNS
from experiments.probes import PROBES
from experiments.questions.question import MOMENTS, Probing, Question, Run, Tuning
from training.command import cli
from training.command.config_file import override
from training.command.validate import validate

REPORT, TUNE = "report", "tune"
FINALISTS = 2  # values that short trials choose for those at full length


class Key(NamedTuple):
    """Identifies a run of a question; everything else follows from the grid."""

    name: str
    seed: int
    tuned: float | None  # of a trial: the value on trial

    def __str__(self) -> str:
        trial = "" if self.tuned is None else f" trial {self.tuned:.3g}"
        return f"{self.name}{trial} seed {self.seed}"


class Due(NamedTuple):
    """A run whose config is complete."""

    key: Key
    run: Run
    role: str
    tuned: float | None  # the value tried or chosen
    overrides: dict[str, Any]  # what `run.config` is changed by, for the command line
    config: ConfigDict
    version: int = 1  # the question's
    probes: tuple[Probing, ...] = ()  # besides what every run measures; none for a trial

    @property
    def alone(self) -> bool:
        return any(probing.alone for probing in self.probes)


class Plan(NamedTuple):
    runs: list[Due]  # trials first, then reports, the seeds of a cell together; finished or not
    due: list[Due]  # those that are not finished
    waiting: list[Due]  # reported runs whose trials are not finished, with the middle of the grid
    on_edge: dict[str, float]  # cell -> its best value, where nothing beyond it was tried


Finished = Callable[[Due], Sequence[Mapping[str, Any]] | None]
"""The rows of a run; None where it is not finished."""


def plan(question: Question, scale: str, finished: Finished, *, text: str = "", only: str = "") -> Plan:
    """What is due. `text` is the folder of the text that runs read; `only` chooses runs by name or axes.

    Raises ValueError in one line for a grid, a probe, a folder or a choice that cannot be used.
    """
    every = grid(question, scale, text)
    tuned = {run.name: run for run in reversed(every) if run.tuning and not run.follows}
    cells: dict[str, list[Run]] = {}
    for run in select(every, only):
        cells.setdefault(run.name, []).append(run)
    trials: list[Due] = []
    reports: list[Due] = []
    waiting: list[Due] = []
    on_edge: dict[str, float] = {}
    for name, mine in cells.items():
        best: float | None = None
        first = tuned.get(mine[0].follows or name)
        if first and first.tuning:
            search = _Search(question, first, first.tuning, finished)
            best, beyond = search.best()
            trials += [trial for trial in search.trials if trial not in trials]
            if best is None:
                waiting += [assumed(question, run) for run in mine]
                continue
            if beyond:
                on_edge[name] = best
        reports += [reported(question, run, best and best * run.times) for run in mine]
    everything = trials + reports
    return Plan(everything, [one for one in everything if finished(one) is None], waiting, on_edge)


class _Search:
    """The search for the best value of one cell by trials. Short trials, if any, choose those at full length."""

    def __init__(self, question: Question, run: Run, tuning: Tuning, finished: Finished):
        self._question, self._run, self._tuning, self._finished = question, run, tuning, finished
        self.trials: list[Due] = []  # those that the results so far ask for

    def best(self) -> tuple[float | None, bool]:
        """(the best value, or None while trials are missing; whether a value beyond it would have to be tried)."""
        tuning = self._tuning
        ranked, beyond = self._ranked(sorted(tuning.values), [], short=bool(tuning.overrides))
        if ranked and tuning.overrides:
            ranked, beyond = self._ranked(sorted(ranked[:FINALISTS]), sorted(ranked), short=False)
        return (ranked[0] if ranked else None), beyond

    def _ranked(self, values: list[float], known: list[float], *, short: bool) -> tuple[list[float], bool]:
        """(values, the best first; whether nothing lies beyond the best). The values are extended until the best lies
        inside: by its neighbours among `known`, then by the ratio at the end of the grid. ([], False) if a trial is
        missing."""
        grid, left = sorted(self._tuning.values), self._tuning.extensions
        while True:
            trials = [self._trial(value, short) for value in values]
            self.trials += [trial for trial in trials if trial not in self.trials]
            scores = [self._score(trial) for trial in trials]
            if None in scores:
                return [], False
            ranked = [value for _, value in sorted(zip(scores, values, strict=True))]
            best = ranked[0]
            side = -1 if best == values[0] else 1 if best == values[-1] else 0
            if len(grid) == 1 or not side:
                return ranked, False
            there = [value for value in known if (value - best) * side > 0]
            if not there and not left:
                return ranked, True
            left -= not there
            ratio = grid[0] / grid[1] if side < 0 else grid[-1] / grid[-2]
            values = sorted([*values, min(there, key=lambda value: abs(value - best)) if there else best * ratio])

    def _trial(self, value: float, short: bool) -> Due:
        more = self._tuning.overrides if short else {}
        return _due(self._question, self._run, TUNE, self._tuning.seed, value, more)

    def _score(self, trial: Due) -> float | None:
        """Lowest is best; a trial that diverged scores infinity. None if it is not finished."""
        rows, metric = self._finished(trial), self._tuning.metric
        if rows is None:
            return None
        found = next((row["value"] for row in rows if row["measure"] == f"best_{metric}"), math.nan)
        return math.inf if math.isnan(found) else found if metric == "loss" else -found


def grid(question: Question, scale: str, text: str = "") -> list[Run]:
    """The question's runs, checked. Raises ValueError for two runs with one name and seed, seeds that tuning uses, axes
    named like another column, and unknown probes."""
    runs, seen = list(question.runs(scale)), set()
    _check_probes(question.PROBES)
    for run in runs:
        _check_probes(run.probes)
        if taken := set(run.axes) & set(COLUMNS):
            raise ValueError(f"{run.name}: axis = {taken.pop()!r} is a column that every table has; name it otherwise")
        if (run.name, run.seed) in seen:
            raise ValueError(f"runs({scale!r}) has {run.name} with seed {run.seed} twice; tell them apart by an axis")
        seen.add((run.name, run.seed))
        if run.follows and run.follows not in {one.name for one in runs if one.tuning and not one.follows}:
            raise ValueError(f"{run.name}: follows = {run.follows!r} is not a tuned cell of runs({scale!r})")
        if run.tuning and run.seed == run.tuning.seed:
            raise ValueError(f"{run.name}: seed = {run.seed} is used for tuning and would be reported; use another")
    return with_text(runs, text) if text else runs


def reported(question: Question, run: Run, tuned: float | None) -> Due:
    """A reported run with the value that was chosen for it."""
    return _due(question, run, REPORT, run.seed, tuned)


def assumed(question: Question, run: Run) -> Due:
    """A reported run whose value is not chosen yet, with the middle of the grid: to estimate its cost."""
    values = sorted(run.tuning.values) if run.tuning else []
    return reported(question, run, values[len(values) // 2] if values else None)


def _due(
    question: Question, run: Run, role: str, seed: int, tuned: float | None, more: Mapping[str, Any] | None = None
) -> Due:
    chosen = {run.tuning.key: tuned} if run.tuning and tuned is not None else {}
    overrides = {**run.overrides, **chosen, **(more or {}), "seed": seed}
    asked = [one for one in question.PROBES if one.asks(run.axes)]
    return Due(
        Key(run.name, seed, tuned if role == TUNE else None),
        run,
        role,
        tuned,
        overrides,
        complete(run.config, overrides | dict(run.here), run.name),
        question.VERSION,
        (*asked, *run.probes) if role == REPORT else (),
    )


def complete(where: str, overrides: Mapping[str, Any], name: str = "") -> ConfigDict:
    """The locked config of FILE:ARGUMENT with `overrides` by dotted key. Raises ValueError in one line."""
    return _complete(where, json.dumps(dict(overrides)), name)


@functools.cache
def _complete(where: str, overrides: str, name: str) -> ConfigDict:
    config = cli.load(where)
    config.lock()
    try:
        override(config, json.loads(overrides))
    except (KeyError, TypeError, AttributeError) as error:
        said = " ".join(str(error.args[0] if error.args else error).split())
        raise ValueError(f"{name or where}: {where} does not take these overrides: {said}") from None
    with config.unlocked():
        config.wandb.mode = "disabled"  # the engine sets it where asked
        config.keep = 1
    validate(config)
    return config


def reads_text(where: str) -> bool:
    """Whether runs of FILE:ARGUMENT read files from a folder that their config names."""
    return "dir" in cli.load(where).data


def with_text(runs: Sequence[Run], folder: str) -> list[Run]:
    """The runs, with `folder` as that of the text. Raises ValueError if no run reads text, or it is not a folder."""
    if not Path(folder).is_dir():
        raise ValueError(f"--data = {folder} is not a folder; give the one that holds the text, or leave it out")
    on_text = {where for where in {run.config for run in runs} if reads_text(where)}
    if not on_text:
        raise ValueError(f"--data = {folder}: none of these runs reads text; leave it out")
    return [dataclasses.replace(run, here={"data.dir": folder}) if run.config in on_text else run for run in runs]


def _check_probes(probes: Iterable[Probing]) -> None:
    """Raises ValueError for an unknown probe or moment."""
    for probing in probes:
        checks.one_of("probe", probing.probe, PROBES)
        for moment in probing.at:
            checks.one_of(f"{probing.probe}: at", moment, MOMENTS)


def select(runs: Sequence[Run], only: str) -> list[Run]:
    """The runs whose name or axes match `only`: `recall`, `task=recall,system=gru`. Raises ValueError for no match."""
    if not only:
        return list(runs)
    wanted = [word.partition("=") for word in re.split(r",(?=\w+=)", only)]  # a value may hold a comma
    axes = dict.fromkeys(axis for run in runs for axis in run.axes)
    for key, mark, _ in wanted:
        if mark:
            checks.one_of("axis in --only", key, axes)
    kept = [
        run
        for run in runs
        if all(str(run.axes.get(key)) == value if mark else key in run.name for key, mark, value in wanted)
    ]
    if not kept:
        names = ", ".join(dict.fromkeys(run.name for run in runs))
        raise ValueError(f"--only = {only} matches no run; there are {names}")
    return kept
