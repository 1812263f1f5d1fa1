"""Cells and layers against PyTorch's, under padding, and as they are initialised.

Dims: B batch, T time, D input width, H hidden width, G = gates * H.
"""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from ml_collections import ConfigDict

from models.cells import Cell, GRUCell, LSTMCell, TanhCell
from models.recurrent import RecurrentStack, run_cell
from models.taps import Tapper

CELLS: dict[str, type[Cell]] = {"rnn": TanhCell, "lstm": LSTMCell, "gru": GRUCell}
REFERENCE = pathlib.Path(__file__).parents[1] / "reference" / "recurrent.npz"
CASES = [f"{kind}_{layers}" for kind in CELLS for layers in ("1_one", "2_both")]


def config(hidden_size: int, num_layers: int = 1, **changes) -> ConfigDict:
    values = {"hidden_size": hidden_size, "num_layers": num_layers, "dropout_rate": 0.0, "dtype": "float32"}
    values |= {
        "recurrent_scale": 1.0,
        "forget_bias": 1.0,
        "chrono_length": 0,
        "remat": False,
        "variational_dropout": False,
    }
    return ConfigDict(values | changes)


def rngs(seed: int = 0) -> nnx.Rngs:
    return nnx.Rngs(params=jax.random.key(seed))


def drawn_biases(module: nnx.Module, seed: int = 9) -> None:
    """Replaces biases, most of which start at zero, by drawn values."""
    for number, (path, param) in enumerate(nnx.to_flat_state(nnx.state(module, nnx.Param))):
        if "bias" in str(path[-1]):
            param[...] = param[...] + 0.5 * jax.random.normal(jax.random.key(seed + number), param.shape)


@pytest.fixture(scope="module")
def reference():
    with np.load(REFERENCE) as arrays:
        yield dict(arrays)


