"""Layer normalisation's written-out backward pass."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.layers import normalize


def plain(x, scale, bias, epsilon):
    """The formula, left to automatic differentiation."""
    centred = x - x.mean(-1, keepdims=True)
    return centred / jnp.sqrt(jnp.square(centred).mean(-1, keepdims=True) + epsilon) * scale + bias


def draw(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape, jnp.float64)


def loss(function, x, scale, bias, epsilon=1e-5):
    return jnp.sum(jnp.sin(2 * function(x, scale, bias, epsilon) + 0.3))


@pytest.mark.parametrize("shape", [(3, 4, 7), (5, 6), (8,)])
def test_normalize_agrees_with_automatic_differentiation(shape):
    with jax.enable_x64(True):
        inputs = 3 * draw(0, *shape) + 1, draw(1, shape[-1]), draw(2, shape[-1])
        ours = jax.value_and_grad(loss, argnums=(1, 2, 3))(normalize, *inputs)
        expected = jax.value_and_grad(loss, argnums=(1, 2, 3))(plain, *inputs)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12), ours, expected)
        assert all(np.abs(gradient).max() > 0.1 for gradient in ours[1])


def test_normalize_agrees_with_finite_differences():
    with jax.enable_x64(True):
        inputs = [draw(0, 3, 4, 7), draw(1, 7), draw(2, 7)]
        gradients = jax.grad(loss, argnums=(1, 2, 3))(normalize, *inputs)
        for place in range(3):
            way, small = draw(10 + place, *inputs[place].shape), 1e-6
            ends = [[*inputs[:place], inputs[place] + side * small * way, *inputs[place + 1 :]] for side in (1, -1)]
            slope = (loss(normalize, *ends[0]) - loss(normalize, *ends[1])) / (2 * small)
            np.testing.assert_allclose(jnp.vdot(gradients[place], way), slope, rtol=1e-6)


def test_normalize_computes_in_float32_and_answers_in_the_dtype_it_was_given():
    x, scale, bias = jnp.full((2, 4), 300.0).at[0, 0].set(301.0).astype(jnp.bfloat16), jnp.ones(4), jnp.zeros(4)
    assert normalize(x, scale, bias, 1e-5).dtype == jnp.float32
    gradients = jax.grad(loss, argnums=(1, 2, 3))(normalize, x, scale, bias)
    assert [g.dtype for g in gradients] == [jnp.bfloat16, jnp.float32, jnp.float32]
    assert np.isfinite(np.asarray(gradients[0], np.float32)).all()
