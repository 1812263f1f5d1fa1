"""BLEU of a split is what eval.py gives, of as many sentences as asked for."""

from pathlib import Path

import jax
import pytest

import data
import eval
import models
from experiments.probes import bleu as probe
from tests.experiments.probes.restored import restored
from tests.training import processes, runs
from training.evaluation.generate import search
from training.evaluation.quality import PARTS
from training.evaluation.translator import Translator
from training.run.restore import Restored


@pytest.fixture(autouse=True)
def compiled_in_haste():
    with runs.compiled_in_haste():
        yield


def translation(folder: Path, model: str, **values) -> Restored:
    """An untrained translation model of a small text."""
    config = runs.text_config(processes.write_text(folder), model, **values)
    task = data.build(config.task, config.data)
    return Restored(config, task, models.build(model, config.model, task.spec, jax.random.key(0)), 0)


@pytest.mark.parametrize("beam_size", [1, 2])
def test_it_is_what_eval_gives(tmp_path, beam_size):
    run = translation(tmp_path, "gru")
    found = {one.measure: one for one in probe.measure(run, split="test", beam_size=beam_size, limit=8)}
    expected, _ = eval.evaluate(run, "test", search(beam_size), limit=8)
    assert {name: one.value for name, one in found.items()} == {
        name: pytest.approx(expected[name]) for name in ("bleu_lowercase", "bleu", "chrf", *PARTS, "at_decoding_limit")
    }
    assert found["bleu"].answers == 8


def test_a_perfect_translation_scores_100(tmp_path):
    run = translation(tmp_path, "gru")
    translator = Translator(run, "val", limit=8)
    perfect = translator.translate(run.model)
    assert perfect._replace(hypotheses=perfect.references).scores()["bleu"] == pytest.approx(100)
    assert perfect.references == run.task.target_text("val")[:8]


def test_what_is_no_translation():
    with pytest.raises(ValueError, match="answers of recall are no text"):
        list(probe.measure(restored("recall", "gru")))
