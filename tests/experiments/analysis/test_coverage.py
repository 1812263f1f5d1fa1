"""What an interval over seeds and sentences covers, simulated: data are drawn, and the truth is known.

Dims: W worlds, N seeds, S sentences, D resamples.
"""

import numpy as np
import pytest
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from experiments.analysis import statistics
from experiments.analysis.table import of_rows

SENTENCES = 200


def worlds(seeds: int, ratio: float, count: int = 40_000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of many worlds whose true mean is 0: the mean, and both parts of its variance as they are estimated. A seed
    varies `ratio` times as much as the mean of the sentences; each seed differs on each sentence as well."""
    rng = np.random.default_rng(seeds + int(100 * ratio))
    of_seed_WN = rng.normal(0, np.sqrt(ratio), (count, seeds))
    # Means and mean squares of S sentences are drawn as what they are distributed like, not sentence by sentence.
    sentences, both = 1.0, 0.5  # variances: of the mean over sentences, and of what differs by seed and sentence
    value_WN = of_seed_WN + rng.normal(0, 1, (count, 1)) + rng.normal(0, np.sqrt(both), (count, seeds))
    freedom = SENTENCES - 1
    of_sentences_W = (sentences + both / seeds) * rng.chisquare(freedom, count) / freedom
    residual_W = both / seeds * rng.chisquare(freedom * (seeds - 1), count) / (freedom * (seeds - 1))
    return value_WN.mean(axis=1), value_WN.var(axis=1, ddof=1) / seeds, np.maximum(of_sentences_W - residual_W, 0.0)


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("ratio", [0.1, 1.0, 10.0])
def test_seeds_and_sentences_together_cover_as_often_as_they_say(seeds, ratio):
    mean_W, of_seeds_W, of_sentences_W = worlds(seeds, ratio)
    p_W = 2 * statistics.tail(np.abs(mean_W), of_seeds_W, seeds, of_sentences_W)
    assert 0.93 < np.mean(p_W >= 0.05) < 0.97  # the interval holds what is true where the test does not refuse it
    assert np.mean(p_W < 0.05) <= 0.06 and np.mean(p_W < 0.001) <= 0.002


def resampled_worlds(seeds: int, ratio: float, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same of worlds drawn sentence by sentence, whose variance of sentences is what verdicts take: from 100
    resamples, the same for all seeds. Sentences are skewed, as scores of sentences are."""
    rng, draws = np.random.default_rng(seeds + int(100 * ratio)), 100
    found_W3 = np.empty((count, 3))
    for w in range(count):
        skewed_S, both_NS = rng.exponential(1, SENTENCES) - 1, rng.normal(0, np.sqrt(0.5), (seeds, SENTENCES))
        value_NS = rng.normal(0, np.sqrt(ratio), (seeds, 1)) + np.sqrt(SENTENCES) * (skewed_S + both_NS)
        line_DS = rng.integers(0, SENTENCES, (draws, SENTENCES)) + SENTENCES * np.arange(draws)[:, None]
        times_DS = np.bincount(line_DS.ravel(), minlength=draws * SENTENCES).reshape(draws, SENTENCES)
        mean_N, drawn_ND = value_NS.mean(axis=1), value_NS @ times_DS.T / SENTENCES
        found_W3[w] = mean_N.mean(), mean_N.var(ddof=1) / seeds, statistics.sentences_variance(drawn_ND)
    mean_W, of_seeds_W, of_sentences_W = found_W3.T
    return mean_W, of_seeds_W, of_sentences_W


@pytest.mark.parametrize("ratio", [0.1, 1.0, 10.0])
def test_the_variance_from_resampled_sentences_covers_as_often_as_it_says(ratio):
    mean_W, of_seeds_W, of_sentences_W = resampled_worlds(5, ratio, 6_000)
    p_W = 2 * statistics.tail(np.abs(mean_W), of_seeds_W, 5, of_sentences_W)
    assert 0.93 < np.mean(p_W >= 0.05) < 0.97
    assert np.mean(p_W < 0.05) <= 0.06 and np.mean(p_W < 0.001) <= 0.002
    assert np.mean(of_sentences_W) == pytest.approx(1.0, abs=0.02)  # as drawn


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_seeds_alone_cover_as_often_as_they_say_and_sentences_alone_do_not(seeds):
    values_WN = np.random.default_rng(0).normal(0, 1, (40_000, seeds))
    p_W = 2 * statistics.tail(np.abs(values_WN.mean(axis=1)), values_WN.var(axis=1, ddof=1) / seeds, seeds)
    assert np.mean(p_W >= 0.05) == pytest.approx(0.95, abs=0.005) and np.mean(p_W < 0.001) <= 0.002
    mean_W, _, of_sentences_W = worlds(seeds, 10.0)
    assert np.mean(np.abs(mean_W) < 1.96 * np.sqrt(of_sentences_W)) < 0.9  # as version 1 judged


@pytest.mark.parametrize(
    ("of_seeds", "of_sentences", "n"), [(1.0, 0.1, 3), (0.2, 1.0, 5), (1.0, 0.0, 4), (1.0, 1.0, 2)]
)
def test_interval_and_test_agree(of_seeds, of_sentences, n):
    values_N = np.linspace(-1, 1, n)
    values_N *= np.sqrt(of_seeds * n / values_N.var(ddof=1))
    low, high = statistics.t_interval(values_N, of_sentences=of_sentences)[1:]
    for end in (low, high):
        p = 2 * min(statistics._p(values_N, end, of_sentences))
        assert p == pytest.approx(0.05, rel=1e-6)


def test_the_part_of_the_sentences_is_that_of_a_two_way_analysis_of_variance():
    """statsmodels' mean squares of seeds x sentences; resampling the sentences comes to the same."""
    rng = np.random.default_rng(1)
    N, S = 5, 60
    value_NS = rng.normal(0, 1, (N, 1)) + rng.normal(0, 2, (1, S)) + rng.normal(0, 3, (N, S))
    rows = of_rows({"seed": f"{n}", "sentence": f"{s}", "value": value_NS[n, s]} for n in range(N) for s in range(S))
    found = anova_lm(ols("value ~ C(seed) + C(sentence)", rows).fit())["mean_sq"]
    expected = (found["C(sentence)"] - found["Residual"]) / (N * S)
    drawn_DS = rng.integers(0, S, (8000, S))
    drawn_ND = value_NS[:, drawn_DS].mean(axis=-1)
    assert statistics.sentences_variance(drawn_ND) == pytest.approx(expected, rel=0.06)
    of_seeds = value_NS.mean(axis=1).var(ddof=1) / N
    assert of_seeds == pytest.approx(found["C(seed)"] / (N * S))
