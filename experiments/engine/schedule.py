"""Which runs are due: trials that choose a value first, then what is reported, seed by seed.

A grid names runs; some leave a value to be tuned. What a trial's result adds to the grid (another value beyond its
edge, or at last the runs that are reported) is decided here, from what is finished, so that any start of the engine
comes to the same plan.
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
from experiments.questions.question import Probing, Question, Run, Tuning
from training.command import cli
from training.command.validate import validate

REPORT, TUNE = "report", "tune"


class Key(NamedTuple):
    """Which run of a question; all else follows from the grid."""

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
    config: ConfigDict

    @property
    def overrides(self) -> dict[str, Any]:
        """What `run.config` is changed by, for the command line."""
        values = dict(self.run.overrides)
        if self.run.tuning and self.tuned is not None:
            values[self.run.tuning.key] = self.tuned
            values |= self.run.tuning.overrides if self.role == TUNE else {}
        return values | {"seed": self.key.seed}


class Plan(NamedTuple):
    due: list[Due]  # with complete configs, finished or not, in the order to run them
    waiting: list[Run]  # reported runs whose trials are not finished


Score = Callable[[Due], float | None]
"""The validation metric of a finished trial; None where it is not finished."""


def grid(question: Question, scale: str) -> list[Run]:
    """The question's runs, checked. Raises ValueError for two of one name and seed, seeds that tuning uses, axes named
    as another column is, and probes that do not exist."""
    runs, seen = list(question.runs(scale)), set()
    check_probes(question.PROBES)
    for run in runs:
        check_probes(run.probes)
        if taken := set(run.axes) & set(COLUMNS):
            raise ValueError(f"{run.name}: axis = {taken.pop()!r} is a column that every table has; name it otherwise")
        if (run.name, run.seed) in seen:
            raise ValueError(f"runs({scale!r}) has {run.name} with seed {run.seed} twice; tell them apart by an axis")
        seen.add((run.name, run.seed))
        if run.tuning and run.seed == run.tuning.seed:
            raise ValueError(f"{run.name}: seed = {run.seed} is used for tuning and would be reported; use another")
    return runs


def plan(runs: Sequence[Run], score: Score) -> Plan:
    """What is due now, given the scores of finished trials."""
    trials: list[Due] = []
    chosen: dict[str, float] = {}
    cells = {run.name: run for run in reversed(runs)}
    for run in (cells[name] for name in dict.fromkeys(run.name for run in runs)):
        if run.tuning:
            tried, best = _trials(run, run.tuning, score)
            trials += tried
            if best is not None:
                chosen[run.name] = best
    reported = sorted(runs, key=lambda run: run.seed)  # stable: within a seed, the grid's order
    ready = [run for run in reported if not run.tuning or run.name in chosen]
    due = trials + [_due(run, REPORT, run.seed, chosen.get(run.name)) for run in ready]
    return Plan(due, [run for run in reported if run.tuning and run.name not in chosen])


def _trials(run: Run, tuning: Tuning, score: Score) -> tuple[list[Due], float | None]:
    """(every trial that the results so far ask for, the value chosen or None)."""
    values = sorted(tuning.values)
    down = values[0] / values[1] if len(values) > 1 else 1.0
    up = values[-1] / values[-2] if len(values) > 1 else 1.0
    left = tuning.extensions
    while True:
        tried = {value: _due(run, TUNE, tuning.seed, value) for value in values}
        scores = {value: score(due) for value, due in tried.items()}
        if any(found is None for found in scores.values()):
            return list(tried.values()), None
        sign = 1 if tuning.metric == "loss" else -1
        best = min(values, key=lambda value: _sortable(sign, scores[value]))
        beyond = best * down if best == values[0] else best * up if best == values[-1] else None
        if beyond is None or not left or beyond == best:
            return list(tried.values()), best
        values, left = sorted([*values, beyond]), left - 1


def reported(run: Run, tuned: float | None) -> Due:
    """A reported run with the value that was chosen for it."""
    return _due(run, REPORT, run.seed, tuned)


def assumed(run: Run) -> Due:
    """A reported run before its value is chosen, for what it will cost: with the middle of the grid."""
    values = sorted(run.tuning.values) if run.tuning else []
    return _due(run, REPORT, run.seed, values[len(values) // 2] if values else None)


def _sortable(sign: int, score: float | None) -> float:
    return math.inf if score is None or math.isnan(score) else sign * score


def _due(run: Run, role: str, seed: int, tuned: float | None) -> Due:
    incomplete = Due(Key(run.name, seed, tuned if role == TUNE else None), run, role, tuned, ConfigDict())
    return incomplete._replace(config=complete(run.config, incomplete.overrides | dict(run.here), run.name))


def complete(where: str, overrides: Mapping[str, Any], name: str = "") -> ConfigDict:
    """The locked config of FILE:ARGUMENT with `overrides` by dotted key. Raises ValueError in one line."""
    return _complete(where, json.dumps(dict(overrides)), name)


@functools.cache
def _complete(where: str, overrides: str, name: str) -> ConfigDict:
    config = cli.load(where)
    config.lock()
    try:
        config.update_from_flattened_dict(json.loads(overrides))
    except (KeyError, TypeError, AttributeError) as error:
        said = " ".join(str(error.args[0] if error.args else error).split())
        raise ValueError(f"{name or where}: {where} does not take these overrides: {said}") from None
    with config.unlocked():
        config.wandb.mode = "disabled"  # the engine sets it where asked
        config.keep = 1
    validate(config)
    return config


def reads_text(where: str) -> bool:
    """Whether runs of FILE:ARGUMENT read files, whose folder their config names."""
    return "dir" in cli.load(where).data


def with_text(runs: Iterable[Run], folder: str) -> list[Run]:
    """The runs, those on text reading it from `folder`. Raises ValueError where none of them does, or it is none."""
    runs = list(runs)
    if not Path(folder).is_dir():
        raise ValueError(f"--data = {folder} is no folder; give the one that holds the text, or leave it out")
    on_text = {where for where in {run.config for run in runs} if reads_text(where)}
    if not on_text:
        raise ValueError(f"--data = {folder}: none of these runs reads text; leave it out")
    return [dataclasses.replace(run, here={"data.dir": folder}) if run.config in on_text else run for run in runs]


def check_probes(probes: Iterable[Probing]) -> None:
    """Raises ValueError for a probe or a moment that does not exist."""
    from experiments.probes import PROBES
    from experiments.questions.question import MOMENTS

    for probing in probes:
        if probing.probe not in PROBES:
            raise ValueError(f"probe = {probing.probe!r} is not known; choose from {', '.join(PROBES)}")
        if unknown := set(probing.at) - set(MOMENTS):
            raise ValueError(f"{probing.probe}: at = {unknown.pop()!r} is no moment; choose from {', '.join(MOMENTS)}")


def alone(question: Question, runs: Iterable[Run]) -> bool:
    """Whether something measures time, so that runs must not share the machine."""
    return any(probing.alone for probing in (*question.PROBES, *(one for run in runs for one in run.probes)))


def asked_of(probings: Iterable[Probing]) -> str:
    """What probes are asked to do, as the table keeps it: a result of other options is another result."""
    return json.dumps([[one.probe, list(one.at), dict(one.options)] for one in probings], sort_keys=True)


def probes_of(question: Question, due: Due) -> tuple[Probing, ...]:
    """What is measured on this run beside what is known of every run; nothing on a trial."""
    if due.role != REPORT:
        return ()
    return (*(one for one in question.PROBES if one.asks(due.run)), *due.run.probes)


def select(runs: Iterable[Run], only: str) -> list[Run]:
    """The runs whose name or axes hold `only`: `recall`, `task=recall,system=gru`. Raises ValueError for none."""
    runs = list(runs)
    if not only:
        return runs
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
