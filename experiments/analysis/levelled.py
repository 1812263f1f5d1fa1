"""Whether training had levelled off, by a test that a schedule cannot fake: every curve flattens where a cosine ends.

One seed or more is trained again with twice the steps, and with them a schedule twice as long. Where that moves what is
judged by less than the question's own threshold, more steps would not change the verdict. It is shown for the smallest,
the middle and the largest system of a question, and counted, not tested.
"""

import math
from collections.abc import Mapping

from experiments.analysis import judge
from experiments.analysis.finding import Effect, Finding
from experiments.analysis.frames import Series


def gain(doubled: Series, reported: Series) -> Series:
    """By how much each seed that has both moved with twice the steps."""
    return (doubled - reported).dropna()


def levelled_off(gains: Mapping[str, Series], most: float, what: str, claim: str = "levelled off") -> Finding:
    """`gains` by system, in what the question judges; `what` names it. A system holds where the steps doubled move the
    mean of its seeds by less than `most`, up or down."""
    means = {system: float(moved.mean()) if len(moved) else math.nan for system, moved in gains.items()}
    effects = tuple(
        Effect(f"{system}, steps doubled", _says(moved, most), moved, math.nan, math.nan, len(gains[system]))
        for system, moved in means.items()
    )
    shown = "; ".join(f"{system} {moved:+.3g}" for system, moved in means.items() if not math.isnan(moved))
    several = max((one.seeds for one in effects), default=1) > 1
    of = "means over the seeds that were trained so" if several else "one seed of each"
    statement = f"Training had levelled off: twice the steps move {what} by less than {most:g}. Counted, not tested."
    because = f"{of}, with twice the steps: {shown or 'not run'}"
    return Finding(claim, statement, judge.outcome_of(effects), because, effects)


def within(finding: Finding, steps: str, once: str = "after training") -> str:
    """How a sentence speaks of what was trained: *after training* if all had levelled off, else the budget."""
    return once if finding.effects and all(one.says == judge.HOLDS for one in finding.effects) else f"within {steps}"


def _says(moved: float, most: float) -> str:
    return judge.NOT_RUN if math.isnan(moved) else judge.HOLDS if abs(moved) < most else judge.FAILS
