"""The probe gives what eval.py gives, at each length, on any architecture and on text."""

import jax
import pytest

import data
import eval
import models
from experiments.probes import accuracy_by_length as probe
from tests.experiments.probes.restored import restored
from tests.training import runs
from tests.training.processes import write_text
from training.run.restore import Restored


@pytest.fixture(autouse=True)
def compiled_in_haste():
    with runs.compiled_in_haste():
        yield


def named(found, measure):
    return [one for one in found if one.measure == measure]


def evaluated(run, split):
    return eval.evaluate(run, split)[0]


@pytest.mark.parametrize("model", ["gru", "transformer_decoder"])
def test_it_is_what_eval_measures(model):
    run = restored("reverse", model)
    found = list(probe.measure(run))
    rows = evaluated(run, "test")["by_source_length"]
    for name in ("token_accuracy", "exact_match", "loss"):
        here = [(one.place, one.value, one.answers) for one in named(found, name)]
        assert here == [(row["low"], row[name], row["num_examples"]) for row in rows]
    assert [one.place for one in named(found, "loss")] == [4, 5, 6]
    assert named(found, "chance_token_accuracy")[0].value == run.task.chance["token_accuracy"]


def test_several_splits_each_with_its_ranges():
    run = restored("parity", "gru_decoder")
    found = named(probe.measure(run, splits=("test", "test_long"), width=4), "token_accuracy")
    assert [(one.part, one.place) for one in found] == [("test", 2.5), ("test", 6.5), ("test_long", 10.5)]
    assert sum(one.answers for one in found) == 64


def test_a_part_of_the_examples():
    found = named(probe.measure(restored("parity", "rnn_decoder"), limit=8), "token_accuracy")
    assert sum(one.answers for one in found) == 8


def test_text_is_counted_in_words(tmp_path):
    config = runs.text_config(write_text(tmp_path / "text"), data__source_language="de", data__target_language="en")
    task = data.build(config.task, config.data)
    run = Restored(config, task, models.build(config.model.name, config.model, task.spec, jax.random.key(0)), 0)
    words = {len(line.split()) for line in task.source_text("val")}
    assert {one.place for one in named(probe.measure(run, splits=("val",)), "loss")} == words


def test_without_a_source(tmp_path):
    config = runs.language_config(runs.write_language(tmp_path / "text"))
    task = data.build(config.task, config.data)
    with pytest.raises(ValueError, match="shakespeare has no source"):
        list(probe.measure(Restored(config, task, None, 0)))
