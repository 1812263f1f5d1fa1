"""From comparisons over seeds to the outcome of a claim: the one rule that every question uses.

A comparison is a difference per seed. It *holds* where the claim's effect is shown and large enough, *fails* where it
is shown to be smaller, and is *open* where the seeds at hand show neither, or are fewer than `FEWEST`; without a seed
it is *not run*. A claim is then

    supported                 where all comparisons hold
    not supported             where all fail
    supported within limits   where some hold and some fail, whatever is still open or not run
    undecided                 otherwise, with the number of seeds that would decide what is open

A comparison can also say nothing, for a reason that more seeds would not mend; it then counts for nothing.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from experiments.analysis import statistics
from experiments.analysis.finding import Effect, Finding, Outcome

HOLDS, FAILS, OPEN, NOT_RUN = "holds", "fails", "open", "not run"
FEWEST = 5  # seeds: fewer decide nothing


Drawn = Sequence[Sequence[float]] | np.ndarray


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One difference that a claim speaks of: paired, one value a seed."""

    name: str
    differences: Sequence[float] | np.ndarray
    not_asked: str = ""  # why this comparison says nothing, such as "at chance at every distance"
    drawn_ND: Drawn = ()  # the differences in resamples of the test's sentences

    @property
    def of_sentences(self) -> float:
        """Variance of the mean that comes from the test set."""
        return statistics.sentences_variance(self.drawn_ND)

    @property
    def silent(self) -> str:
        return self.not_asked or ("" if len(self.differences) else NOT_RUN)


def larger(
    claim: str, statement: str, comparisons: Sequence[Comparison], *, least: float, alpha: float = 0.05
) -> Finding:
    """The claim that every difference is above 0, and at least `least`.

    Holds: p (Holm) < alpha against 0, and the mean is `least` or more. Fails: the mean is below `least`, and a test
    against `least` says so (p, Holm, < alpha).
    """
    return _finding(claim, statement, comparisons, _larger(comparisons, least, alpha))


def smaller(
    claim: str, statement: str, comparisons: Sequence[Comparison], *, most: float, alpha: float = 0.05
) -> Finding:
    """The claim that every difference is below `most`, however far below: a gain that brings nothing, a loss that costs
    nothing.

    Holds: the mean is below `most`, and a test against it says so (p, Holm, < alpha). Fails: it is shown to be above.
    """
    turned = [
        dataclasses.replace(c, differences=most - np.asarray(c.differences, float), drawn_ND=_less(most, c.drawn_ND))
        for c in comparisons
    ]
    effects = [
        dataclasses.replace(e, size=most - e.size, low=most - e.high, high=most - e.low, sentences=_drawn(c))
        for e, c in zip(_larger(turned, 0.0, alpha), comparisons, strict=True)
    ]
    return _finding(claim, statement, comparisons, effects)


def equivalent(
    claim: str, statement: str, comparisons: Sequence[Comparison], *, margin: float, alpha: float = 0.05
) -> Finding:
    """The claim that no difference is as large as `margin`, either way.

    Holds: the equivalence test has p (Holm) < alpha. Fails: the mean lies outside the margin, and a test against the
    margin says so.
    """
    return _finding(claim, statement, comparisons, _equivalent(comparisons, margin, alpha))


def _larger(comparisons: Sequence[Comparison], least: float, alpha: float) -> list[Effect]:
    asked = [(np.asarray(c.differences, float), c.of_sentences) for c in comparisons if not c.silent]
    each_alpha = alpha / max(len(asked), 1)
    above_zero = iter(statistics.holm([statistics.paired_test(d, 0.0, v, each_alpha) for d, v in asked]))
    below_least = iter(statistics.holm([statistics.paired_test(d, least, v, each_alpha) for d, v in asked]))
    effects = []
    for comparison in comparisons:
        if comparison.silent:
            effects.append(_effect(comparison, comparison.silent))
            continue
        differences_N = np.asarray(comparison.differences, float)
        mean, p, p_least = _mean(differences_N), next(above_zero), next(below_least)
        says, seeds = OPEN, None
        if len(differences_N) < FEWEST:
            seeds = FEWEST
        elif mean >= least and p < alpha:
            says = HOLDS
        elif mean < least and p_least < alpha:
            says = FAILS
        else:
            level = 0.0 if mean >= least else least
            seeds = statistics.seeds_to_show(differences_N, level, each_alpha, comparison.of_sentences)
        effects.append(_effect(comparison, says, p=p_least if says == FAILS else p, more_seeds=seeds))
    return effects


