"""The probe's BLEU is eval.py's in the same range, and its resamples are of the same lines for every run."""

import types

import jax
import numpy as np
import pytest
from sacrebleu.metrics import BLEU

import data
import eval
import models
from experiments.probes import bleu_by_length as probe
from experiments.probes import bleu_counts
from tests.experiments.probes.restored import restored
from tests.training import runs
from tests.training.processes import write_text
from training.evaluation import generate
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
        drawn = [one for one in found if one.part.startswith("draw") and one.place == place]
        of_bleu = [one.value for one in drawn if one.measure == "bleu_lowercase"]
        assert of_bleu == bleu_counts.resampled(counts_SC[inside_S], 3).tolist() and len(drawn) == 6
        parts = {one.measure: one.value for one in found if one.place == place and not one.part}
        assert parts["ngram_precision"] * parts["brevity_penalty"] == pytest.approx(parts["bleu_lowercase"])
        assert parts["length_ratio"] > 0 and 0 <= parts["at_decoding_limit"] <= 1


def test_parts_are_sacrebleus_and_a_short_translation_is_precise_but_brief():
    references = ["a b c d e f g h", "i j k l m n o p"]
    for hypotheses in (["a b c d", "i j k l"], ["a b c d e f g h x y", "i j k l m n o p"]):
        counts_SC, theirs = bleu_counts.counts(hypotheses, references), BLEU().corpus_score(hypotheses, [references])
        found = bleu_counts.parts(counts_SC)
        assert found["brevity_penalty"] == pytest.approx(theirs.bp) and found["length_ratio"] == theirs.ratio
        assert found["ngram_precision"] == pytest.approx(np.exp(np.mean(np.log(theirs.precisions))))


def test_translations_that_were_cut_off_are_counted():
    spec = types.SimpleNamespace(eos=2, pad=0)
    batch = {"source_mask": np.ones((3, 2), bool), "index": np.array([7, 8, -1])}
    limit = int(generate._limit(2))
    ended = np.array([5] * (limit - 1) + [2])
    tokens = {7: np.full(limit + 3, 5), 8: ended}
    assert generate.at_limit(tokens, [batch], spec) == [7]


def test_a_part_of_the_examples_and_ranges_without_any(text):
    found = list(probe.measure(translator(text, "transformer"), split="val", edges=(1, 8, 90), draws=0, limit=4))
    assert {(one.place, one.answers) for one in found} == {(4.0, 4)}
    assert [one.measure for one in found] == [
        "bleu_lowercase",
        "ngram_precision",
        "brevity_penalty",
        "length_ratio",
        "at_decoding_limit",
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
