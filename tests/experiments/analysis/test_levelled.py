"""Whether training had levelled off: the mean of the seeds that were trained for longer, and how many they were."""

import pandas as pd

from experiments.analysis import levelled
from experiments.analysis.finding import Outcome

REPORTED = pd.Series([0.5, 0.6, 0.7], index=[0, 1, 2])


def test_the_seeds_that_were_trained_for_longer_are_counted_and_their_mean_is_judged():
    one = levelled.gain(pd.Series([0.52], index=[0]), REPORTED)
    three = levelled.gain(REPORTED + [0.0, 0.0, 0.3], REPORTED)
    found = levelled.levelled_off({"one": one, "three": three, "none": REPORTED[:0]}, 0.05, "accuracy")
    assert [(effect.says, effect.seeds, round(effect.size, 3)) for effect in found.effects[:2]] == [
        ("holds", 1, 0.02),
        ("fails", 3, 0.1),
    ]
    assert found.effects[2].says == "not run" and found.effects[2].seeds == 0
    assert found.because == "means over the seeds that were trained so, with twice the steps: one +0.02; three +0.1"


def test_with_one_seed_each_it_says_so():
    found = levelled.levelled_off({"a": pd.Series([0.01])}, 0.05, "accuracy")
    assert found.because == "one seed of each, with twice the steps: a +0.01" and found.outcome is Outcome.SUPPORTED
