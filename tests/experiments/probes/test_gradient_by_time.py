"""Gradients by time against the closed form of a linear RNN, and against finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
from data import pipeline
from experiments.probes import gradient_by_time as probe
from models.cells import TanhCell
from models.recurrent_decoder import RecurrentDecoder
from tests.experiments.probes.restored import restored
from tests.training import runs
from training.step.losses import LOSSES

measure = probe.measure


class LinearCell(TanhCell):
    """h_t = x_t W + b + h_{t-1} U."""

    @staticmethod
    def update(recurrent, projected, carry):
        return recurrent(projected)


class LinearDecoder(RecurrentDecoder):
    cell = LinearCell


@pytest.fixture(autouse=True)
def compiled_in_haste():
    with runs.compiled_in_haste():
        yield


@pytest.fixture
def linear(monkeypatch):
    monkeypatch.setitem(models.MODELS, "linear_decoder", LinearDecoder)


@pytest.mark.parametrize("scale", [0.01, 0.8, 1.0, 1.2])  # the first: to norms whose squares float32 does not hold
def test_the_closed_form_of_a_linear_rnn(linear, scale):
    """With U = scale times an orthogonal matrix, the norm of dL/dh_t is scale^k that of dL/dh_T, k steps later."""
    run = restored("copying", "linear_decoder", model__recurrent_scale=scale)
    found = {one.place: one.value for one in measure(run) if (one.measure, one.part) == (Q50, "decoder.0.hidden")}
    places = np.array(sorted(found))
    assert places.tolist() == list(range(run.task.spec.max_source_length + run.task.spec.max_target_length))
    norms = np.array([found[place] for place in places])
    np.testing.assert_allclose(norms / norms[0], scale**places, rtol=1e-4)


Q50 = "gradient_norm_q50"


def test_the_singular_value_comes_along(linear):
    run = restored("copying", "linear_decoder", model__recurrent_scale=0.7)
    values = [one for one in measure(run) if one.measure == "largest_singular_value"]
    assert [one.part for one in values] == ["decoder.layers.0"] and values[0].value == pytest.approx(0.7, rel=1e-5)


@pytest.mark.parametrize("model", ["lstm_decoder", "gru_attention", "transformer_decoder", "transformer"])
def test_finite_differences(model):
    """One step along the gradient changes the last loss by its norm times the step."""
    run = restored("copying", model)
    batch = next(pipeline.eval_batches(run.task, "val", pipeline.Batching.of(run.config), limit=8))
    loss_at = probe._last(batch)
    names = [name for name in run.model.tap_names() if name.rpartition(".")[2] in probe.PARTS]
    norms = probe.Gradient(run, names)(batch)
    source, mask, target_in = (jnp.asarray(batch[k]) for k in ("source", "source_mask", "target_in"))
    captured = run.model(source, mask, target_in, taps=dict.fromkeys(names)).taps

    @jax.jit
    def last_losses(taps):
        logits = run.model(source, mask, target_in, taps=taps).logits
        return LOSSES["cross_entropy"](logits, batch["target_out"]).nll[np.arange(len(loss_at)), loss_at]

    for name in names:
        H, t, eps = captured[name].shape[2], captured[name].shape[1] // 2, 1e-2
        gradient_BH = np.zeros((len(loss_at), H))
        for unit in range(H):
            bump = jnp.zeros(captured[name].shape).at[:, t, unit].set(eps)
            gradient_BH[:, unit] = (last_losses({name: bump}) - last_losses({name: -bump})) / (2 * eps)
        np.testing.assert_allclose(np.linalg.norm(gradient_BH, axis=1), norms[name][:, t], rtol=2e-2, atol=2e-5)


def test_places_count_real_tokens_back_from_the_loss():
    """An encoder's states lie before the decoder's, padding has no place, and nothing comes after the loss."""
    batch = {
        "source_mask": np.array([[True, True, True], [True, False, False]]),
        "target_in": np.zeros((2, 3), np.int32),
        "target_weights": np.array([[0, 1, 0], [1, 1, 1.0]]),
    }
    places, norms = probe._placed(batch, "encoder.0.hidden", np.array([[1.0, 2, 3], [4, 5, 6]]))
    assert places.tolist() == [4, 3, 2, 3] and norms.tolist() == [1, 2, 3, 4]
    places, norms = probe._placed(batch, "decoder.0.hidden", np.array([[1.0, 2, 3], [4, 5, 6]]))
    assert places.tolist() == [1, 0, 2, 1, 0] and norms.tolist() == [1, 2, 4, 5, 6]
    places, _ = probe._placed(batch, "decoder.0.hidden", np.ones((2, 6)))
    assert places.tolist() == [4, 3, 2, 1, 0, 3, 2, 1, 0]


def test_quantiles_are_over_examples_and_places_are_thinned():
    run = restored("copying", "rnn_decoder")
    found = [one for one in measure(run, places=3, examples=16) if one.part == "decoder.inputs"]
    longest = run.task.spec.max_source_length + run.task.spec.max_target_length - 1
    assert {one.place for one in found} == {0, round(longest / 2), longest}
    here = {one.measure: one.value for one in found if one.place == longest}
    assert here["gradient_norm_q5"] < here["gradient_norm_q50"] < here["gradient_norm_q95"]
    assert all(one.answers == 16 for one in found)
