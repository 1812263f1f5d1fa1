"""Two tables of one question beside each other: which means over seeds moved by more than their interval."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from experiments.analysis.statistics import Interval, t_interval
from experiments.analysis.table import Table

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


def lines(before: Table, after: Table, machine: tuple[str, ...] = ()) -> list[str]:
    """A line for each measure of a cell with means that moved, the farthest first, and one that counts. Measures of
    `machine` are left out: times of a run say how fast it was trained, not what came out."""
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
    return [*said, f"{count} of {len(means)} means moved by more than their 95 % interval{single}"]


def both(before: Table, after: Table) -> Iterator[Mean]:
    """Every mean that both tables have, over the seeds that both have."""
    there = _values(after)
    for (run, measure, *place), of_seed in _values(before).items():
        now = there.get((run, measure, *place), {})
        if seeds := sorted(of_seed.keys() & now.keys()):
            was, found = ([float(np.mean(one[seed])) for seed in seeds] for one in (of_seed, now))
            if not all(map(math.isnan, was + found)):
                yield Mean(run, measure, _words(*place), t_interval(was), float(np.mean(found)))


def _values(table: Table) -> dict[tuple[Any, ...], dict[float, list[float]]]:
    """(run, measure, part, place, step) -> seed -> values, the value chosen in trials too."""
    found: dict[tuple[Any, ...], dict[float, list[float]]] = {}
    names = ("run", "measure", "part", "place", "step", "seed", "value", "tuned")
    for run, measure, part, place, step, seed, value, tuned in zip(*(table[n].tolist() for n in names), strict=True):
        # nan is no key: it equals nothing.
        key = run, measure, part, None if math.isnan(place) else place, None if math.isnan(step) else step
        found.setdefault(key, {}).setdefault(seed, []).append(value)
        if not math.isnan(tuned):
            found.setdefault((run, "tuned", "", None, None), {}).setdefault(seed, [tuned])
    return found


def _words(part: str, place: float | None, step: float | None) -> str:
    at = [part] * bool(part) + ([] if place is None else [f"at {place:g}"])
    return " ".join(at + ([] if step is None else [f"step {step:g}"]))


def _line(mean: Mean, count: int) -> str:
    others = f" and {count - 1} more places" if count > 1 else ""
    was = f"{mean.before.mean:.4g} [{mean.before.low:.4g}, {mean.before.high:.4g}]"
    what = " ".join(filter(None, (mean.measure, mean.where)))
    return f"moved: {mean.run}: {what}{others}: {was} -> {mean.after:.4g}"
