"""The probe gives what eval.py gives, at each distance, on any architecture."""

import math

import numpy as np
import pytest

import eval
from experiments.probes import accuracy_by_distance as probe
from tests.experiments.probes.restored import restored
from tests.training import runs

measure = probe.measure


@pytest.fixture(autouse=True)
def compiled_in_haste():
    with runs.compiled_in_haste():
        yield


@pytest.mark.parametrize("model", ["gru", "transformer_decoder"])
def test_it_is_what_eval_measures(model):
    run = restored("recall", model)
    found, _ = eval.evaluate(run, "test")
    measured = [one for one in measure(run) if one.measure == "token_accuracy"]
    assert [(one.value, one.answers) for one in measured] == [
        (row["token_accuracy"], row["num_answers"]) for row in found["by_distance"]
    ]
    assert {one.measure for one in measure(run)} == {
        "token_accuracy",
        "loss",
        "chance_token_accuracy",
        "chance_loss",
        "chance_token_accuracy_in_context",
    }


def test_places_are_distances_of_the_task():
    run = restored("copying", "gru_decoder", data__offset="anywhere")
    places = [one.place for one in measure(run) if one.measure == "token_accuracy"]
    assert set(np.floor(places)) <= set(run.task.distances.tolist())


def test_real_valued_answers():
    measured = {one.measure: one for one in measure(restored("adding", "gru_decoder"))}
    assert 0 <= measured["token_accuracy"].value <= 1 and measured["loss"].value > 0
    assert math.isclose(measured["chance_loss"].value, 1 / 6)


def test_a_task_without_distances_is_refused():
    with pytest.raises(ValueError, match="answers of parity have no distance"):
        list(measure(restored("parity", "gru_decoder")))
