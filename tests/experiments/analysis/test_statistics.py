"""Intervals and tests against worked examples, closed forms and simulation."""

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import DescrStatsW

from experiments.analysis import statistics


def test_t_interval_by_hand():
    mean, low, high = statistics.t_interval([1.0, 2.0, 3.0])
    half = 4.302653 / math.sqrt(3)  # t(0.975, 2) times a standard error of 1 / sqrt(3)
    assert mean == 2.0
    assert high - mean == pytest.approx(half, rel=1e-6) and mean - low == pytest.approx(half, rel=1e-6)


def test_t_interval_covers_as_often_as_it_says():
    draws = np.random.default_rng(0).normal(5.0, 2.0, (1000, 3))
    covered = [low < 5.0 < high for _, low, high in map(statistics.t_interval, draws)]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.015)


def test_one_value_has_an_endless_interval():
    assert statistics.t_interval([1.0]) == (1.0, -math.inf, math.inf)
    assert all(map(math.isnan, statistics.t_interval([])))


def test_few_seeds_are_tested_by_t_and_many_exactly():
    few = [0.3, 0.1, 0.2, 0.25]
    assert statistics.paired_test(few) == pytest.approx(stats.ttest_rel(few, np.zeros(4)).pvalue)
    assert statistics.paired_test([0.3, 0.1, 0.2, 0.25, 0.1, 0.2, 0.3, 0.4]) == 2 / 2**8  # all signs agree
    assert statistics.paired_test([-0.3, 0.1, 0.2, 0.25, 0.11, 0.2, 0.3, 0.4]) > 2 / 2**8
    assert math.isnan(statistics.paired_test([0.3]))


def test_t_goes_on_until_an_exact_test_can_be_small_enough():
    """Eight seeds have no exact p below 1/128: among nine comparisons that would decide nothing."""
    eight = [0.3, 0.1, 0.2, 0.25, 0.1, 0.2, 0.3, 0.4]
    assert statistics.paired_test(eight, alpha=0.05 / 9) == pytest.approx(stats.ttest_1samp(eight, 0).pvalue)
    assert statistics.paired_test([*eight, 0.2], alpha=0.05 / 9) == 2 / 2**9
    assert statistics.paired_test([0.2] * 8, alpha=0.05 / 9) == 0.0 and statistics.paired_test([0.2] * 8) == 2 / 2**8


def test_against_another_value():
    values = [0.52, 0.55, 0.5, 0.51]
    assert statistics.paired_test(values, against=0.5) > 0.05 > statistics.paired_test(values)


def test_differences_without_spread():
    assert statistics.paired_test([0.0, 0.0, 0.0]) == 1.0
    assert statistics.paired_test([0.2, 0.2, 0.2]) == 0.0
    assert statistics.paired_test([0.2] * 8) == 2 / 2**8
    assert statistics.equivalence_test([0.0] * 3, 0.05) == 0.0 and statistics.equivalence_test([0.1] * 3, 0.05) == 1.0
    # Two seeds that agree, as at a ceiling, are no proof.
    assert statistics.paired_test([0.2, 0.2]) == statistics.equivalence_test([0.0, 0.0], 0.05) == 0.5


def test_equivalence_asks_for_precision_not_for_a_large_p():
    tight, wide = [0.001, -0.002, 0.002, 0.0], [0.1, -0.1, 0.08, -0.07]
    assert statistics.equivalence_test(tight, 0.05) < 0.01
    assert statistics.equivalence_test(wide, 0.05) > 0.05  # no difference is seen, and none is excluded
    assert statistics.equivalence_test([0.2, 0.21, 0.19, 0.2], 0.05) > 0.9


def test_equivalence_is_wrong_as_often_as_it_says():
    """At the margin itself the test must not accept more than alpha of the time."""
    draws = np.random.default_rng(1).normal(0.05, 0.02, (2000, 6))
    assert np.mean([statistics.equivalence_test(d, 0.05) < 0.05 for d in draws]) < 0.06


