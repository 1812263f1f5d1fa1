"""What a question judges in a claim, as the tests recompute it, and how seeds are compared."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd


class Claim(NamedTuple):
    kind: str  # larger, smaller, equivalent; more; moved, which is counted and not tested
    limit: float  # least, most or margin
    # Of each comparison, one a seed; of `more`, seeds that solve it and seeds, of both systems.
    values: list[list[float]]
    drawn: Sequence[np.ndarray | None] = ()  # of each comparison, (seeds, draws) on resampled sentences
    # Of each comparison of `more`, of both systems: the median steps until a seed solves it, of how many.
    steps: Sequence[list[tuple[float, int]]] = ()


def less(a: Mapping[float, float], b: Mapping[float, float]) -> list[float]:
    """a - b of the seeds that both have; of pandas' series as well."""
    return [a[seed] - b[seed] for seed in sorted(set(a.keys()) & set(b.keys()))]


def counts(a: pd.Series, b: pd.Series) -> list[float]:
    """Of two systems' accuracies by seed: the seeds that solve it and the seeds, of both; none if one has no seed."""
    return [float(n) for one in (a, b) for n in ((one >= 0.9).sum(), len(one))] if len(a) and len(b) else []


def median_steps(accuracy: pd.Series, rows: pd.DataFrame) -> tuple[float, int]:
    """Of the seeds that solve it, the median of `steps_to_solve` among these rows, and of how many it is known."""
    solving = rows.seed.isin(accuracy.index[accuracy >= 0.9])
    known = rows[solving & (rows.measure == "steps_to_solve")].value.dropna()
    return float(known.median()), len(known)
