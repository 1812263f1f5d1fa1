"""Compares two tables of one question: which means over seeds moved by more than their interval?"""

import math

import numpy as np

from experiments.analysis.frames import DataFrame, Series
from experiments.analysis.statistics import Interval, t_interval

MEAN = ["run", "measure", "part", "place", "step"]  # what one mean over seeds is of
ROUNDING = 1e-6  # relative: less is no move


def lines(before: DataFrame, after: DataFrame, machine: tuple[str, ...] = ()) -> list[str]:
    """A line for each measure of a cell with means that moved, the farthest first, and one that counts: runs too, where
    some are missing. Measures of `machine` are left out: times of a run say how fast it was trained, not what came out.
    """
    means = both(before, after).query("measure not in @machine")
    moved = means[means["moved"]].sort_values("widths", ascending=False, kind="stable")
    said = [_line(mine.iloc[0], len(mine)) for _, mine in moved.groupby(["run", "measure"], sort=False)]
    alone = int(np.isinf(means["high"]).sum())
    single = f"; {alone} of one seed have no interval" if alone else ""
    there, here = (set(zip(table["run"], table["seed"], strict=True)) for table in (before, after))
    part = f"; only {len(there & here)} of {len(there)} runs are compared" if there - here else ""
    return [*said, f"{len(moved)} of {len(means)} means moved by more than their 95 % interval{single}{part}"]


def both(before: DataFrame, after: DataFrame) -> DataFrame:
    """A row for each mean that both tables have, over the seeds that both have: its interval before, what it is after,
    whether it moved, and how far in half intervals."""
    import pandas as pd

    seeds = _values(before).merge(_values(after), on=[*MEAN, "seed"], suffixes=("_before", "_after"))
    rows = [
        (*which, *t_interval(mine["value_before"]), mine["value_after"].mean(skipna=False))
        for which, mine in seeds.dropna(subset="value_before").groupby(MEAN, dropna=False, sort=False)
    ]
    numbers = [*Interval._fields, "after"]
    found = pd.DataFrame(rows, columns=[*MEAN, *numbers]).astype(dict.fromkeys(numbers, float))
    slack, half = ROUNDING * found["mean"].abs(), (found["high"] - found["low"]) / 2
    inside = found["after"].between(found["low"] - slack, found["high"] + slack)
    return found.assign(moved=~inside, widths=(found["after"] - found["mean"]).abs() / half)


def _values(table: DataFrame) -> DataFrame:
    """A row for each mean and seed, the value chosen in trials too."""
    import pandas as pd

    nowhere = {"measure": "tuned", "part": "", "place": math.nan, "step": math.nan}
    chosen = table.assign(**nowhere, value=table["tuned"]).dropna(subset="value")
    everything = pd.concat([table, chosen]) if len(chosen) else table
    return everything.groupby([*MEAN, "seed"], dropna=False, sort=False)["value"].mean().reset_index()


def _line(mean: Series, count: int) -> str:
    where = [mean["part"]] * bool(mean["part"]) + [f"at {mean['place']:g}"] * (not math.isnan(mean["place"]))
    where += [f"step {mean['step']:g}"] * (not math.isnan(mean["step"]))
    others = f" and {count - 1} more places" if count > 1 else ""
    was = f"{mean['mean']:.4g} [{mean['low']:.4g}, {mean['high']:.4g}]"
    return f"moved: {mean['run']}: {' '.join([mean['measure'], *where])}{others}: {was} -> {mean['after']:.4g}"