def test_against_statsmodels():
    """An implementation of others, for the interval, the two one-sided tests, and Holm's correction."""
    values = [0.31, 0.18, 0.25, 0.4, 0.22]
    theirs = DescrStatsW(values)
    assert statistics.t_interval(values)[1:] == pytest.approx(theirs.tconfint_mean())
    assert statistics.paired_test(values, 0.2) == pytest.approx(theirs.ttest_mean(0.2)[1])
    assert statistics.equivalence_test(values, 0.5) == pytest.approx(theirs.ttost_mean(-0.5, 0.5)[0])
    p = [0.001, 0.02, 0.04, 0.3, 0.011]
    assert statistics.holm(p) == pytest.approx(multipletests(p, method="holm")[1])


def test_holm_by_hand():
    assert statistics.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert statistics.holm([0.5, 0.9]) == [1.0, 1.0]
    corrected = statistics.holm([0.01, math.nan])
    assert corrected[0] == pytest.approx(0.02) and math.isnan(corrected[1])


def test_seeds_that_would_decide_against_the_textbook():
    """Cohen's table: a one-sample t test of an effect of 1 s.d., two-sided at 0.05, has power 0.8 from n = 10."""
    values = np.array([-1.0, 1.0, 0.0]) * 1.0
    assert values.std(ddof=1) == 1.0
    assert statistics.seeds_to_show(values + 1.0, 0.0) == 10
    assert statistics.seeds_to_show(values + 1.0, 0.0, alpha=0.01) > 10
    assert statistics.seeds_to_show(values, 0.0) is None  # nothing to show
    assert statistics.seeds_to_show([1.0], 0.0) is None


def test_seeds_that_would_decide_by_simulation():
    values = np.array([-1.0, 1.0, 0.0]) * 0.02
    n = statistics.seeds_to_show_equivalence(values, 0.03)
    assert n is not None and n > 3
    draws = np.random.default_rng(2).normal(0.0, 0.02, (2000, n))
    assert np.mean([statistics.equivalence_test(d, 0.03) < 0.05 for d in draws]) == pytest.approx(0.8, abs=0.08)
    assert statistics.seeds_to_show_equivalence(values + 0.04, 0.03) is None


def test_without_a_test_set_nothing_changes():
    few = [0.3, 0.1, 0.2, 0.25]
    assert statistics.sentences_variance(()) == statistics.sentences_variance([[1.0]]) == 0.0
    assert statistics.sentences_variance([[1.0, 3.0]]) == 2.0  # of one seed: all of it
    tiny = 1e-14
    assert statistics.paired_test(few, 0.1, tiny) == pytest.approx(statistics.paired_test(few, 0.1), rel=1e-3)
    assert statistics.equivalence_test(few, 0.5, tiny) == pytest.approx(statistics.equivalence_test(few, 0.5), rel=0.05)
    assert statistics.t_interval(few, of_sentences=tiny) == pytest.approx(statistics.t_interval(few), rel=1e-3)
    above, below = (stats.ttest_1samp(few, m, alternative=a).pvalue for m, a in ((-0.5, "greater"), (0.5, "less")))
    assert statistics.equivalence_test(few, 0.5) == pytest.approx(max(above, below))


def test_other_sentences_have_an_interval_of_their_own():
    drawn_ND = np.linspace(0, 1, 1001) + np.array([[0.0], [1.0]])
    assert statistics.sentences_interval(drawn_ND) == pytest.approx((1.0, 0.525, 1.475))


def test_no_number_of_seeds_makes_up_for_few_sentences():
    values = [0.9, 1.1, 1.0]
    assert statistics.seeds_to_show(values, 0.0) == 4
    assert statistics.seeds_to_show(values, 0.0, of_sentences=1.0) is None
    assert statistics.seeds_to_show_equivalence(np.subtract(values, 1.0), 0.5) == 4
    assert statistics.seeds_to_show_equivalence(np.subtract(values, 1.0), 0.5, of_sentences=1.0) is None
    assert statistics.paired_test([1.0, 1.0, 1.0], 0.0, 0.25) == pytest.approx(2 * stats.norm.sf(2.0), rel=1e-3)
