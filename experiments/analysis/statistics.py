"""Intervals, tests and sample sizes over seeds; scipy does the arithmetic.

The unit is the seed. What is measured on a test set would also change on other sentences: `of_sentences` is that part,
a variance of the mean which no further seed lowers, had by resampling the sentences. Functions that take it speak of
other seeds and other sentences together. Their reference distribution is half Welch and Satterthwaite's t, whose p is
too small where seeds are few and vary most, and half Behrens and Fisher's, whose p is too large where both parts are
alike; `tests/experiments/analysis/test_coverage.py` simulates what the mean of both covers. Seeds are not resampled: a
bootstrap over three covers 74 %, not 95 %.

Dims: N seeds (one value each), D draws of sentences, K nodes of a distribution.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import optimize, stats

EXACT_FROM = 8  # seeds: below, 2**N sign flips are too few to reach a small p, and the t test assumes more
CONFIDENCE = 0.95
POWER = 0.8  # of the number of seeds that would decide
MOST_SEEDS = 1000
ENDLESS = 1e5  # degrees of freedom: beyond, t is normal, and scipy's noncentral t takes long
FEWEST_ALIKE = 3  # seeds: two that agree to the last digit, as at a ceiling, are taken for no proof
NOTHING = 1e-9  # what rounding leaves of a difference
NODES = 400  # of equal probability, by which a distribution is integrated


class Interval(NamedTuple):
    mean: float
    low: float
    high: float


def t_interval(values_N: Sequence[float] | np.ndarray, of_sentences: float = 0.0) -> Interval:
    """Mean and two-sided t interval; infinitely wide for a single value, nan for none."""
    values_N = np.asarray(values_N, float)
    if not len(values_N):
        return Interval(math.nan, math.nan, math.nan)
    mean = float(values_N.mean())
    if len(values_N) == 1:
        return Interval(mean, -math.inf, math.inf)
    of_seeds = float(values_N.var(ddof=1)) / len(values_N)
    half = _quantile((1 - CONFIDENCE) / 2, of_seeds, len(values_N), of_sentences)
    return Interval(mean, mean - half, mean + half)


def sentences_variance(drawn_ND: Sequence[Sequence[float]] | np.ndarray) -> float:
    """`of_sentences` from each seed's value in each of D resamples of the sentences (Koehn 2004), the same for all
    seeds; 0 for none. The values have to be of what is tested: of the difference, where two systems are compared.

    What differs by seed and sentence at once is a part of what seeds give, and is taken out here: it is what the
    seeds' own variances have beyond that of their mean.
    """
    drawn_ND = np.asarray(drawn_ND, float)
    if drawn_ND.ndim < 2 or drawn_ND.shape[1] < 2:
        return 0.0
    of_mean, n = float(drawn_ND.mean(axis=0).var(ddof=1)), len(drawn_ND)
    of_each = float(drawn_ND.var(axis=1, ddof=1).mean())
    return max(of_mean - (of_each - of_mean) / (n - 1), 0.0) if n > 1 else of_mean


def sentences_interval(drawn_ND: Sequence[Sequence[float]] | np.ndarray) -> Interval:
    """Of the mean over these seeds on other sentences: the percentiles of its resamples."""
    mean_D = np.asarray(drawn_ND, float).mean(axis=0)
    low, high = np.quantile(mean_D, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(float(mean_D.mean()), float(low), float(high))


def tail(away, of_seeds, n: int, of_sentences=0.0):
    """The probability that a mean over n seeds lies further than `away` above what is true, where its variance was
    estimated as `of_seeds` from n - 1 degrees of freedom, and `of_sentences` is known. Elementwise."""
    away, of_seeds, of_sentences = np.broadcast_arrays(
        *(np.asarray(one, float) for one in (away, of_seeds, of_sentences))
    )
    total = np.maximum(of_seeds + of_sentences, 1e-300)
    ratio = total / np.maximum(of_seeds, 1e-6 * of_sentences + 1e-300)
    welch = stats.t.sf(away / np.sqrt(total), np.minimum((n - 1) * ratio**2, ENDLESS))
    if not of_sentences.any():
        return welch
    chi_K = stats.chi2.ppf((np.arange(NODES) + 0.5) / NODES, n - 1)
    variance_K = of_seeds[..., None] * (n - 1) / chi_K + of_sentences[..., None]
    return (welch + stats.norm.sf(away[..., None] / np.sqrt(variance_K)).mean(axis=-1)) / 2


def _quantile(alpha: float, of_seeds: float, n: int, of_sentences: float) -> float:
    """How far above what is true a mean lies with probability `alpha`."""
    if not of_seeds + of_sentences:
        return 0.0
    largest = math.sqrt(of_seeds + of_sentences) * float(stats.t.isf(alpha / 2, n - 1)) + NOTHING
    return float(optimize.brentq(lambda away: float(tail(away, of_seeds, n, of_sentences)) - alpha, 0.0, 2 * largest))


def _error(variance: float, n: int, of_sentences: float) -> tuple[float, float]:
    """(standard error of a mean over n seeds, its degrees of freedom)."""
    of_seeds = variance / n
    if not of_sentences:
        return math.sqrt(of_seeds), n - 1
    freedom = (n - 1) * ((of_seeds + of_sentences) / max(of_seeds, 1e-6 * of_sentences)) ** 2
    return math.sqrt(of_seeds + of_sentences), min(freedom, ENDLESS)


def _p(difference_N: np.ndarray, against: float, of_sentences: float) -> tuple[float, float]:
    """One-sided p that the mean is not (above, below) `against`."""
    away, n = float(difference_N.mean()) - against, len(difference_N)
    of_seeds = float(difference_N.var(ddof=1)) / n
    return float(tail(away, of_seeds, n, of_sentences)), float(tail(-away, of_seeds, n, of_sentences))


def paired_test(
    difference_N: Sequence[float] | np.ndarray, against: float = 0.0, of_sentences: float = 0.0, alpha: float = 0.05
) -> float:
    """Two-sided p of a mean difference `against`, from paired differences.

    Paired t below EXACT_FROM seeds, and wherever sentences vary too; from there the exact sign-flip permutation test
    (Fisher 1935), as long as all flips can be counted, and 100,000 random ones beyond. N seeds have no exact p below
    2^(1 - N): where that is above `alpha`, what is left of 0.05 when several are compared, t goes on until there are
    enough of them. nan for fewer than two.
    """
    centred_N = np.asarray(difference_N, float) - against
    if len(centred_N) < 2:
        return math.nan
    exact = len(centred_N) >= EXACT_FROM and 2.0 ** (1 - len(centred_N)) <= alpha
    if of_sentences:
        return 2 * min(_p(centred_N, 0.0, of_sentences))
    if _alike(centred_N):  # t is 0/0 or infinite
        if abs(centred_N[0]) < NOTHING:
            return 1.0
        return 0.0 if len(centred_N) >= FEWEST_ALIKE and not exact else 2.0 ** (1 - len(centred_N))
    if not exact:
        return float(stats.ttest_1samp(centred_N, 0.0).pvalue)
    flips = math.inf if len(centred_N) <= 16 else 100_000
    found = stats.permutation_test(
        (centred_N,),
        np.mean,
        permutation_type="samples",
        n_resamples=flips,
        vectorized=True,
        rng=np.random.default_rng(0),
    )
    return float(found.pvalue)


def equivalence_test(difference_N: Sequence[float] | np.ndarray, margin: float, of_sentences: float = 0.0) -> float:
    """p of two one-sided t tests (Schuirmann 1987), at any number of seeds: small where |mean difference| is below
    `margin`.

    The margin has to be fixed before the data are seen. nan for fewer than two.
    """
    difference_N = np.asarray(difference_N, float)
    if len(difference_N) < 2:
        return math.nan
    if _alike(difference_N) and not of_sentences:
        return 1.0 if abs(difference_N[0]) >= margin else 0.0 if len(difference_N) >= FEWEST_ALIKE else 0.5
    return max(_p(difference_N, -margin, of_sentences)[0], _p(difference_N, margin, of_sentences)[1])


def _alike(values_N: np.ndarray) -> bool:
    return bool(np.ptp(values_N) < NOTHING)


def fisher_test(a: tuple[int, int], b: tuple[int, int]) -> float:
    """One-sided p of Fisher's exact test that (successes, trials) `a` has no larger share than `b`."""
    table = [[a[0], a[1] - a[0]], [b[0], b[1] - b[0]]]
    return float(stats.fisher_exact(table, alternative="greater").pvalue)


