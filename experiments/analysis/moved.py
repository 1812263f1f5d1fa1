"""Compares two tables of one question: which means over seeds moved by more than their interval?"""

import math
from collections.abc import Iterator
from typing import NamedTuple

from experiments.analysis.frames import DataFrame
from experiments.analysis.statistics import Interval, t_interval

MEAN = ["run", "measure", "part", "place", "step"]  # what one mean over seeds is of
ROUNDING = 1e-6  # relative: less is no move


class Mean(NamedTuple):
    """One mean over the seeds that both tables have."""

    run: str  # the cell of the grid
    measure: str
    where: str  # part, place and step, in words
    before: Interval
    after: float

    @property
    def moved(self) -> bool:
        slack = ROUNDING * abs(self.before.mean)
        return not self.before.low - slack <= self.after <= self.before.high + slack

    @property
    def widths(self) -> float:
        """How far it moved, in half intervals."""
        half = (self.before.high - self.before.low) / 2
        return abs(self.after - self.before.mean) / half if half else math.inf


def lines(before: DataFrame, after: DataFrame, machine: tuple[str, ...] = ()) -> list[str]:
    """A line for each measure of a cell with means that moved, the farthest first, and one that counts: runs too, where
    some are missing. Measures of `machine` are left out: times of a run say how fast it was trained, not what came out.
    """
    means = [mean for mean in both(before, after) if mean.measure not in machine]
    moved: dict[tuple[str, str], list[Mean]] = {}
    for mean in means:
        if mean.moved:
            moved.setdefault((mean.run, mean.measure), []).append(mean)
    farthest = {key: max(mine, key=lambda mean: mean.widths) for key, mine in moved.items()}
    said = [
        _line(farthest[key], len(moved[key])) for key in sorted(moved, key=lambda key: -min(farthest[key].widths, 1e9))
    ]
    count, alone = sum(map(len, moved.values())), sum(not math.isfinite(m.before.high - m.before.low) for m in means)
    single = f"; {alone} of one seed have no interval" if alone else ""
    there, here = (set(zip(table["run"], table["seed"], strict=True)) for table in (before, after))
    part = f"; only {len(there & here)} of {len(there)} runs are compared" if there - here else ""
    return [*said, f"{count} of {len(means)} means moved by more than their 95 % interval{single}{part}"]


def both(before: DataFrame, after: DataFrame) -> Iterator[Mean]:
    """Every mean that both tables have, over the seeds that both have."""
    seeds = _values(before).merge(_values(after), on=[*MEAN, "seed"], suffixes=("_before", "_after"))
    for (run, measure, *where), mine in seeds.groupby(MEAN, dropna=False, sort=False):
        was, found = mine["value_before"].to_numpy(), mine["value_after"].to_numpy().mean()
        if not (math.isnan(was.mean()) and math.isnan(found)):
            yield Mean(run, measure, _words(*where), t_interval(was), float(found))


def _values(table: DataFrame) -> DataFrame:
    """A row for each mean and seed, the value chosen in trials too."""
    import pandas as pd

    nowhere = {"measure": "tuned", "part": "", "place": math.nan, "step": math.nan}
    chosen = table.assign(**nowhere, value=table["tuned"]).dropna(subset="value")
    everything = pd.concat([table, chosen]) if len(chosen) else table
    return everything.groupby([*MEAN, "seed"], dropna=False, sort=False)["value"].mean().reset_index()


def _words(part: str, place: float, step: float) -> str:
    at = [part] * bool(part) + [f"at {place:g}"] * (not math.isnan(place))
    return " ".join(at + [f"step {step:g}"] * (not math.isnan(step)))


def _line(mean: Mean, count: int) -> str:
    others = f" and {count - 1} more places" if count > 1 else ""
    was = f"{mean.before.mean:.4g} [{mean.before.low:.4g}, {mean.before.high:.4g}]"
    what = " ".join(filter(None, (mean.measure, mean.where)))
    return f"moved: {mean.run}: {what}{others}: {was} -> {mean.after:.4g}"
