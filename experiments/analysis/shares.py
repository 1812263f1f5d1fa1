"""Systems of two modes: a seed solves the task or stays at chance. They are counted, never averaged.

"4 of 5 seeds solve it, median 1,400 steps". Two systems are compared by Fisher's exact test, one-sided: the most that
five seeds can show, 5 of 5 against 0 of 5, has p = .004.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple, Self

from experiments.analysis import judge, statistics
from experiments.analysis.finding import Effect, Finding
from experiments.analysis.frames import Series


class Share(NamedTuple):
    """Of a system's seeds, those that solve it."""

    system: str
    solved: int
    seeds: int
    steps: float = math.nan  # the median of those, until they did; nan where none does

    @classmethod
    def of(cls, system: str, solved_N: Series, steps_N: Series) -> Self:
        """From whether each seed solves it, and after how many steps."""
        those = solved_N.index[solved_N.to_numpy(bool)]
        known = steps_N.reindex(those).dropna()
        return cls(system, len(those), len(solved_N), float(known.median()) if len(known) else math.nan)

    def __str__(self) -> str:
        after = f", median {self.steps:,.0f} steps" if math.isfinite(self.steps) else ""
        return f"{self.system} {self.solved} of {self.seeds} seeds{after}"


def more(claim: str, statement: str, pairs: Sequence[tuple[Share, Share]]) -> Finding:
    """The claim that, of each pair, the first solves it from more seeds than the second.

    Holds: p (Fisher, one-sided, Holm) < alpha. Fails: the second has as many or more. A system of fewer than
    `judge.FEWEST` seeds is open.
    """
    asked = [(a, b) for a, b in pairs if a.seeds and b.seeds]
    p = dict(zip(asked, statistics.holm([statistics.fisher_test(a[1:3], b[1:3]) for a, b in asked]), strict=True))
    effects = tuple(_effect(a, b, p.get((a, b), math.nan)) for a, b in pairs)
    said = "; ".join(dict.fromkeys(f"{one}" for pair in pairs for one in pair if one.seeds))
    outcome = judge.outcome_of(effects)
    tests = "; ".join(f"{one.name} {one.says}, p {one.p:.2g}" for one in effects if one.p is not None)
    missing = "; ".join(one.name for one in effects if one.says == judge.NOT_RUN)
    parts = said and f"seeds that solve it: {said}", tests, missing and f"not run: {missing}"
    because = ". ".join(filter(None, parts))
    return Finding(claim, statement, outcome, because, effects)


def _effect(a: Share, b: Share, p: float) -> Effect:
    """The difference of the shares, with Newcombe's interval (1998, method 10)."""
    name, seeds = f"{a.system} over {b.system}", min(a.seeds, b.seeds)
    if not seeds:
        return Effect(name, judge.NOT_RUN, math.nan, math.nan, math.nan, seeds)
    size, low, high = statistics.share_difference(a[1:3], b[1:3])
    says = judge.FAILS if a.solved / a.seeds <= b.solved / b.seeds else judge.HOLDS if p < judge.ALPHA else judge.OPEN
    return Effect(name, judge.OPEN if seeds < judge.FEWEST else says, size, low, high, seeds, p)
