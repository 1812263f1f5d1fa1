"""cuDNN's LSTM beside our own cell. It needs a GPU; all around it is tested with jax's reference in its place."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.experimental import rnn

import models
from models import cudnn_lstm
from models.cells import LSTMCell
from models.cudnn_lstm import choose, pack, run_lstm
from models.recurrent import run_cell
from tests.models import test_contract as contract

T, B, D, H = 6, 4, 3, 5
RNG = np.random.default_rng(0)
INPUTS = jnp.asarray(RNG.normal(size=(T, B, D)), jnp.float32)
CARRY = tuple(jnp.asarray(RNG.normal(size=(B, H)), jnp.float32) for _ in range(2))
# Rows padded on the right, on the left, with a gap, and nothing but padding.
MASK_TB = np.array([[1, 1, 1, 1, 0, 0], [0, 0, 1, 1, 1, 1], [1, 0, 1, 0, 0, 1], [0, 0, 0, 0, 0, 0]], bool).T


def made():
    graph, params = nnx.split(LSTMCell(D, H, rngs=nnx.Rngs(0)))
    return graph, jax.tree.map(lambda x: x + 0.3 * jnp.asarray(RNG.normal(size=x.shape), jnp.float32), params)


def reference(x_BTD, hidden_BH, cell_BH, weights_W, lengths_B):
    """jax's own statement of what cuDNN computes, unpacking the weights as cuDNN does."""
    sizes = x_BTD.shape[2], hidden_BH.shape[1], 1
    assert weights_W.shape == (rnn.get_num_params_in_lstm(*sizes, False),)
    unpacked = rnn.unpack_lstm_weights(weights_W, *sizes, False)
    outputs, last, last_cell = rnn.lstm_ref(
        x_BTD, hidden_BH[None], cell_BH[None], *unpacked, lengths_B, *sizes, 0.0, False
    )
    return outputs, last[0], last_cell[0]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("mask", [None, MASK_TB], ids=["whole", "padded"])
def test_it_runs_our_cell(mask, reverse):
    """Outputs, last carry, and gradients with respect to parameters, inputs and first carry."""
    graph, params = made()
    weight = jnp.asarray(RNG.normal(size=(T, B, H)), jnp.float32)

    def study(run):
        def total(params, inputs, carry):
            hidden, last = run(nnx.merge(graph, params), inputs, carry)
            return (hidden * weight).sum() + (last[0] * last[1]).sum(), (hidden, last)

        return jax.jit(jax.grad(total, argnums=(0, 1, 2), has_aux=True))(params, INPUTS, CARRY)

    def ours(cell, inputs, carry):
        return run_cell(cell, cell.project(inputs), mask, carry, reverse=reverse)

    def theirs(cell, inputs, carry):
        return run_lstm(cell, inputs, mask, carry, reverse=reverse, kernel=reference)

    def backwards(cell, inputs, carry):
        return run_lstm(cell, inputs, mask, carry, reverse=not reverse, kernel=reference)

    expected = study(ours)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), study(theirs), expected)
    turned = jax.jit(lambda params: backwards(nnx.merge(graph, params), INPUTS, CARRY)[0])(params)
    assert not np.allclose(turned, expected[1][0], atol=1e-2)


def test_no_steps_leave_the_carry():
    graph, params = made()
    hidden, carry = run_lstm(nnx.merge(graph, params), INPUTS[:0], None, CARRY, kernel=reference)
    assert hidden.shape == (0, B, H)
    jax.tree.map(np.testing.assert_array_equal, carry, CARRY)


def test_weights_lie_as_cudnn_reads_them():
    graph, params = made()
    cell = nnx.merge(graph, params)
    (w_ih,), (w_hh,), (b_ih,), (b_hh,) = (
        tuple(part.values()) for part in rnn.unpack_lstm_weights(pack(cell), D, H, 1, False)
    )
    np.testing.assert_array_equal(w_ih.T, cell.input_kernel[...])
    np.testing.assert_array_equal(w_hh.T, cell.recurrent_kernel[...])
    np.testing.assert_array_equal(b_ih + b_hh, cell.bias[...])