def load(cell: Cell, arrays: dict, case: str, suffix: str) -> None:
    """PyTorch's weights of one layer and direction; it has two biases where one does."""
    weight_ih, weight_hh, bias_ih, bias_hh = (
        arrays[f"{case}/param/{name}_{suffix}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    cell.input_kernel[...], cell.recurrent_kernel[...] = jnp.asarray(weight_ih.T), jnp.asarray(weight_hh.T)
    if isinstance(cell, GRUCell):
        gates = 2 * cell.hidden_size
        bias_ih = bias_ih + np.concatenate([bias_hh[:gates], np.zeros_like(bias_hh[gates:])])
        cell.candidate_bias[...] = jnp.asarray(bias_hh[gates:])
    else:
        bias_ih = bias_ih + bias_hh
    cell.bias[...] = jnp.asarray(bias_ih)


@pytest.mark.parametrize("case", CASES)
def test_agrees_with_pytorch(reference, case):
    kind, layers, directions = case.split("_")
    x_BTD = reference[f"{case}/input/x"]
    names = ["hidden", "cell"] if kind == "lstm" else ["hidden"]
    hidden_size = reference[f"{case}/input/hidden"].shape[-1]
    stack = RecurrentStack(
        CELLS[kind], config(hidden_size, int(layers)), x_BTD.shape[-1], bidirectional=directions == "both", rngs=rngs()
    )
    cells = [
        (cell, f"l{number}{suffix}")
        for suffix, stacked in (("", stack.layers), ("_reverse", stack.backward))
        for number, cell in enumerate(stacked)
    ]
    for cell, suffix in cells:
        load(cell, reference, case, suffix)
    mask_BT = np.arange(x_BTD.shape[1]) < reference["lengths"][:, None]
    graph, params = nnx.split(stack)

    def to_carries(states):  # PyTorch stacks layer by layer, forward before backward
        each = 2 if directions == "both" else 1
        return tuple(
            tuple(jnp.concatenate(list(part[each * n : each * n + each]), axis=-1) for part in states)
            for n in range(int(layers))
        )

    def loss(params, x_BTD, states):
        stack = nnx.merge(graph, params)
        out_TBH, carries = stack((jnp.swapaxes(x_BTD, 0, 1),), mask_BT.T, to_carries(states))
        out_BTH = jnp.swapaxes(out_TBH, 0, 1) * mask_BT[:, :, None]
        last = to_carries([reference[f"{case}/cotangent/{name}"] for name in names])
        total = jnp.sum(out_BTH * reference[f"{case}/cotangent/x"])
        total += sum(jnp.sum(a * b) for a, b in zip(jax.tree.leaves(carries), jax.tree.leaves(last), strict=True))
        return total, (out_BTH, carries)

    states = [jnp.asarray(reference[f"{case}/input/{name}"]) for name in names]
    gradient = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True))
    (_, (out_BTH, carries)), (d_params, d_x, d_states) = gradient(params, jnp.asarray(x_BTD), states)

    def close(ours, theirs):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)

    close(out_BTH, reference[f"{case}/output/x"])
    expected = to_carries([reference[f"{case}/output/{name}"] for name in names])
    jax.tree.map(close, carries, expected)
    close(d_x, reference[f"{case}/grad/x"])
    for ours, name in zip(d_states, names, strict=True):
        close(ours, reference[f"{case}/grad/{name}"])
    nnx.update(stack, d_params)  # the gradients, in the shape of the modules
    for cell, suffix in cells:
        close(cell.input_kernel[...].T, reference[f"{case}/grad/weight_ih_{suffix}"])
        close(cell.recurrent_kernel[...].T, reference[f"{case}/grad/weight_hh_{suffix}"])
        close(cell.bias[...], reference[f"{case}/grad/bias_ih_{suffix}"])
        if isinstance(cell, GRUCell):
            close(cell.candidate_bias[...], reference[f"{case}/grad/bias_hh_{suffix}"][2 * hidden_size :])


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("reverse", [False, True])
def test_padding_freezes_the_carry(kind, reverse):
    """Left, right or no padding give one result, and an empty row keeps its first state."""
    cell = CELLS[kind](2, 3, rngs=rngs())
    x_TBD = jax.random.normal(jax.random.key(1), (7, 4, 2))
    x_TBD = x_TBD.at[2:6, 1].set(x_TBD[:4, 0]).at[:4, 2].set(x_TBD[:4, 0])
    mask_TB = jnp.stack(
        [jnp.arange(7) < 4, (jnp.arange(7) >= 2) & (jnp.arange(7) < 6), jnp.arange(7) < 4, jnp.zeros(7, bool)], axis=1
    )
    first = tuple(jax.random.normal(jax.random.key(2), (1, 3)).repeat(4, 0) for _ in cell.parts)
    run = jax.jit(lambda x, mask, carry: run_cell(cell, cell.project(x), mask, carry, reverse=reverse))
    hidden_TBH, last = run(x_TBD, mask_TB, first)
    alone_TBH, alone = run(x_TBD[:4, :1], None, tuple(part[:1] for part in first))
    for part, expected, start in zip(last, alone, first, strict=True):
        for row in (0, 1, 2):
            np.testing.assert_allclose(part[row], expected[0], atol=1e-6)
        np.testing.assert_array_equal(part[3], start[3])
    np.testing.assert_allclose(hidden_TBH[:4, 0], alone_TBH[:, 0], atol=1e-6)
    np.testing.assert_allclose(hidden_TBH[2:6, 1], alone_TBH[:, 0], atol=1e-6)
    _, unmasked = run(x_TBD, jnp.ones_like(mask_TB), first)
    assert not np.allclose(unmasked[0][0], last[0][0], atol=1e-3)  # the mask matters


