"""The scan with deferred weight gradients against automatic differentiation, leaf by leaf, in float64."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from models.cells import GRUCell, LSTMCell, TanhCell
from models.recurrent import hold, run_cell
from models.scan import Dense, linear_of, multiply, scan, scan_remat

T, B, H = 5, 4, 3
TIME = np.arange(T)
PADDED_TB = np.stack([TIME >= 0, TIME < 3, TIME >= 2, TIME < 0], axis=1)
"""Rows that are whole, padded on the right, padded on the left, empty."""


def draw(seed: int, *shape: int):
    return jax.random.normal(jax.random.key(seed), shape, jnp.float64)


def plain(step, reverse, weights, constants, carry, xs):
    linear = linear_of(weights)
    return jax.lax.scan(lambda carry, x: step(linear, constants, carry, x), carry, xs, reverse=reverse)


def gradients(run, step, reverse, weights, constants, carry, xs, mask_TB):
    """Of a loss that reads every output at every step, with respect to all that can be differentiated."""

    def loss(weights, constants, carry, xs):
        last, ys = run(step, reverse, weights, constants, carry, (xs, mask_TB))
        return sum(jnp.sum(jnp.sin(2 * leaf + 0.3)) for leaf in jax.tree.leaves((last, ys)))

    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2, 3)))(weights, constants, carry, xs)


def assert_same(step, reverse, weights, constants, carry, xs, mask_TB):
    ours = gradients(scan, step, reverse, weights, constants, carry, xs, mask_TB)
    expected = gradients(plain, step, reverse, weights, constants, carry, xs, mask_TB)
    for path, leaf in jax.tree_util.tree_leaves_with_path(expected):
        assert np.abs(leaf).max() > 0, jax.tree_util.keystr(path)  # the comparison says something
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12), ours, expected)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("kind", [TanhCell, LSTMCell, GRUCell])
def test_cells(kind, reverse):
    def step(linear, constants, carry, x):
        projected, mask_B = x
        after = kind.update(partial(linear, "recurrent", carry[0]), projected, carry)
        after = hold(mask_B, after, carry)
        return after, after

    with jax.enable_x64(True):
        cell = kind(2, H, dtype=jnp.float64, rngs=nnx.Rngs(params=jax.random.key(0)))
        kernel, bias = cell.recurrent()
        weights = {"recurrent": Dense(kernel, None if bias is None else draw(3, *bias.shape))}
        carry = tuple(draw(4 + n, B, H) for n in range(len(kind.parts)))
        projected = tuple(draw(10 + n, T, B, H) for n in range(kind.gates))
        assert_same(step, reverse, weights, (), carry, projected, PADDED_TB)


def test_many_maps_batched_kernels_and_constants():
    """As in attention inside a scan: several maps, one matrix a row, and a constant that is read."""

    def step(linear, constants, carry, x):
        x_BH, mask_B = x
        query_B1H = linear("query", carry)[:, None] + constants["shift"]
        slots_B1S = jax.nn.softmax(linear("keys", query_B1H))
        after = hold(mask_B, jnp.tanh(linear("values", slots_B1S)[:, 0] + x_BH), carry)
        return after, slots_B1S

    with jax.enable_x64(True):
        weights = {
            "query": Dense(draw(1, H, 2), draw(2, 2)),
            "keys": Dense(draw(3, B, 2, 6)),
            "values": Dense(draw(4, B, 6, H), draw(5, H)),
        }
        constants = {"shift": draw(6, B, 1, 2)}
        mask_TB = jnp.ones((T, B), bool).at[3:, 1].set(False)
        assert_same(step, False, weights, constants, draw(7, B, H), draw(8, T, B, H), mask_TB)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("length", [1, 4, 9, 11])
def test_remat_changes_nothing(length, reverse):
    """Whole segments, a rest, and a single step; outputs, last carry and every gradient."""

    def step(linear, shift, carry, x):
        projected, mask_B = x
        shifted = tuple(gate + shift for gate in projected)
        after = GRUCell.update(partial(linear, "recurrent", carry[0]), shifted, carry)
        after = hold(mask_B, after, carry)
        return after, {"hidden": after[0], "twice": 2 * after[0]}

    mask_TB = jnp.arange(length)[:, None] < jnp.array([length, length - 1, 0, 1])
    with jax.enable_x64(True):
        weights = {"recurrent": Dense(draw(0, H, 3 * H), draw(1, 3 * H))}
        gates = tuple(draw(4 + n, length, B, H) for n in range(3))
        inputs = weights, draw(2, H), (draw(3, B, H),), gates
        ours = gradients(scan_remat, step, reverse, *inputs, mask_TB)
        expected = gradients(scan, step, reverse, *inputs, mask_TB)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12), ours, expected)
        out = scan_remat(step, reverse, *inputs[:3], (inputs[3], mask_TB))
        jax.tree.map(np.testing.assert_array_equal, out, scan(step, reverse, *inputs[:3], (inputs[3], mask_TB)))


@pytest.mark.parametrize("kind", [TanhCell, LSTMCell, GRUCell])
def test_gradient_agrees_with_finite_differences(kind):
    """Of a layer run in both directions with padding, along a random direction for each array that it reads."""
    with jax.enable_x64(True):
        cell = kind(2, H, dtype=jnp.float64, rngs=nnx.Rngs(params=jax.random.key(0)))
        graph, params = nnx.split(cell)
        as_built, tree = jax.tree.flatten(params)
        arrays = {
            "params": jax.tree.unflatten(tree, [draw(n, *leaf.shape) for n, leaf in enumerate(as_built)]),
            "carry": tuple(draw(10 + n, B, H) for n in range(len(kind.parts))),
            "xs": draw(20, T, B, 2),
            "projected": tuple(draw(30 + n, T, B, H) for n in range(kind.gates)),  # is added to what `xs` gives
        }

        @jax.jit
        def loss(arrays):
            cell = nnx.merge(graph, arrays["params"])
            projected = jax.tree.map(jnp.add, cell.project(arrays["xs"]), arrays["projected"])
            both = [run_cell(cell, projected, PADDED_TB, arrays["carry"], reverse=reverse) for reverse in (False, True)]
            return sum(jnp.sum(jnp.sin((n + 2) * leaf + 0.3)) for n, leaf in enumerate(jax.tree.leaves(both)))

        gradient = jax.jit(jax.grad(loss))(arrays)
        leaves, structure = jax.tree.flatten(arrays)
        for number, (path, slope) in enumerate(jax.tree_util.tree_leaves_with_path(gradient)):
            direction = draw(40 + number, *slope.shape)

            def moved(step, number=number, direction=direction):
                changed = [leaf + step * direction if n == number else leaf for n, leaf in enumerate(leaves)]
                return loss(jax.tree.unflatten(structure, changed))

            expected, name = (moved(1e-5) - moved(-1e-5)) / 2e-5, jax.tree_util.keystr(path)
            assert abs(expected) > 1e-2, name  # the comparison says something
            np.testing.assert_allclose(jnp.vdot(slope, direction), expected, rtol=1e-7, err_msg=name)
        for of_inputs in (gradient["xs"], *gradient["projected"]):  # padding has none
            np.testing.assert_array_equal(of_inputs[~PADDED_TB], 0)


def test_weight_gradient_is_formed_after_the_backward_scan():
    """No scan of the backward pass carries, or stacks, anything of the kernel's shape."""

    def step(linear, _, carry, x):
        after = (jnp.tanh(x + linear("recurrent", carry[0])),)
        return after, after[0]

    kernel, xs, carry = jnp.ones((H, H)), jnp.ones((T, B, H)), (jnp.ones((B, H)),)

    def carried(run):
        """Shapes of what the scans of the gradient's program put out."""
        loss = lambda kernel: run(step, False, {"recurrent": Dense(kernel)}, (), carry, xs)[1].sum()  # noqa: E731
        scans = [eqn for eqn in jax.make_jaxpr(jax.grad(loss))(kernel).eqns if eqn.primitive.name == "scan"]
        return {out.aval.shape for eqn in scans for out in eqn.outvars}

    assert (T, B, H) in carried(scan) and kernel.shape not in carried(scan)
    assert kernel.shape in carried(plain)


def test_bfloat16_weights_multiply_in_bfloat16_and_sum_in_float32():
    x = jax.random.normal(jax.random.key(0), (2, 300))
    kernel = jax.random.normal(jax.random.key(1), (300, 2), jnp.bfloat16)
    product = multiply(x, Dense(kernel))
    assert product.dtype == jnp.float32
    exact = np.asarray(x.astype(jnp.bfloat16), np.float64) @ np.asarray(kernel, np.float64)
    np.testing.assert_allclose(product, exact, rtol=1e-4, atol=1e-4)


def test_one_name_serves_one_product_a_step():
    def step(linear, _, carry, x):
        return linear("map", linear("map", carry)), x

    with pytest.raises(ValueError, match="used twice"):
        jax.grad(lambda k: scan(step, False, {"map": Dense(k)}, (), jnp.ones((1, 2)), jnp.ones(3))[0].sum())(jnp.eye(2))