def test_cudnns_call_takes_these_shapes(monkeypatch):
    """Traced forward and backward, with what only a GPU's driver could answer made up; nothing is run."""
    sizes = types.SimpleNamespace(compute_rnn_workspace_reserve_space_sizes=lambda *_: (0, 16))
    monkeypatch.setattr(rnn, "gpu_rnn", sizes)
    graph, params = made()

    def total(params, inputs):
        hidden, carry = run_lstm(nnx.merge(graph, params), inputs, jnp.asarray(MASK_TB), CARRY)
        return hidden.sum() + carry[1].sum()

    step = jax.value_and_grad(total, argnums=(0, 1))
    _, gradients = jax.eval_shape(step, params, INPUTS)
    assert jax.tree.map(jnp.shape, gradients) == jax.tree.map(jnp.shape, (params, INPUTS))
    text = str(jax.make_jaxpr(step)(params, INPUTS))
    assert text.count(" rnn_fwd[") == text.count(" rnn_bwd[") == 1


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("lstm", {"context": "every_step", "bidirectional": True}),
        ("lstm", {"reverse_source": True, "num_layers": 1}),
        ("lstm_attention", {"num_layers": 1}),
        ("lstm_decoder", {"num_layers": 1}),
    ],
)
def test_whole_models_agree(monkeypatch, name, values):
    """Logits, gradients, and steps after a start; with taps the scan is back."""
    monkeypatch.setattr(cudnn_lstm, "compute_capability", lambda: (9, 0))
    runs = []

    def run_reference(*args, **named):
        runs.append(name)
        return run_lstm(*args, **named | {"kernel": reference})

    monkeypatch.setattr(cudnn_lstm, "run_lstm", run_reference)

    def study(backend):
        graph, shapes = contract.abstract(name, "tokens", **values, backend=backend)
        params, data = contract.noisy(shapes, 0.4), DATA

        def loss(params):
            model = nnx.merge(graph, params)
            output = model(data["source"], data["mask"], data["target_in"])
            memory, state = model.start(data["source"], data["mask"], 2, data["target_in"][:, :1])
            step, _ = model.step(data["target_in"][:, 1], 0, memory, state)
            return jax.nn.log_softmax(output.logits)[..., 0].sum(), (output.logits, step)

        return jax.jit(jax.grad(loss, has_aux=True))(params)

    expected = study("scan")
    assert not runs
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), study("cudnn"), expected)
    used = len(runs)
    assert used
    graph, params = contract.abstract(name, "tokens", **values, backend="cudnn")
    taps = dict.fromkeys(nnx.merge(graph, params).tap_names())
    jax.eval_shape(lambda params: contract.loss_of(graph, params, taps, DATA)[1].taps, params)
    assert len(runs) == used


DATA = contract.batch("tokens", source_left=1, source_right=2)


@pytest.mark.parametrize(
    ("values", "capability", "reason"),
    [
        ({}, None, "it needs an NVIDIA GPU and this is cpu; use scan"),
        ({"dtype": "bfloat16"}, (9, 0), "model.dtype = 'bfloat16'; use float32, or scan"),
        ({"remat": True}, (9, 0), "model.remat = True; use false, or scan"),
    ],
)
def test_where_it_cannot_run_it_is_refused(monkeypatch, values, capability, reason):
    monkeypatch.setattr(cudnn_lstm, "compute_capability", lambda: capability)
    config = models.configured("lstm")
    config.update({"backend": "cudnn", **values})
    with pytest.raises(ValueError, match="^model.backend = 'cudnn' cannot run: ") as refused:
        choose(config)
    assert reason in str(refused.value) and "\n" not in str(refused.value)
    config.backend = "scan"
    assert choose(config) == "scan"


def test_it_is_taken_where_it_can_run_and_only_by_an_lstm(monkeypatch):
    monkeypatch.setattr(cudnn_lstm, "compute_capability", lambda: (9, 0))
    config = models.configured("lstm")
    assert choose(config) == "scan"
    config.backend = "cudnn"
    assert choose(config) == "cudnn"
    config.backend = "cudn"
    with pytest.raises(ValueError, match="model.backend = 'cudn' is not known; did you mean cudnn"):
        models.check_values(config)
    assert "backend" not in models.configured("gru") and choose(models.configured("gru")) == "scan"
