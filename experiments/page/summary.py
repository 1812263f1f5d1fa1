"""A table of thousands of rows, made short: means over seeds with intervals, and what makes a comparison fair.

Dims: N seeds.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from experiments.analysis.fairness import budget as of_cell
from experiments.analysis.statistics import Interval, t_interval
from experiments.analysis.table import axes_of
from experiments.engine.schedule import REPORT, TUNE
from experiments.engine.trial import OF_RUN

if TYPE_CHECKING:
    from pandas import DataFrame, Series

SIZE = "num_params_non_embedding"
CONVERGED = 0.01  # of the best validation loss that the last quarter of the steps may still have gained


class Value(NamedTuple):
    """Over seeds."""

    interval: Interval
    seeds: int


class Line(NamedTuple):
    """One measurement of one cell of the grid."""

    cell: tuple[str, ...]  # values of the axes
    part: str
    step: float
    places: int  # how many; 0 where the measure has none
    near: tuple[float, Value]  # the first place and its value
    far: tuple[float, Value]  # the last


class Measure(NamedTuple):
    name: str
    probe: str
    lines: list[Line]


class Fairness(NamedTuple):
    """What one cell of the grid was given, and what became of it. nan where the table does not say.

    Where a probe measures several systems in one run, each of them is a `part`, of which the size alone is known.
    """

    cell: tuple[str, ...]
    part: str
    seeds: int
    num_params: float
    num_params_non_embedding: float  # sized to `budget`, where there is one
    flops_per_token: float
    state_bytes: float
    budget: int | None = None
    steps: float = math.nan
    trials: int = 0  # values tried for the tuned one
    learning_rate: float = math.nan
    on_edge: bool = False  # whether no larger, or no smaller one was tried
    late_gain: float = math.nan  # the largest over seeds; nan where none had a loss left to lower
    best_loss: float = math.nan  # on validation, the largest over seeds
    minutes: float = math.nan  # of training and compiling, a run

    @property
    def converged(self) -> bool:
        return self.late_gain < CONVERGED or self.best_loss == 0


def measures(table: DataFrame) -> list[Measure]:
    """Every measure of the reported runs, in the table's order; those of probes before those of every run."""
    axes = axes_of(table)
    lines: dict[tuple[str, str], dict[tuple[tuple[str, ...], str, float | None], list[int]]] = {}
    columns = [table[name].tolist() for name in ("probe", "measure", "part", "step")]
    cells = list(zip(*(_texts(table[name]) for name in axes), strict=True)) or [()] * len(table)
    for index, (probe, measure, part, step) in enumerate(zip(*columns, strict=True)):
        key = (cells[index], part, None if math.isnan(step) else step)
        lines.setdefault((probe, measure), {}).setdefault(key, []).append(index)
    found = [
        Measure(measure, probe, [_line(table, *key, np.array(mine[key])) for key in sorted(mine, key=_has_part)])
        for (probe, measure), mine in lines.items()
    ]
    return sorted(found, key=lambda measure: measure.probe == OF_RUN)


def _has_part(key: tuple[tuple[str, ...], str, float | None]) -> bool:
    """Sorts what is said of a whole before what is said of its parts."""
    return bool(key[1])


def _line(table: DataFrame, cell: tuple[str, ...], part: str, step: float | None, indices: np.ndarray) -> Line:
    places = table["place"].to_numpy()[indices]
    known = sorted({place for place in places.tolist() if not math.isnan(place)})
    first, last = (known[0], known[-1]) if known else (math.nan, math.nan)

    def at(place: float) -> tuple[float, Value]:
        here = indices if math.isnan(place) else indices[places == place]
        return place, over_seeds(table["seed"].to_numpy()[here], table["value"].to_numpy()[here])

    return Line(cell, part, math.nan if step is None else step, len(known), at(first), at(last))


def over_seeds(seeds_N: Iterable[float], values_N: Iterable[float]) -> Value:
    """Mean and interval over seeds; several values of a seed count as their mean."""
    by_seed: dict[float, list[float]] = {}
    for seed, value in zip(seeds_N, values_N, strict=True):
        by_seed.setdefault(seed, []).append(value)
    return Value(t_interval([float(np.mean(mine)) for mine in by_seed.values()]), len(by_seed))


def fairness(everything: DataFrame, budgets: Mapping[str, int]) -> list[Fairness]:
    """A row a cell of the grid, in the table's order. `everything` has the trials as well; `budgets` are the question's
    at this scale."""
    axes = axes_of(everything)
    rows = []
    for run, mine in everything.query(f"role == {REPORT!r}").groupby("run", sort=False):
        cell = tuple(_texts(mine[axis])[0] for axis in axes)
        budget = of_cell(budgets, cell)
        parts = [part for part in mine.query(f"measure == {SIZE!r}")["part"].unique() if part]
        if parts:
            rows += [Fairness(cell, part, *_sizes(mine.query(f"part == {part!r}")), budget) for part in parts]
            continue
        config = json.loads(mine["config"].iloc[0])
        gains, best = (mine.loc[mine["measure"] == name, "value"] for name in ("late_gain", "best_loss"))
        chosen = mine["tuned"].iloc[0]
        tried = everything.query(f"role == {TUNE!r} and run == {run!r}")["tuned"].unique()
        rows.append(
            Fairness(
                cell,
                "",
                *_sizes(mine),
                budget,
                steps=float(config.get("steps", math.nan)),
                trials=len(tried),
                learning_rate=float(config.get("optimizer.learning_rate", math.nan)),
                on_edge=len(tried) > 1 and chosen in (min(tried), max(tried)),
                late_gain=float(gains.max()) if len(gains) and gains.notna().any() else math.nan,
                best_loss=float(best.max()) if len(best) else math.nan,
                minutes=(_mean(mine, "training_seconds") + _mean(mine, "compile_seconds")) / 60,
            )
        )
    return rows


def _sizes(rows: DataFrame) -> tuple[int, float, float, float, float]:
    """Seeds, then means over them: `Fairness` from `seeds` to `state_bytes`."""
    params, without, flops, state = (
        _mean(rows, name) for name in ("num_params", SIZE, "flops_per_token", "state_bytes")
    )
    return rows["seed"].nunique(), params, without, flops, state


def _mean(rows: DataFrame, measure: str) -> float:
    return float(rows.loc[rows["measure"] == measure, "value"].mean())


def _texts(column: Series) -> list[str]:
    """The values of an axis as words; whole numbers without a point."""
    return [f"{value:g}" if isinstance(value, float) else str(value) for value in column.tolist()]
