"""The probe's BLEU is eval.py's in the same range, and its resamples are of the same lines for every run."""

import jax
import numpy as np
import pytest

import data
import eval
import models
from experiments.probes import bleu_by_length as probe
from experiments.probes import bleu_counts
from tests.experiments.probes.restored import restored
from tests.training import runs
from tests.training.processes import write_text
from training.evaluation.generate import search
from training.run.restore import Restored


@pytest.fixture(autouse=True)
def compiled_in_haste():
    with runs.compiled_in_haste():
        yield


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return write_text(tmp_path_factory.mktemp("text") / "text")


def translator(text, model="rnn_attention", seed=0) -> Restored:
    config = runs.text_config(text, model, data__source_language="de", data__target_language="en")
    task = data.build(config.task, config.data)
    return Restored(config, task, models.build(model, config.model, task.spec, jax.random.key(seed)), 0)


@pytest.mark.parametrize("beam_size", [1, 2])
def test_it_is_what_eval_measures(text, beam_size):
    run = translator(text)
    _, predictions = eval.evaluate(run, "test", search(beam_size))
    counts_SC = bleu_counts.counts(predictions, run.task.target_text("test"))
    words_S = np.array([len(line.split()) for line in run.task.source_text("test")])
    found = list(probe.measure(run, split="test", edges=(1, 4, 7), draws=3, beam_size=beam_size))
    whole = {one.place: one for one in found if one.measure == "bleu_lowercase" and not one.part}
    for place, inside_S in ((2.0, words_S < 4), (5.5, words_S >= 4)):
        assert whole[place].value == bleu_counts.score(counts_SC[inside_S]) and whole[place].answers == inside_S.sum()
        drawn = [one.value for one in found if one.part.startswith("draw") and one.place == place]
        assert drawn == bleu_counts.resampled(counts_SC[inside_S], 3).tolist()
    ratios = [one.value for one in found if one.measure == "length_ratio"]
    assert len(ratios) == 2 and all(ratio > 0 for ratio in ratios)


def test_a_part_of_the_examples_and_ranges_without_any(text):
    found = list(probe.measure(translator(text, "transformer"), split="val", edges=(1, 8, 90), draws=0, limit=4))
    assert [(one.measure, one.place, one.answers) for one in found] == [
        ("bleu_lowercase", 4.0, 4),
        ("length_ratio", 4.0, 4),
    ]


def test_ranges():
    assert probe.ranges((10, 20, 30, 60)) == [(10, 19), (20, 29), (30, 60)]
    assert probe.ranges((10, 60)) == [(10, 60)]
    for edges in ((10,), (10, 10), (20, 10)):
        with pytest.raises(ValueError, match="do not ascend"):
            probe.ranges(edges)


def test_what_is_no_translation():
    with pytest.raises(ValueError, match="reverse is not a translation of text"):
        list(probe.measure(restored("reverse", "gru"), split="test", edges=(1, 9)))
