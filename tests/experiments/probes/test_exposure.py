"""Free-running and teacher-forced accuracy by position: what eval.py gives in the mean, and an exact case."""

import numpy as np
import pytest

import eval
from experiments.probes import exposure as probe
from tests.experiments.probes.restored import restored
from tests.training import runs


@pytest.fixture(autouse=True)
def compiled_in_haste():
    with runs.compiled_in_haste():
        yield


def mean(found, name):
    rows = [one for one in found if one.measure == name]
    return sum(one.value * one.answers for one in rows) / sum(one.answers for one in rows)


def test_the_means_are_those_of_eval():
    run = restored("reverse", "gru", data__min_length=6)
    found = list(probe.measure(run))
    evaluated, _ = eval.evaluate(run, "val")
    assert mean(found, "teacher_forced") == pytest.approx(evaluated["token_accuracy"])
    assert mean(found, "free_running") == pytest.approx(evaluated["free_running"]["token_accuracy"])


def test_at_the_first_position_both_have_seen_the_same():
    found = list(probe.measure(restored("reverse", "transformer_decoder")))
    first = {one.measure: one.value for one in found if one.place == 0}
    assert first["teacher_forced"] == first["free_running"]
    places = {one.place for one in found}
    assert places == set(np.arange(len(places), dtype=float)) and len(places) >= 6


def test_what_is_not_fed_back():
    with pytest.raises(ValueError, match="outputs of recall are not fed back"):
        list(probe.measure(restored("recall", "gru")))
