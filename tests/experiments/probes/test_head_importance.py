"""Masking a head is silencing its rows of the output map."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from experiments.probes import head_importance as probe
from tests.experiments.probes.restored import restored
from tests.training import runs


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
