"""Dropout's share and mean, and the statistics of the words that it draws.

Bounds are five standard deviations (or a chance of one in a million), so that a right generator passes at any
seed; `test_these_tests_can_fail` holds a poor generator against them.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from models.dropout import dropout, fold, random_words

SHAPE = (16, 32, 512)  # 2**18 words
SIGMAS = 5.0


def words(key, shape=SHAPE):
    return np.asarray(random_words(key, shape))


def uniformity(drawn) -> float:
    """The least p-value of chi-square tests on each byte of the words."""
    counts = [np.bincount((drawn.ravel() >> shift) & 255, minlength=256) for shift in (0, 8, 16, 24)]
    return min(stats.chisquare(count).pvalue for count in counts)


def bit_correlation(left, right) -> float:
    """The largest deviation from even odds that a bit of `left` equals the same bit of `right`, in sigmas."""
    different = (left ^ right).ravel()
    shares = [((different >> bit) & 1).mean() for bit in range(32)]
    return float(np.abs(np.array(shares) - 0.5).max() / (0.5 / np.sqrt(different.size)))


def along_axes(drawn) -> float:
    """The largest `bit_correlation` of the words with those 1, 2 and 8 places on along each axis."""
    found = []
    for axis in range(drawn.ndim):
        for lag in (1, 2, 8):
            ahead = np.moveaxis(drawn, axis, 0)
            found.append(bit_correlation(ahead[lag:], ahead[:-lag]))
    return max(found)


@pytest.mark.parametrize("rate", [0.1, 0.25, 0.5, 0.9])
def test_share_and_mean(rate):
    kept = np.asarray(dropout(jnp.ones(SHAPE), rate, jax.random.key(3)))
    n = kept.size
    assert abs((kept == 0).mean() - rate) < SIGMAS * np.sqrt(rate * (1 - rate) / n)
    assert set(np.unique(kept)) == {np.float32(0), np.float32(1 / (1 - rate))}


def test_without_a_key_or_a_rate_nothing_is_dropped():
    x = jnp.arange(6.0)
    assert dropout(x, 0.5, None) is x and dropout(x, 0.0, jax.random.key(0)) is x
    assert fold(None, 3) is None


def test_one_draw_is_shared_along_broadcast_dims():
    kept = np.asarray(dropout(jnp.ones((4, 7, 50)), 0.5, jax.random.key(1), broadcast_dims=(1,)))
    assert (kept == kept[:, :1]).all() and not (kept == kept[:1]).all()


def test_gradient_passes_where_values_do():
    x, key = jax.random.normal(jax.random.key(0), (64, 64)), jax.random.key(1)
    gradient = jax.grad(lambda x: dropout(x, 0.3, key).sum())(x)
    np.testing.assert_array_equal(gradient, dropout(jnp.ones_like(x), 0.3, key))


def test_words_are_uniform_and_independent_along_every_axis():
    for seed in range(4):
        drawn = words(jax.random.key(seed))
        assert uniformity(drawn) > 1e-6
        assert along_axes(drawn) < SIGMAS


def test_bits_of_a_word_are_independent_of_each_other():
    drawn = words(jax.random.key(0)).ravel()
    bits = np.stack([(drawn >> bit) & 1 for bit in range(32)]).astype(np.float64)
    correlations = np.corrcoef(bits)[np.triu_indices(32, 1)]
    assert np.abs(correlations).max() < SIGMAS / np.sqrt(drawn.size)


def test_steps_layers_and_seeds_draw_independently():
    """Keys as training makes them: of a seed, folded by step, folded by place."""

    def key(seed, step, place):
        return fold(fold(jax.random.key(seed), step), place)

    first = words(key(0, 100, 3))
    for other in (key(0, 101, 3), key(0, 100, 4), key(1, 100, 3), key(1, 101, 4)):
        assert bit_correlation(first, words(other)) < SIGMAS
        assert bit_correlation(first.ravel()[1:], words(other).ravel()[:-1]) < SIGMAS
        # Equal words by chance alone: about 2**18 pairs, each with a chance of 2**-32.
        assert (first == words(other)).sum() <= 2


def test_keys_that_differ_in_one_bit_draw_independently():
    """Harder than what training asks for: its keys come from a cipher."""
    data = np.asarray(jax.random.key_data(jax.random.key(5)))
    first = words(jax.random.wrap_key_data(jnp.asarray(data)))
    for word in range(2):
        for bit in range(0, 32, 5):
            flipped = data.copy()
            flipped[word] ^= np.uint32(1 << bit)
            assert bit_correlation(first, words(jax.random.wrap_key_data(jnp.asarray(flipped)))) < SIGMAS


def test_a_word_depends_on_the_key_and_its_own_index_alone():
    """So that devices, which each hold some rows, draw what one device would."""
    key = jax.random.key(2)
    np.testing.assert_array_equal(words(key, (16, 5, 7))[:4], words(key, (4, 5, 7)))
    np.testing.assert_array_equal(words(key, (16, 35)), words(key, (16, 5, 7)).reshape(16, 35))
    many = jax.vmap(lambda seed: random_words(jax.random.key(seed), (8, 9)))(jnp.arange(3))
    np.testing.assert_array_equal(many[2], words(jax.random.key(2), (8, 9)))


def test_neighbours_of_keys_spread_over_the_first_words():
    """The first word of each of many keys is uniform too, and uncorrelated with the next key's."""
    keys = jax.vmap(lambda step: jax.random.fold_in(jax.random.key(9), step))(jnp.arange(1 << 16))
    drawn = np.asarray(jax.vmap(lambda key: random_words(key, (4,)))(keys))
    assert uniformity(drawn) > 1e-6
    assert along_axes(drawn[:, :, None].reshape(256, 256, 4)[..., 0]) < SIGMAS


def test_these_tests_can_fail():
    index = np.arange(np.prod(SHAPE), dtype=np.uint32).reshape(SHAPE)
    congruential = index * np.uint32(1664525) + np.uint32(1013904223)
    one_round = congruential ^ (congruential >> np.uint32(16))
    assert along_axes(congruential) > SIGMAS and along_axes(one_round) > SIGMAS
    assert uniformity((index % 97).astype(np.uint32)) < 1e-6
