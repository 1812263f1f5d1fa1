"""A grid over config values that nobody has written a question for: what the engine needs of it, a summary, a figure.

Dims: N seeds, X places.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import models
from experiments.analysis import fairness
from experiments.analysis.finding import Finding
from experiments.analysis.palette import Look
from experiments.analysis.statistics import Interval, t_interval
from experiments.analysis.table import COLUMNS
from experiments.questions.question import Probing, Run, Tuning, over_seeds
from models.options import flat
from training.command import cli

if TYPE_CHECKING:
    from altair import LayerChart
    from pandas import DataFrame, Series

VALIDATION = ("loss", "perplexity", "token_accuracy", "exact_match")  # the best on validation, of every run
TRANSLATION = ("bleu", "bleu_lowercase", "chrf")  # of validation, decoded greedily by the probe `bleu`
MEASURES = (*VALIDATION, *TRANSLATION)
ARCHITECTURE = "architecture"
FAMILIES = ("transformer", "rnn", "lstm", "gru", "attention", "conv", "other")  # one a series
RATE = "optimizer.learning_rate"


class Cell(NamedTuple):
    """One line of the summary: over seeds."""

    axes: dict[str, Any]
    seeds: int
    learning_rate: float
    measured: Interval
    num_params: float
    num_params_non_embedding: float
    minutes: float  # of training and compiling, a run


class Ablation:
    """To the engine a question, without claim and verdict (`experiments/questions/question.py`)."""

    VERSION = 1
    CLAIM = SOURCE = PREDICTION = CUT = UNDER_REVIEW = ""
    THRESHOLDS: Mapping[str, float] = {}
    BUDGETS: Mapping[str, Mapping[str, int]] = {}

    def __init__(
        self,
        configs: Sequence[str],
        varied: Mapping[str, Sequence[str]],
        fixed: Mapping[str, str],
        *,
        seeds: int,
        rates: Sequence[float] = (),
        budget: int = 0,
        measure: str = "",
    ):
        """Every FILE:ARGUMENT of `configs` with every combination of the `varied` values, as the command line has them.

        Raises ValueError, or ends the process with one line, for what cannot be run.
        """
        self.axes = [ARCHITECTURE] * (len(configs) > 1) + [self._axis(key, varied) for key in varied]
        tuning = Tuning(tuple(rates), key=RATE) if rates else None
        self._runs: list[Run] = []
        for where in configs:
            for values in itertools.product(*varied.values()):
                chosen = dict(zip(varied, values, strict=True))
                overrides = _typed(where, {**fixed, **chosen})
                given = [overrides[key] for key in chosen]
                if budget:
                    overrides |= _sized(where, overrides, budget)
                names = [_argument(where, configs)] * (len(configs) > 1) + [_plain(value) for value in given]
                axes = dict(zip(self.axes, names, strict=True))
                run = Run(where, axes, overrides=overrides, tuning=tuning, label=_label(axes))
                self._runs += over_seeds(run, seeds)
        self.measure = measure or cli.load(configs[0]).best.metric
        self.PROBES = (Probing("bleu"),) if self.measure in TRANSLATION else ()

    @staticmethod
    def _axis(key: str, varied: Iterable[str]) -> str:
        """The last word of a key, where it is one's alone and no column of every table."""
        last = key.rpartition(".")[2]
        alone = [one.rpartition(".")[2] for one in varied].count(last) == 1
        return last if alone and last not in (*COLUMNS, ARCHITECTURE) else key

    def runs(self, scale: str) -> list[Run]:
        return self._runs

    def verdict(self, table: DataFrame) -> Sequence[Finding]:
        return ()

    def values(self, table: DataFrame) -> DataFrame:
        """The rows of the measure. Raises ValueError where there are none."""
        name = f"best_{self.measure}" if self.measure in VALIDATION else self.measure
        if not len(rows := table[table["measure"] == name]):
            there = [one for one in MEASURES if f"best_{one}" in set(table["measure"])]
            raise ValueError(f"--measure = {self.measure} is not measured on this task; choose from {', '.join(there)}")
        return rows

    def cells(self, table: DataFrame) -> list[Cell]:
        """A line a cell, in the grid's order."""
        return [self._cell(mine) for _, mine in table.groupby("run", sort=False)]

    def _cell(self, mine: DataFrame) -> Cell:
        def mean(name: str) -> float:
            return float(mine[mine["measure"] == name]["value"].mean())

        by_seed = _of_seeds(self.values(mine))
        axes = {axis: mine[axis].iloc[0] for axis in self.axes}
        rate = json.loads(mine["config"].iloc[0])[RATE]
        sizes = mean("num_params"), mean("num_params_non_embedding")
        minutes = (mean("training_seconds") + mean("compile_seconds")) / 60
        return Cell(axes, len(by_seed), rate, t_interval(by_seed.tolist()), *sizes, minutes)

    def figure(self, table: DataFrame) -> Sequence[LayerChart]:
        """The measure over the first axis of numbers, or over names, a series for each combination of the others; every
        seed a dot, means with their 95 % interval over seeds."""
        from experiments.analysis import charts

        rows = self.values(table)
        x = next((axis for axis in self.axes if rows[axis].dtype == float), self.axes[0])
        each = dict(_series(rows, [axis for axis in self.axes if axis != x]))
        looks = {
            name: Look(FAMILIES[number % len(FAMILIES)], number // len(FAMILIES)) for number, name in enumerate(each)
        }
        places, y = rows[x].unique().tolist(), self.measure.replace("_", " ")
        cells = [
            charts.Cell(name, place, _of_seeds(here))
            for name, mine in each.items()
            for place, here in mine.groupby(x, sort=False)
        ]
        title = f"{y} by {x}"
        if rows[x].dtype != float:
            return [charts.points(cells, looks, charts.Axes(title, x, y), order=places, beside=len(each) > 1)]
        wide = len(places) > 2 and min(places) > 0 and max(places) / min(places) > 4
        return [charts.curves(cells, looks, charts.Axes(title, x, y, log_x=wide, places=places))]


def _of_seeds(rows: DataFrame) -> Series:
    """The mean of each seed."""
    return rows.groupby("seed")["value"].mean()


def _series(rows: DataFrame, axes: Sequence[str]) -> Iterator[tuple[str, DataFrame]]:
    """(name, rows) of each combination of the axes' values."""
    if not axes:
        yield "every run", rows
        return
    for values, mine in rows.groupby(list(axes), sort=False):
        yield ", ".join(f"{axis} {_shown(value)}" for axis, value in zip(axes, values, strict=True)), mine


def _typed(where: str, given: Mapping[str, str]) -> dict[str, Any]:
    """Values of the command line as the config's types; ends the process in one line where one is none."""
    words = [f"--config={where}", *(f"--config.{key}={value}" for key, value in given.items()), "--workdir=runs"]
    config, before = flat(cli.parse(words).config.to_dict()), flat(cli.load(where).to_dict())
    follows = "schedule.warmup_steps"  # of fewer steps (`cli.parse`)
    return {key: config[key] for key in (*given, *[follows] * (config[follows] != before[follows]))}


def _sized(where: str, overrides: Mapping[str, Any], budget: int) -> dict[str, Any]:
    """The widths that meet the budget. Raises ValueError for one that is given as well, or a budget too small."""
    name = cli.load(where).model.name
    if taken := [key for key in overrides if key.removeprefix("model.") in models.widths(name)]:
        raise ValueError(f"--budget = {budget} sets {taken[0]} of {name}; leave one of them out")
    return fairness.fit(where, {key: v for key, v in overrides.items() if key.startswith("model.")}, budget).overrides


def _argument(where: str, configs: Sequence[str]) -> str:
    """The architecture; with its file where that tells configs apart."""
    file, _, argument = where.rpartition(":")
    alone = [one.rpartition(":")[2] for one in configs].count(argument) == 1
    return argument if alone else f"{Path(file).stem}:{argument}"


def _plain(value: Any) -> str | int | float:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else str(value).lower()


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _label(axes: Mapping[str, Any]) -> str:
    words = (f"{key}={_shown(value)}" for key, value in axes.items())
    return ",".join(re.sub(r"[^A-Za-z0-9.=_+-]+", "-", word) for word in words)