def _equivalent(comparisons: Sequence[Comparison], margin: float, alpha: float) -> list[Effect]:
    asked = [(np.asarray(c.differences, float), c.of_sentences) for c in comparisons if not c.silent]
    each_alpha = alpha / max(len(asked), 1)
    within = iter(statistics.holm([statistics.equivalence_test(d, margin, v) for d, v in asked]))
    nearest = [math.copysign(margin, _mean(d)) for d, _ in asked]
    beyond = iter(
        statistics.holm([statistics.paired_test(d, m, v, each_alpha) for (d, v), m in zip(asked, nearest, strict=True)])
    )
    effects = []
    for comparison in comparisons:
        if comparison.silent:
            effects.append(_effect(comparison, comparison.silent))
            continue
        differences_N = np.asarray(comparison.differences, float)
        mean, p, p_beyond = _mean(differences_N), next(within), next(beyond)
        says, seeds = OPEN, None
        if len(differences_N) < FEWEST:
            seeds = FEWEST
        elif p < alpha:
            says = HOLDS
        elif abs(mean) > margin and p_beyond < alpha:
            says = FAILS
        elif abs(mean) > margin:
            level = math.copysign(margin, mean)
            seeds = statistics.seeds_to_show(differences_N, level, each_alpha, comparison.of_sentences)
        else:
            seeds = statistics.seeds_to_show_equivalence(differences_N, margin, each_alpha, comparison.of_sentences)
        effects.append(_effect(comparison, says, p=p_beyond if says == FAILS else p, more_seeds=seeds))
    return effects


def _less(most: float, drawn_ND: Drawn) -> Drawn:
    return most - np.asarray(drawn_ND, float) if len(drawn_ND) else ()


def _drawn(comparison: Comparison) -> tuple[float, float] | None:
    """What of the effect would change on other sentences, with these seeds."""
    return statistics.sentences_interval(comparison.drawn_ND)[1:] if len(comparison.drawn_ND) else None


def outcome_of(effects: Sequence[Effect]) -> Outcome:
    says = [effect.says for effect in effects if effect.says in (HOLDS, FAILS, OPEN, NOT_RUN)]
    if HOLDS in says and FAILS in says:
        return Outcome.WITHIN_LIMITS
    if not says or OPEN in says or NOT_RUN in says:
        return Outcome.UNDECIDED
    return Outcome.SUPPORTED if HOLDS in says else Outcome.NOT_SUPPORTED


def _finding(claim: str, statement: str, comparisons: Sequence[Comparison], effects: Sequence[Effect]) -> Finding:
    outcome = outcome_of(effects)
    seeds = None
    if outcome is Outcome.UNDECIDED:
        needed = [effect.more_seeds for effect in effects if effect.says == OPEN]
        known = [n for n in needed if n is not None]
        seeds = max(known) if known and len(known) == len(needed) else None
    return Finding(claim, statement, outcome, _because(effects, outcome, seeds), tuple(effects), seeds)


def _because(effects: Sequence[Effect], outcome: Outcome, seeds: int | None) -> str:
    """What holds, fails and is open, each with its number."""
    parts = []
    for says in (HOLDS, FAILS, OPEN):
        here = [effect for effect in effects if effect.says == says]
        if here:
            parts.append(f"{says}: " + "; ".join(shown(effect) for effect in here))
    silent: dict[str, list[str]] = {}
    for effect in effects:
        if effect.says not in (HOLDS, FAILS, OPEN):
            silent.setdefault(effect.says, []).append(effect.name)
    parts += [f"{reason}: {'; '.join(names)}" for reason, names in silent.items()]
    if outcome is Outcome.UNDECIDED and any(effect.says == OPEN for effect in effects):
        parts.append(f"{seeds} seeds would decide" if seeds else "no number of seeds up to 1000 is known to decide")
    elif outcome is Outcome.UNDECIDED and NOT_RUN not in silent:
        parts.append("more seeds would not decide")
    return ". ".join(parts)


def shown(effect: Effect) -> str:
    """`name +0.31 [+0.22, +0.40], 5 seeds, p 0.004; other sentences [+0.25, +0.36]`; one seed has no interval, and
    seeds without spread no p."""
    p = "" if effect.p is None or math.isnan(effect.p) else f", p {effect.p:.2g}"
    p = ", all alike" if effect.seeds > 1 and effect.low == effect.high else p
    interval = f" [{effect.low:+.3g}, {effect.high:+.3g}]" if math.isfinite(effect.high - effect.low) else ""
    other = "; other sentences [{:+.3g}, {:+.3g}]".format(*effect.sentences) if effect.sentences else ""
    return (
        f"{effect.name} {effect.size:+.3g}{interval}, {effect.seeds} seed{'s' if effect.seeds != 1 else ''}{p}{other}"
    )


def lines(findings: Sequence[Finding], under_review: str = "") -> list[str]:
    """For a terminal: why the verdict is not shown, or each outcome with a line a comparison."""
    return [f"under review: {under_review}"] if under_review else [line for one in findings for line in _lines(one)]


def _lines(found: Finding) -> list[str]:
    judged = (HOLDS, FAILS, OPEN)
    each = [f"  {effect.says}: {shown(effect) if effect.says in judged else effect.name}" for effect in found.effects]
    decide = [f"  {found.seeds_to_decide} seeds would decide"] if found.seeds_to_decide else []
    return [f"{found.claim}: {found.outcome}", *(each or [f"  {found.because}"]), *decide]


def _effect(comparison: Comparison, says: str, p: float | None = None, more_seeds: int | None = None) -> Effect:
    mean, low, high = statistics.t_interval(comparison.differences, of_sentences=comparison.of_sentences)
    seeds, drawn = len(comparison.differences), _drawn(comparison)
    return Effect(comparison.name, says, mean, low, high, seeds, p=p, more_seeds=more_seeds, sentences=drawn)


def _mean(values_N: np.ndarray) -> float:
    return float(values_N.mean()) if len(values_N) else math.nan
