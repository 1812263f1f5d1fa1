"""From differences to outcomes: every one can come out, and for the right reason."""

import numpy as np
import pytest

from experiments.analysis import judge
from experiments.analysis.finding import Outcome
from experiments.analysis.judge import Comparison

LARGE, NONE = [0.50, 0.52, 0.49, 0.51, 0.505], [0.001, -0.002, 0.0, 0.002, 0.0]
UNSURE = [0.5, -0.3, 0.4, -0.1, 0.1]


def larger(*differences, least=0.1):
    return judge.larger("C", "s", [Comparison(f"c{n}", d) for n, d in enumerate(differences)], least=least)


def equivalent(*differences, margin=0.05):
    return judge.equivalent("C", "s", [Comparison(f"c{n}", d) for n, d in enumerate(differences)], margin=margin)


def says(finding):
    return [effect.says for effect in finding.effects]


def test_a_difference_that_is_shown_and_large():
    finding = larger(LARGE, LARGE)
    assert finding.outcome is Outcome.SUPPORTED and says(finding) == ["holds", "holds"]
    assert "+0.505 [+0.491, +0.519], 5 seeds, p " in finding.because


def test_a_difference_that_is_shown_to_be_small():
    assert larger(NONE).outcome is Outcome.NOT_SUPPORTED
    assert larger([-d for d in LARGE]).outcome is Outcome.NOT_SUPPORTED


def test_a_real_difference_below_the_threshold_is_no_support():
    assert larger([0.050, 0.051, 0.049, 0.05, 0.05]).outcome is Outcome.NOT_SUPPORTED


def test_here_it_holds_and_there_it_fails():
    finding = larger(LARGE, NONE, UNSURE)
    assert finding.outcome is Outcome.WITHIN_LIMITS and says(finding) == ["holds", "fails", "open"]


def test_wide_intervals_are_undecided_and_say_how_many_seeds_would_decide():
    finding = larger(UNSURE)
    assert finding.outcome is Outcome.UNDECIDED and finding.seeds_to_decide and finding.seeds_to_decide > 5
    assert f"{finding.seeds_to_decide} seeds would decide" in finding.because
    assert larger(LARGE, UNSURE).outcome is Outcome.UNDECIDED


def test_a_test_set_of_few_sentences_is_not_made_up_for_by_seeds():
    judged = [judge.larger("C", "s", [drawn(LARGE, spread)], least=0.1) for spread in (0.0, 0.01, 1.0)]
    assert [one.outcome for one in judged] == [Outcome.SUPPORTED, Outcome.SUPPORTED, Outcome.UNDECIDED]
    assert judged[2].seeds_to_decide is None and judged[2].effects[0].high > 2 > judged[0].effects[0].high
    judged = [judge.equivalent("C", "s", [drawn(NONE, spread)], margin=0.05) for spread in (0.0, 1.0)]
    assert [one.outcome for one in judged] == [Outcome.SUPPORTED, Outcome.UNDECIDED]


def drawn(differences, spread) -> Comparison:
    """With resamples of the sentences that move every seed alike, by a standard deviation of `spread`."""
    moves_D = spread * np.random.default_rng(0).normal(0, 1, 200)
    return Comparison("c", differences, drawn_ND=np.asarray(differences)[:, None] + moves_D)


def test_what_would_change_on_other_sentences_has_its_own_interval():
    finding = judge.larger("C", "s", [drawn(LARGE, 0.05)], least=0.1)
    low, high = finding.effects[0].sentences
    assert 0.3 < low < 0.45 < 0.55 < high < 0.7 and "; other sentences [+0." in finding.because
    below = judge.smaller("C", "s", [drawn(LARGE, 0.05)], most=1.0).effects[0]
    assert below.sentences == (low, high) and below.size == pytest.approx(0.505)