def share_difference(a: tuple[int, int], b: tuple[int, int]) -> Interval:
    """The share of (successes, trials) `a` less that of `b`, with Newcombe's interval (1998, method 10)."""
    p, q = a[0] / a[1], b[0] / b[1]
    of_a, of_b = (stats.binomtest(*one).proportion_ci(CONFIDENCE, method="wilson") for one in (a, b))
    below = math.hypot(p - of_a.low, of_b.high - q)
    above = math.hypot(of_a.high - p, q - of_b.low)
    return Interval(p - q, p - q - below, p - q + above)


def share_test(a: tuple[int, int], b: tuple[int, int], least: float) -> float:
    """One-sided p that the share of (successes, trials) `a` is above that of `b` by less than `least`: how often the
    difference would be as small as it is if it were `least`, for the share of `b` that makes it the most often."""
    of_a, of_b = np.arange(a[1] + 1), np.arange(b[1] + 1)
    as_small = of_a[:, None] / a[1] - of_b / b[1] <= a[0] / a[1] - b[0] / b[1] + 1e-9
    share = np.linspace(0, 1 - least, 101)[:, None]
    each = stats.binom.pmf(of_a, a[1], share + least), stats.binom.pmf(of_b, b[1], share)
    return float(np.einsum("sa,sb,ab->s", *each, as_small).max())


