"""Shares of seeds: counted, and compared by exact tests."""

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.proportion import confint_proportions_2indep

from experiments.analysis import shares, statistics
from experiments.analysis.finding import Outcome
from experiments.analysis.shares import Share


@pytest.mark.parametrize(("a", "b"), [((5, 5), (0, 5)), ((4, 5), (1, 5)), ((3, 7), (3, 6)), ((0, 5), (0, 5))])
def test_the_interval_of_a_difference_is_newcombes(a, b):
    low, high = confint_proportions_2indep(*a, *b, method="newcomb", compare="diff")
    found = statistics.share_difference(a, b)
    assert (found.low, found.high) == pytest.approx((low, high)) and found.mean == a[0] / a[1] - b[0] / b[1]


def test_fishers_test_counts_tables():
    assert statistics.fisher_test((5, 5), (0, 5)) == pytest.approx(1 / 252)  # one table of 10 over 5
    assert statistics.fisher_test((4, 5), (1, 5)) == pytest.approx((25 + 1) / 252)


def test_a_share_is_said_with_its_median_and_never_a_mean():
    solved, steps = pd.Series([True, True, False, True]), pd.Series([400.0, 800.0, np.nan, 3000.0])
    assert str(Share.of("GRU", solved, steps)) == "GRU 3 of 4 seeds, median 800 steps"
    assert str(Share.of("GRU", solved, steps.where(steps < 3000))) == "GRU 3 of 4 seeds, median 600 steps (known of 2)"
    assert str(Share.of("GRU", ~solved & False, steps)) == "GRU 0 of 4 seeds"


def outcome(*pairs) -> Outcome:
    return shares.more("C", "more", [(Share("a", *a), Share("b", *b)) for a, b in pairs]).outcome


def test_outcomes():
    assert outcome(((5, 5), (0, 5))) is Outcome.SUPPORTED
    for a in range(6):
        assert outcome(((a, 5), (a, 5))) is Outcome.NOT_SUPPORTED  # four of five seeds more is excluded
    assert outcome(((2, 5), (0, 5))) is Outcome.UNDECIDED  # p = .07 that it is four more, .22 that it is none
    assert outcome(((3, 5), (0, 5))) is Outcome.UNDECIDED  # p = .08
    assert outcome(((4, 4), (0, 4))) is Outcome.UNDECIDED  # fewer than five seeds
    assert outcome(((0, 0), (0, 5))) is Outcome.UNDECIDED  # not run


def test_that_a_gain_is_small_is_told_by_the_binomials():
    assert statistics.share_test((0, 5), (5, 5), 0.8) == pytest.approx(0.1**10)  # .1 and .9 make it the most often
    random, rare = np.random.default_rng(0), []
    for share in (0.0, 0.1, 0.2):  # where the gain is four of five seeds, it is seldom said to be less
        drawn = zip(random.binomial(5, share + 0.8, 4000), random.binomial(5, share, 4000), strict=True)
        rare.append(np.mean([statistics.share_test((a, 5), (b, 5), 0.8) < 0.05 for a, b in drawn]))
    assert max(rare) <= 0.06


def test_several_comparisons_are_corrected_by_holm():
    assert outcome(((4, 5), (0, 5))) is Outcome.SUPPORTED  # p = .024
    assert outcome(*[((4, 5), (0, 5))] * 2 + [((5, 5), (0, 5))]) is Outcome.SUPPORTED
    assert outcome(((4, 5), (0, 5)), ((4, 5), (0, 6)), ((3, 5), (0, 5))) is Outcome.UNDECIDED