def test_fewer_than_five_seeds_decide_nothing():
    for finding in (
        larger(LARGE[:4]),
        equivalent(NONE[:4]),
        judge.smaller("C", "s", [Comparison("c", NONE[:4])], most=1),
    ):
        assert finding.outcome is Outcome.UNDECIDED and finding.seeds_to_decide == judge.FEWEST == 5


def test_one_seed_decides_nothing():
    finding = larger([0.9])
    assert finding.outcome is Outcome.UNDECIDED and finding.seeds_to_decide == 5


def test_many_comparisons_are_corrected_for():
    """A difference that is barely shown alone is not shown as one of ten that show nothing."""
    barely = [0.3, 0.1, 0.2, 0.4, 0.05]
    assert says(larger(barely))[0] == "holds"
    assert says(larger(barely, *[UNSURE] * 9))[0] == "open"


def test_what_could_not_be_asked_does_not_count():
    silent = Comparison("c", LARGE, "at chance")
    finding = judge.larger("C", "s", [silent], least=0.1)
    assert finding.outcome is Outcome.UNDECIDED and "at chance: c" in finding.because
    finding = judge.larger("C", "s", [silent, Comparison("d", NONE)], least=0.1)
    assert finding.outcome is Outcome.NOT_SUPPORTED


def test_what_was_not_run_keeps_a_claim_open():
    """A table of which only the part is there that holds is no support."""
    finding = larger(LARGE, [])
    assert finding.outcome is Outcome.UNDECIDED and says(finding) == ["holds", "not run"]
    assert larger(LARGE, NONE, []).outcome is Outcome.WITHIN_LIMITS
    assert larger([]).outcome is Outcome.UNDECIDED and larger([]).seeds_to_decide is None


def test_no_difference_needs_the_margin():
    assert equivalent(NONE, NONE).outcome is Outcome.SUPPORTED
    assert equivalent(LARGE).outcome is Outcome.NOT_SUPPORTED
    assert equivalent([-d for d in LARGE]).outcome is Outcome.NOT_SUPPORTED
    assert equivalent(NONE, LARGE).outcome is Outcome.WITHIN_LIMITS
    unsure = equivalent([0.06, -0.06, 0.07, -0.05, 0.0])
    assert unsure.outcome is Outcome.UNDECIDED and unsure.seeds_to_decide and unsure.seeds_to_decide > 5


@pytest.mark.parametrize("judged", [larger, equivalent])
def test_more_seeds_of_the_same_spread_decide(judged):
    """The number that is given is enough, with the power that it was computed for."""
    few = [0.5, -0.05, 0.4, 0.05, -0.1] if judged is larger else [0.06, -0.06, 0.065, -0.05, 0.04]
    needed = judged(few).seeds_to_decide
    assert needed > 5
    rng = np.random.default_rng(0)
    decided = [
        judged(rng.normal(np.mean(few), np.std(few, ddof=1), needed)).outcome is not Outcome.UNDECIDED
        for _ in range(10)
    ]
    assert np.mean(decided) > 0.5


def test_one_seed_is_shown_without_an_interval():
    found = larger([0.5])
    assert "c0 +0.5, 1 seed" in found.because and "inf" not in found.because


@pytest.mark.parametrize("seeds", [5, 7, 8, 9, 12])
def test_more_seeds_do_not_undo_what_fewer_show(seeds):
    """Nine clear comparisons, below and above the number of seeds from which tests are exact."""
    spread = np.linspace(-0.01, 0.01, seeds)
    clear = [Comparison(str(n), 1 + spread) for n in range(9)]
    assert judge.larger("C0", "all", clear, least=0.5).outcome is Outcome.SUPPORTED
    assert judge.smaller("C0", "all", clear, most=1.5).outcome is Outcome.SUPPORTED


def test_seeds_without_spread_have_no_p():
    found = judge.larger("C0", "all", [Comparison("a", [0.1] * 5)], least=0.05)
    assert "a +0.1 [+0.1, +0.1], 5 seeds, all alike" in found.because and " p " not in found.because
