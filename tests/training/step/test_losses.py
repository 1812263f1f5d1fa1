"""Losses against their definitions, written out with numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from training.step.losses import cross_entropy, in_parts, squared_error

LOGITS_BTV = np.random.default_rng(0).normal(size=(2, 3, 5)).astype(np.float32)
TARGET_BT = np.array([[0, 4, 2], [1, 1, 3]])


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_cross_entropy_is_against_the_smoothed_distribution(smoothing):
    log_p_BTV = LOGITS_BTV - np.log(np.exp(LOGITS_BTV).sum(-1, keepdims=True))
    q_BTV = (1 - smoothing) * np.eye(5)[TARGET_BT] + smoothing / 5
    scores = cross_entropy(jnp.asarray(LOGITS_BTV), jnp.asarray(TARGET_BT), smoothing)
    np.testing.assert_allclose(scores.loss, -(q_BTV * log_p_BTV).sum(-1), rtol=1e-5)
    np.testing.assert_allclose(scores.nll, -(np.eye(5)[TARGET_BT] * log_p_BTV).sum(-1), rtol=1e-5)
    np.testing.assert_array_equal(scores.correct, LOGITS_BTV.argmax(-1) == TARGET_BT)


def test_large_logits_stay_finite():
    scores = cross_entropy(jnp.array([[[1e4, -1e4, 0.0]]]), jnp.array([[0]]), 0.1)
    assert np.isfinite(scores.loss).all() and scores.nll[0, 0] == 0


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_parts_add_up_to_the_whole(size):
    """Scores and gradients, with parts that divide the length, that do not, and one that is longer."""
    kernel, readout = (jax.random.normal(jax.random.key(n), shape) for n, shape in ((0, (4, 5)), (1, (2, 3, 4))))

    def scored(kernel, readout, size):
        if not size:
            return cross_entropy(readout @ kernel, TARGET_BT, 0.1)
        return in_parts(cross_entropy, lambda x: x @ kernel, readout, jnp.asarray(TARGET_BT), 0.1, size)

    whole, parts = (scored(kernel, readout, n) for n in (0, size))
    assert [x.shape for x in parts] == [(2, 3)] * 3
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), parts, whole)
    slopes = [jax.grad(lambda k, r, n=n: (scored(k, r, n).loss ** 2).sum(), (0, 1))(kernel, readout) for n in (0, size)]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), *slopes)


def test_parts_never_hold_all_logits():
    kernel, readout, target = jnp.ones((8, 4000)), jnp.ones((4, 64, 8)), jnp.zeros((4, 64), jnp.int32)

    def loss(kernel, readout):
        return in_parts(cross_entropy, lambda x: x @ kernel, readout, target, 0.1, 4).loss.sum()

    memory = jax.jit(jax.grad(loss)).lower(kernel, readout).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 4 * 64 * 4000 * 4 / 2


def test_squared_error_counts_answers_within_four_hundredths():
    scores = squared_error(jnp.array([[[1.03]], [[0.95]]]), jnp.array([[1.0], [1.0]]))
    np.testing.assert_allclose(scores.loss[:, 0], [0.0009, 0.0025], rtol=1e-4)
    np.testing.assert_array_equal(scores.correct[:, 0], [True, False])
