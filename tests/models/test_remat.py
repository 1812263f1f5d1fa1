"""Recomputation: what is kept for the backward pass, and what the gradients are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.remat import remat

B, D, LAYERS = 256, 64, 8


def layer(weights, x_BD):
    for weight in weights:
        x_BD = x_BD + jnp.tanh(x_BD @ weight)
    return x_BD


def loss(weights, x_BD, around):
    for one in weights:
        x_BD = around(lambda x, one=one: layer(one, x))(x_BD)
    return (x_BD**2).mean()


def arguments():
    rng = np.random.default_rng(0)
    weights = [[rng.normal(size=(D, D)).astype(np.float32) / 8 for _ in range(4)] for _ in range(LAYERS)]
    return weights, rng.normal(size=(B, D)).astype(np.float32)


def test_memory_holds_what_enters_a_layer_and_one_layer():
    """Each of eight layers has four values as large as its input. XLA keeps them for `jax.checkpoint` as well."""

    def bytes_of(around):
        gradient = jax.grad(lambda *args: loss(*args, around), argnums=(0, 1))
        analysis = jax.jit(gradient).lower(*arguments()).compile().memory_analysis()
        return analysis.temp_size_in_bytes

    assert bytes_of(remat) < 0.6 * bytes_of(lambda run: run)


def test_gradients_of_arguments_and_of_what_is_closed_over():
    kept, again = (
        jax.jit(jax.value_and_grad(lambda *args, around=around: loss(*args, around), argnums=(0, 1)))(*arguments())
        for around in (lambda run: run, remat)
    )
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, atol=1e-6), kept, again)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_trees_with_numbers_that_have_no_gradient(dtype):
    """As in a layer: keys of dropout, lengths, no carry yet."""

    def run(x, more):
        kept = jax.random.bernoulli(more["key"], 0.5, x.shape) & (jnp.arange(x.shape[0]) < more["length"])
        return jnp.where(kept, x * x, 0), {"length": more["length"], "carry": more["carry"]}

    more = {"key": jax.random.key(3), "length": jnp.int32(5), "carry": None}
    x = jnp.arange(8, dtype=dtype)
    gradients = [jax.grad(lambda x, of=of: of(x, more)[0].astype(float).sum())(x) for of in (run, remat(run))]
    assert gradients[1].dtype == dtype and np.abs(gradients[0]).sum() > 0
    np.testing.assert_array_equal(*gradients)
