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
from collections.abc import Callable, Sequence

import numpy as np

from experiments.analysis import statistics
from experiments.analysis.finding import Effect, Finding, Outcome

HOLDS, FAILS, OPEN, NOT_RUN = "holds", "fails", "open", "not run"
FEWEST = 5  # seeds: fewer decide nothing
ALPHA = 0.05  # of all comparisons of a claim together (Holm)

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


def larger(claim: str, statement: str, comparisons: Sequence[Comparison], *, least: float) -> Finding:
    """The claim that every difference is above 0, and at least `least`.

    Holds: p (Holm) < alpha against 0, and the mean is `least` or more. Fails: the mean is below `least`, and a test
    against `least` says so (p, Holm, < alpha).
    """
    return _finding(claim, statement, comparisons, _larger(comparisons, least))


def smaller(claim: str, statement: str, comparisons: Sequence[Comparison], *, most: float) -> Finding:
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
        for e, c in zip(_larger(turned, 0.0), comparisons, strict=True)
    ]
    return _finding(claim, statement, comparisons, effects)


def equivalent(claim: str, statement: str, comparisons: Sequence[Comparison], *, margin: float) -> Finding:
    """The claim that no difference is as large as `margin`, either way.

    Holds: the equivalence test has p (Holm) < alpha. Fails: the mean lies outside the margin, and a test against the
    margin says so.
    """
    return _finding(claim, statement, comparisons, _equivalent(comparisons, margin))


def _larger(comparisons: Sequence[Comparison], least: float) -> list[Effect]:
    asked = [(np.asarray(c.differences, float), c.of_sentences) for c in comparisons if not c.silent]
    each_alpha = ALPHA / max(len(asked), 1)
    above_zero = statistics.holm([statistics.paired_test(d, 0.0, v, each_alpha) for d, v in asked])
    below_least = statistics.holm([statistics.paired_test(d, least, v, each_alpha) for d, v in asked])

    def needed(d_N: np.ndarray, of_sentences: float) -> int | None:
        return statistics.seeds_to_show(d_N, 0.0 if d_N.mean() >= least else least, each_alpha, of_sentences)

    return _judged(comparisons, above_zero, below_least, lambda mean: mean >= least, needed)


def _equivalent(comparisons: Sequence[Comparison], margin: float) -> list[Effect]:
    asked = [(np.asarray(c.differences, float), c.of_sentences) for c in comparisons if not c.silent]
    each_alpha = ALPHA / max(len(asked), 1)
    within = statistics.holm([statistics.equivalence_test(d, margin, v) for d, v in asked])
    nearest = [math.copysign(margin, d.mean()) for d, _ in asked]
    beyond = statistics.holm(
        [statistics.paired_test(d, m, v, each_alpha) for (d, v), m in zip(asked, nearest, strict=True)]
    )

    def needed(d_N: np.ndarray, of_sentences: float) -> int | None:
        if abs(mean := float(d_N.mean())) > margin:
            return statistics.seeds_to_show(d_N, math.copysign(margin, mean), each_alpha, of_sentences)
        return statistics.seeds_to_show_equivalence(d_N, margin, each_alpha, of_sentences)

    return _judged(comparisons, within, beyond, lambda mean: abs(mean) <= margin, needed)


def _judged(
    comparisons: Sequence[Comparison],
    p_holds: Sequence[float],
    p_fails: Sequence[float],
    enough: Callable[[float], bool],
    needed: Callable[[np.ndarray, float], int | None],
) -> list[Effect]:
    """What each comparison says by its mean and its p that it holds, or that it fails; those p are of comparisons that
    say something. `needed` is how many seeds would decide one that is open."""
    tests, effects = zip(p_holds, p_fails, strict=True), []
    for comparison in comparisons:
        if comparison.silent:
            effects.append(_effect(comparison, comparison.silent))
            continue
        d_N, (p, p_fail) = np.asarray(comparison.differences, float), next(tests)
        can_hold, says, seeds = enough(float(d_N.mean())), OPEN, None
        if len(d_N) < FEWEST:
            seeds = FEWEST
        elif can_hold and p < ALPHA:
            says = HOLDS
        elif not can_hold and p_fail < ALPHA:
            says = FAILS
        else:
            seeds = needed(d_N, comparison.of_sentences)
        effects.append(_effect(comparison, says, p=p_fail if says == FAILS else p, more_seeds=seeds))
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
