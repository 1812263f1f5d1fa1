"""Attention in a band against attention under a mask, and its dropout.

Dims: B batch, H heads, T queries, S keys, K head width.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from models import configured, flops
from models.attention import Keys, View, attend
from models.banded_attention import Band, attend_banded
from models.mixers import MIXERS
from models.mixers.mixer import Span
from models.positions import POSITIONS
from models.taps import Tapper

B, H, T, K = 4, 4, 9, 3  # two groups of rows
ALIBI = POSITIONS["alibi"](0, H * K, H, nnx.Rngs(0))
BEFORE_B = np.array([0, 1, 3, 20])  # where each row begins


def normal(seed: int, *shape: int):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@pytest.mark.parametrize(("window", "dilation", "positions"), [(3, 1, "relative"), (2, 3, "shaw")])
def test_a_band_is_a_mask_forward_and_backward(window, dilation, positions, key_size=5):
    """The gradients of what is learned for each distance, of which there are five, are the same too."""
    reach = (window - 1) * dilation
    S = T + reach
    at_BT, at_BS = (BEFORE_B[:, None] + np.arange(first, T) for first in (0, -reach))
    back_BTS = at_BT[:, :, None] - at_BS[:, None]
    seen = (back_BTS >= 0) & (back_BTS <= reach) & (back_BTS % dilation == 0) & (at_BS[:, None] >= 0)

    graph, table = nnx.split(POSITIONS[positions](5, H * K, H, nnx.Rngs(0), key_size=key_size))
    table = jax.tree.map(lambda leaf: normal(3, *leaf.shape), table)

    def study(form):
        def loss(table, query, key, value):
            y = form(query, Keys(key, value), nnx.merge(graph, table))
            return jnp.sum(jnp.sin(2 * y + 0.3)), y

        evaluate = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2, 3), has_aux=True))
        return evaluate(table, normal(0, B, H, T, key_size), normal(1, B, H, S, key_size), normal(2, B, H, S, K))

    def in_a_band(query, keys, places):
        return attend_banded(query, keys, jnp.asarray(BEFORE_B), Band(window, dilation, key_size**-0.5, places))

    def under_a_mask(query, keys, places):
        view = View.of(jnp.asarray(seen), places, jnp.asarray(at_BT), jnp.asarray(at_BS))
        return attend(query, [keys], [view], "", Tapper(None, ()))

    found, expected = study(in_a_band), study(under_a_mask)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5, rtol=1e-5), found, expected)


def test_dropout_is_another_in_each_row_and_keeps_the_mean():
    ones = jnp.ones((B, H, T, K))  # the context is the sum of the weights
    band = Band(3, 1, 1.0, ALIBI, dropout_rate=0.5)
    run = jax.jit(lambda key: attend_banded(0 * ones, Keys(ones, ones), jnp.zeros(1, jnp.int32), band, key))
    np.testing.assert_allclose(run(None), 1, rtol=1e-6)
    dropped = np.asarray(run(jax.random.key(0)))[..., 0]
    assert 0.8 < dropped.mean() < 1.2 and dropped.std() > 0.3
    assert len({row.tobytes() for row in dropped.reshape(B * H, T)}) == B * H
    np.testing.assert_array_equal(dropped, run(jax.random.key(0))[..., 0])


def test_products_grow_with_the_window_and_not_with_the_square():
    """At 4,096 tokens and a window of 128 an eighth of those of half a square, the least that causal attention has."""

    def products(length: int) -> int:
        x = jax.ShapeDtypeStruct((1, H, length, K), jnp.float32)
        band = Band(128, 1, 1.0, ALIBI)
        return flops.count(lambda q, k, v: attend_banded(q, Keys(k, v), jnp.zeros(1, jnp.int32), band), x, x, x)

    assert products(4096) == 2 * products(2048)
    assert 8 * products(4096) == 2 * (2 * H * K * 4096**2 // 2)  # queries with keys, weights with values


@functools.cache
def gradient(name: str, **values: int):
    """Of a mixer over 1,024 tokens of one row: how many FLOPs are forward, and the gradient compiled."""
    mixer = MIXERS[name](configured("decoder", {"hidden_size": 32, "num_heads": H} | values), 0, nnx.Rngs(0))
    graph, params = nnx.split(mixer)
    span = Span.of(jnp.zeros(1, jnp.int32), 1024, None, POSITIONS["rotary"](1024, 32, H, nnx.Rngs(0)))

    def loss(params, x):
        mixer = nnx.merge(graph, params)
        return jnp.sum(mixer(x, span, mixer.start_carry(1), name="", tap=Tapper(None, ()))[0] ** 2)

    shapes = params, jax.ShapeDtypeStruct((1, 1024, 32), jnp.float32)
    return flops.count(loss, *shapes), jax.jit(jax.grad(loss)).lower(*shapes).compile()


@pytest.mark.parametrize(("dilation", "most"), [(1, 1.0), (9, 1.0), (23, 1.2), (32, 1.0), (100, 1.0)])
def test_a_window_is_cheap_however_far_apart_its_keys_are(dilation, most):
    """Also where it spans the whole sequence, as in a strided pattern: an eighth of full attention's products, and no
    more memory; padding to 23 rows of whole blocks adds to both."""
    (full, of_all), values = gradient("attention"), {"local_attention.window": 32, "local_attention.dilation": dilation}
    local, of_window = gradient("local_attention", **values)
    assert local <= most * full / 8
    memory = [one.memory_analysis().temp_size_in_bytes for one in (of_window, of_all)]
    assert memory[0] < most * memory[1]