def holm(p: Sequence[float]) -> list[float]:
    """p corrected for being several (Holm 1979); nan stays, and counts as one of them."""
    order = sorted(range(len(p)), key=lambda i: (math.isnan(p[i]), p[i]))
    corrected, largest = [math.nan] * len(p), 0.0
    for rank, i in enumerate(order):
        if not math.isnan(p[i]):
            largest = max(largest, min(1.0, (len(p) - rank) * p[i]))
            corrected[i] = largest
    return corrected


def seeds_to_show(
    difference_N: Sequence[float] | np.ndarray, against: float, alpha: float = 0.05, of_sentences: float = 0.0
) -> int | None:
    """Seeds in all with which a two-sided t test would tell the mean from `against` with POWER, if mean and spread
    are as seen; at least one more than there are. None where that is over MOST_SEEDS, or fewer than two are known."""
    difference_N = np.asarray(difference_N, float)
    if len(difference_N) < 2 or difference_N.mean() == against:
        return None
    away, variance = abs(difference_N.mean() - against), max(difference_N.var(ddof=1), 1e-24)
    return _least(len(difference_N), lambda n: _power(away, *_error(variance, n, of_sentences), alpha / 2))


def seeds_to_show_equivalence(
    difference_N: Sequence[float] | np.ndarray, margin: float, alpha: float = 0.05, of_sentences: float = 0.0
) -> int | None:
    """The same for `equivalence_test`. None also where the mean seen lies outside the margin."""
    difference_N = np.asarray(difference_N, float)
    if len(difference_N) < 2 or abs(difference_N.mean()) >= margin:
        return None
    mean, variance = abs(difference_N.mean()), max(difference_N.var(ddof=1), 1e-24)

    def power(n: int) -> float:
        error = _error(variance, n, of_sentences)
        return _power(margin - mean, *error, alpha) + _power(margin + mean, *error, alpha) - 1

    return _least(len(difference_N), power)


def _power(away: float, error: float, freedom: float, alpha: float) -> float:
    """Of a one-sided, one-sample t test for a mean that lies `away` from what it is tested against."""
    noncentral = away / error
    # Beyond 30 the power is 1 and scipy's tail is not a number.
    return float(stats.nct.sf(stats.t.ppf(1 - alpha, freedom), freedom, noncentral)) if noncentral < 30 else 1.0


def _least(known: int, power) -> int | None:
    return next((n for n in range(known + 1, MOST_SEEDS + 1) if power(n) >= POWER), None)
