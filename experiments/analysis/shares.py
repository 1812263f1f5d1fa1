"""Systems of two modes: a seed solves the task or stays at chance. They are counted, never averaged.

"4 of 5 seeds solve it, median 1,400 steps". Two systems are compared by Fisher's exact test, one-sided: the most that
five seeds can show, 5 of 5 against 0 of 5, has p = .004. That one learns what the other does not is a difference of
`LEAST` of the seeds or more: two that are right as often, or as seldom, differ by less.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple, Self

from experiments.analysis import judge, statistics
from experiments.analysis.finding import Effect, Finding
from experiments.analysis.frames import Series

LEAST = 0.8  # of the seeds: four of five more
COUNTED = "seeds that solve it: "  # how its reasons begin


class Share(NamedTuple):
    """Of a system's seeds, those that solve it."""

    system: str
    solved: int
    seeds: int
    steps: float = math.nan  # the median until they did, of those of which it is known; nan where it is of none
    timed: int = 0  # seeds of which it is known

    @classmethod
    def of(cls, system: str, solved_N: Series, steps_N: Series) -> Self:
        """From whether each seed solves it, and after how many steps."""
        those = solved_N.index[solved_N.to_numpy(bool)]
        known = steps_N.reindex(those).dropna()
        median = float(known.median()) if len(known) else math.nan
        return cls(system, len(those), len(solved_N), median, len(known))

    def __str__(self) -> str:
        few = f" (known of {self.timed})" * (self.timed != self.solved)
        after = f", median {self.steps:,.0f} steps{few}" if math.isfinite(self.steps) else ""
        return f"{self.system} {self.solved} of {self.seeds} seeds{after}"


def more(claim: str, statement: str, pairs: Sequence[tuple[Share, Share]]) -> Finding:
    """The claim that, of each pair, the first solves it from more seeds than the second, by `LEAST` of them or more.

    Holds: p (Fisher, one-sided, Holm) < alpha against no difference, and the difference is `LEAST` or more. Fails: it
    is less, and an exact test against `LEAST` says so (Holm). A system of fewer than `judge.FEWEST` seeds is open.
    """
    asked = [(a, b) for a, b in pairs if a.seeds and b.seeds]
    above = statistics.holm([statistics.fisher_test(a[1:3], b[1:3]) for a, b in asked])
    below = statistics.holm([statistics.share_test(a[1:3], b[1:3], LEAST) for a, b in asked])
    tests = dict(zip(asked, zip(above, below, strict=True), strict=True))
    effects = tuple(_effect(*pair, *tests.get(pair, (math.nan, math.nan))) for pair in pairs)
    counted = "; ".join(dict.fromkeys(f"{one}" for pair in pairs for one in pair if one.seeds))
    decided = "; ".join(f"{one.name} {one.says}, p {one.p:.2g}" for one in effects if one.p is not None)
    missing = "; ".join(one.name for one in effects if one.says == judge.NOT_RUN)
    because = ". ".join(filter(None, (counted and f"{COUNTED}{counted}", decided, missing and f"not run: {missing}")))
    return Finding(claim, statement, judge.outcome_of(effects), because, effects)


def _effect(a: Share, b: Share, p_above: float, p_below: float) -> Effect:
    """The difference of the shares, with Newcombe's interval (1998, method 10)."""
    name, seeds = f"{a.system} over {b.system}", min(a.seeds, b.seeds)
    if not seeds:
        return Effect(name, judge.NOT_RUN, math.nan, math.nan, math.nan, seeds)
    size, low, high = statistics.share_difference(a[1:3], b[1:3])
    large, says = size >= LEAST - 1e-9, judge.OPEN
    if seeds >= judge.FEWEST and (p_above if large else p_below) < judge.ALPHA:
        says = judge.HOLDS if large else judge.FAILS
    return Effect(name, says, size, low, high, seeds, p_below if says == judge.FAILS else p_above)