@pytest.mark.parametrize("kind", CELLS)
def test_recurrent_kernels_are_orthogonal_gate_by_gate(kind):
    cell = CELLS[kind](3, 6, recurrent_scale=1.3, rngs=rngs())
    blocks = np.split(np.asarray(cell.recurrent_kernel[...]), cell.gates, axis=1)
    for block in blocks:
        np.testing.assert_allclose(block @ block.T, 1.3**2 * np.eye(6), atol=1e-5)
    assert all(not np.allclose(a, b) for a, b in zip(blocks, blocks[1:], strict=False))


def test_lstm_biases():
    bias = LSTMCell(3, 4, forget_bias=0.7, rngs=rngs()).bias[...]
    np.testing.assert_allclose(bias, [0] * 4 + [0.7] * 4 + [0] * 8, rtol=1e-6)


def test_chrono_biases_spread_over_time_scales():
    enter, forget, *rest = np.split(np.asarray(LSTMCell(1, 400, chrono_length=101, rngs=rngs()).bias[...]), 4)
    np.testing.assert_array_equal(enter, -forget)
    np.testing.assert_array_equal(rest, np.zeros((2, 400)))
    times = np.exp(forget)
    assert times.min() >= 1.0 and times.max() <= 100.0
    np.testing.assert_allclose(times.mean(), 50.5, rtol=0.1)
    np.testing.assert_allclose(np.quantile(times, 0.25), 25.75, rtol=0.25)


def test_chrono_length_without_a_range_is_refused():
    with pytest.raises(ValueError, match="model.chrono_length = 2 .* use 0"):
        LSTMCell(3, 4, chrono_length=2, rngs=rngs())


@pytest.mark.parametrize("kind", CELLS)
def test_project_takes_inputs_side_by_side(kind):
    cell = CELLS[kind](5, 3, rngs=rngs())
    drawn_biases(cell)
    x_TBD, fixed_BD = jax.random.normal(jax.random.key(1), (4, 2, 3)), jax.random.normal(jax.random.key(2), (2, 2))
    joint = jnp.concatenate([x_TBD, jnp.broadcast_to(fixed_BD, (4, 2, 2))], axis=-1)
    for apart, together in zip(cell.project(x_TBD, fixed_BD[None]), cell.project(joint), strict=True):
        np.testing.assert_allclose(apart, together, atol=1e-6)


@pytest.mark.parametrize("kind", CELLS)
def test_gradient_at_a_tap_is_the_gradient_of_the_state(kind):
    """dL/dh_t and dL/dc_t by finite differences of a perturbation of one step, past padding too."""
    with jax.enable_x64(True):
        cell = CELLS[kind](2, 3, dtype=jnp.float64, rngs=rngs())
        x_TBD = jax.random.normal(jax.random.key(1), (5, 2, 2), jnp.float64)
        mask_TB = jnp.array([[True, True], [True, True], [True, False], [True, True], [True, True]])
        names = tuple(f"encoder.0.{part}" for part in cell.parts)

        @jax.jit
        def loss(added):
            tapper = Tapper(added, names)
            out, _ = run_cell(cell, cell.project(x_TBD), mask_TB, cell.zeros(2), tapper=tapper, name="encoder.0")
            return jnp.sum(jnp.sin(3 * out[-1])), tapper.captured

        zeros = {name: jnp.zeros((2, 5, 3), jnp.float64) for name in names}
        gradient, captured = jax.grad(loss, has_aux=True)(zeros)
        assert captured[names[0]].shape == (2, 5, 3)
        for name in names:
            for where in [(0, 1, 2), (1, 1, 0), (1, 3, 1)]:
                step = 1e-5
                up, down = ({**zeros, name: zeros[name].at[where].set(sign * step)} for sign in (1, -1))
                slope = (loss(up)[0] - loss(down)[0]) / (2 * step)
                np.testing.assert_allclose(gradient[name][where], slope, rtol=1e-5, atol=1e-9)
                assert abs(slope) > 1e-6
            assert np.all(np.asarray(gradient[name][1, 2]) == 0)  # there is no state of its own at padding
