"""Intervals, p, what a comparison says and the outcome, written out with numpy and scipy: nothing of experiments/."""

import functools
import math
from collections.abc import Mapping

import numpy as np
from scipy import optimize, stats

from tests.experiments.questions.claim import Claim

FEWEST = 5  # seeds
ALPHA = 0.05
HOLDS, FAILS, OPEN, NOT_RUN = "holds", "fails", "open", "not run"


def of_sentences(drawn_ND: np.ndarray | None) -> float:
    """The variance of a mean over seeds that other sentences bring: what its draws vary by, without what differs by
    seed and sentence at once, which more seeds would average out."""
    if drawn_ND is None:
        return 0.0
    n, of_mean = len(drawn_ND), drawn_ND.mean(axis=0).var(ddof=1)
    both_at_once = (drawn_ND.var(axis=1, ddof=1).mean() - of_mean) * n / (n - 1)
    return float(max(of_mean - both_at_once / n, 0.0))


def tail(away: float, values: list[float], sentences: float) -> float:
    """One-sided: half of Welch and Satterthwaite's p, half of Behrens and Fisher's, summed up."""
    n = len(values)
    seeds = float(np.var(values, ddof=1)) / n
    welch = stats.t.sf(away / math.sqrt(seeds + sentences), (n - 1) * ((seeds + sentences) / seeds) ** 2)
    if not sentences:
        return float(welch)
    given = stats.norm.sf(away / np.sqrt(seeds * (n - 1) / chi_squared(n - 1) + sentences))
    return float(welch + given.mean()) / 2


@functools.cache
def chi_squared(freedom: int) -> np.ndarray:
    return stats.chi2.ppf((np.arange(50_000) + 0.5) / 50_000, freedom)


def two_sided(values: list[float], against: float, sentences: float = 0.0) -> float:
    if len(values) < 2:
        return 1.0
    if not np.ptp(values):  # all alike: what they are asked against, or surely something else
        return float(np.isclose(values[0], against))
    return 2 * tail(abs(float(np.mean(values)) - against), values, sentences)


def equivalence(values: list[float], margin: float, sentences: float = 0.0) -> float:
    if len(values) < 2:
        return 1.0
    return tail(margin - abs(float(np.mean(values))), values, sentences) if np.ptp(values) else 0.0


def interval(values: list[float], sentences: float) -> tuple[float, float]:
    mean, widest = float(np.mean(values)), 100 * (np.std(values) + math.sqrt(sentences))
    half = optimize.brentq(lambda away: tail(away, values, sentences) - 0.025, 0, widest) if np.ptp(values) else 0.0
    return mean - half, mean + half


def corrected(p: list[float]) -> list[float]:
    """Holm's: the k-th smallest of m times m - k + 1, and none below one before it."""
    sizes = sorted(p)
    stepped = np.maximum.accumulate([min(1.0, (len(p) - k) * one) for k, one in enumerate(sizes)])
    return [float(stepped[sizes.index(one)]) for one in p]


def fisher(k: float, n: float, other: float, m: float) -> float:
    """The share of tables with these margins that have k or more of n."""
    return float(stats.hypergeom.sf(k - 1, n + m, k + other, n))


def newcombe(k: float, n: float, other: float, m: float) -> tuple[float, float]:
    """The interval of k / n - other / m (1998, method 10), from Wilson's of each share."""
    z = float(stats.norm.isf(0.025))

    def wilson(k: float, n: float) -> tuple[float, float]:
        middle, half = k + z * z / 2, z * math.sqrt(k * (n - k) / n + z * z / 4)
        return (middle - half) / (n + z * z), (middle + half) / (n + z * z)

    (low, high), (other_low, other_high), a, b = wilson(k, n), wilson(other, m), k / n, other / m
    return a - b - math.hypot(a - low, other_high - b), a - b + math.hypot(high - a, b - other_low)


def p_of(claim: Claim, asked: Mapping[int, float]) -> tuple[list[float], list[float]]:
    """Holm's p of every comparison that was asked: that it holds, and that it fails. `asked` has their variances of
    sentences."""
    each = [(claim.values[n], sentences) for n, sentences in asked.items()]
    if claim.kind == "equivalent":
        within = [equivalence(one, claim.limit, v) for one, v in each]
        beyond = [two_sided(one, math.copysign(claim.limit, np.mean(one)), v) for one, v in each]
        return corrected(within), corrected(beyond)
    from_zero = [two_sided(one, 0.0, v) for one, v in each]
    from_limit = [two_sided(one, claim.limit, v) for one, v in each]
    return corrected(from_zero if claim.kind == "larger" else from_limit), corrected(from_limit)


def says_of(claim: Claim, values: list[float], p_holds: float, p_fails: float) -> str:
    mean = float(np.mean(values))
    on_its_side = {
        "larger": mean >= claim.limit,
        "smaller": mean <= claim.limit,
        "equivalent": abs(mean) <= claim.limit,
    }[claim.kind]
    if len(values) < FEWEST or (p_holds if on_its_side else p_fails) >= ALPHA:
        return OPEN
    return HOLDS if on_its_side else FAILS


def gains_less(k: float, n: float, other: float, m: float, least: float = 0.8) -> float:
    """How often k / n - other / m is as small as it is where the shares differ by `least`, at its most often."""
    worst = 0.0
    for share in np.linspace(0, 1 - least, 101):
        theirs = stats.binom.pmf(np.arange(m + 1), m, share)
        # For each number of theirs, the most of ours that leave the difference as small.
        most = np.floor(n * (k / n - other / m + np.arange(m + 1) / m) + 1e-9)
        worst = max(worst, float(theirs @ stats.binom.cdf(most, n, share + least)))
    return worst


def says_more(pairs: list[list[float]]) -> list[tuple[str, float]]:
    """What each comparison of two systems' seeds says, and Holm's p of the test that decided; `pairs` has, of both
    systems, the seeds that solve it and the seeds. To hold, four of five seeds more are needed, and Fisher's test; to
    fail, an exact test against as many more."""
    asked = [one for one in pairs if one]
    p_holds = iter(corrected([fisher(*one) for one in asked]))
    p_fails = iter(corrected([gains_less(*one) for one in asked]))
    said = []
    for one in pairs:
        if not one:
            said.append((NOT_RUN, math.nan))
            continue
        above, below, enough = next(p_holds), next(p_fails), one[0] / one[1] - one[2] / one[3] >= 0.8 - 1e-9
        decided = (above if enough else below) < ALPHA and min(one[1], one[3]) >= FEWEST
        says = (HOLDS if enough else FAILS) if decided else OPEN
        said.append((says, below if says == FAILS else above))
    return said


def outcome(says: list[str]) -> str:
    """A comparison that says something else counts for nothing; one that is open or not run leaves all undecided,
    unless some hold and some fail."""
    judged = {one for one in says if one in (HOLDS, FAILS, OPEN, NOT_RUN)}
    if {HOLDS, FAILS} <= judged:
        return "supported within limits"
    return "supported" if judged == {HOLDS} else "not supported" if judged == {FAILS} else "undecided"
