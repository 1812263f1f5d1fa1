"""Masking a head is silencing its rows of the output map."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from experiments.probes import bleu
from experiments.probes import head_importance as probe
from tests.experiments.probes.restored import restored
from tests.experiments.probes.test_bleu import translation
from tests.training import runs
from training.evaluation.quality import PARTS
from training.evaluation.translator import Translator
from training.step import params


@pytest.fixture(autouse=True)
def compiled_in_haste():
    with runs.compiled_in_haste():
        yield


def test_a_masked_head_is_one_whose_output_weights_are_zero():
    run = restored("recall", "transformer_decoder")
    found = {(one.measure, one.part): one.value for one in probe.measure(run, limit=16)}
    width = run.config.model.hidden_size // run.config.model.num_heads
    for head in range(run.config.model.num_heads):
        silenced = nnx.clone(run.model)
        output = silenced.decoder.layers[0].attention.output
        rows = slice(head * width, (head + 1) * width)
        output.kernel[...] = jnp.asarray(output.kernel[...]).at[rows].set(0.0)
        baseline = {one.measure: one.value for one in probe.measure(run._replace(model=silenced), limit=16)}
        np.testing.assert_allclose(
            found["loss_increase", f"decoder.0.heads {head}"], baseline["loss"] - found["loss", ""], atol=1e-5
        )
        assert abs(baseline["loss"] - found["loss", ""]) > 1e-5


def test_every_head_has_a_place():
    found = [one for one in probe.measure(restored("reverse", "transformer"), limit=16)]
    increases = [one for one in found if one.measure == "loss_increase"]
    assert [one.place for one in increases] == list(range(6))  # encoder, decoder and cross-attention, two heads each
    assert len({one.part for one in increases}) == 6


def test_without_heads():
    with pytest.raises(ValueError, match="gru has no heads"):
        list(probe.measure(restored("recall", "gru")))


def without_head(run, name: str, head: int):
    """The model with one of its two heads masked."""
    changed = probe.without_head(run.model, name, head, 2)
    return params.Skeleton(run.model)(params.flatten(run.model) | changed)


@pytest.mark.parametrize("name", ["encoder.0.heads", "decoder.0.heads", "decoder.0.cross_heads"])
def test_zeros_in_the_output_map_are_what_a_gate_of_zero_does(name):
    run = restored("reverse", "transformer")
    batch = next(iter(run.batches("val", limit=16)))
    inputs = [jnp.asarray(batch[key]) for key in ("source", "source_mask", "target_in")]
    gates = run.model(*inputs, taps={name: None}).taps[name]
    for head in range(2):
        added = jnp.zeros(gates.shape).at[:, head].set(-1.0)
        gated = run.model(*inputs, taps={name: added}).logits
        masked = without_head(run, name, head)(*inputs).logits
        np.testing.assert_allclose(masked, gated, atol=1e-5)
        assert not np.allclose(masked, run.model(*inputs).logits)


def test_bleu_of_a_masked_head_is_that_of_the_model_without_it(tmp_path):
    run = translation(tmp_path, "transformer")
    run.task.decode_target = lambda ids: " ".join(map(str, ids))  # words enough for BLEU to count
    said = Translator(run, "val", limit=8).translate(run.model).hypotheses
    run.task.target_text = lambda split: said  # of an untrained model: its own translations are right
    found = {(one.measure, one.part): one for one in probe.measure(run, limit=8, sentences=8)}
    assert found["bleu_lowercase", ""].value == pytest.approx(100)
    losses = {part: one for (measure, part), one in found.items() if measure == "bleu_loss"}
    assert [one.place for one in losses.values()] == list(range(6))
    for part, one in losses.items():
        name, head = part.split()
        masked = run._replace(model=without_head(run, name, int(head)))
        alone = {other.measure: other.value for other in bleu.measure(masked, limit=8)}
        assert 100 - one.value == pytest.approx(alone["bleu_lowercase"])
        for measure in (*PARTS, "at_decoding_limit"):
            assert found[measure, part].value == pytest.approx(alone[measure])
    assert max(one.value for one in losses.values()) > 0


def test_what_has_no_translation():
    with pytest.raises(ValueError, match="answers of reverse are no text"):
        list(probe.measure(restored("reverse", "transformer"), limit=8, sentences=8))
