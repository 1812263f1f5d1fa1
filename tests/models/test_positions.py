"""What each kind of position promises."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from models.positions import POSITIONS, Alibi, Learned, Rotary, positions_of, sinusoids


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def test_positions_count_real_tokens_wherever_padding_stands():
    mask = jnp.array([[1, 1, 1, 0, 0], [0, 0, 1, 1, 1], [1, 0, 1, 0, 1], [0, 0, 0, 0, 0]], bool)
    got = np.asarray(positions_of(mask))
    assert [row[keep].tolist() for row, keep in zip(got, np.asarray(mask), strict=True)] == [
        [0, 1, 2],
        [0, 1, 2],
        [0, 1, 2],
        [],
    ]
    assert (got >= 0).all()


def test_sinusoids_are_those_of_the_paper_at_any_length():
    D = 6
    got = np.asarray(sinusoids(jnp.array([[0, 1, 7, 5000]]), D))[0]
    for row, position in zip(got, [0, 1, 7, 5000], strict=True):
        for i in range(D // 2):
            angle = position / 10000 ** (2 * i / D)
            np.testing.assert_allclose(row[2 * i : 2 * i + 2], [np.sin(angle), np.cos(angle)], atol=1e-3)
    assert sinusoids(jnp.array([[3]]), 5).shape == (1, 1, 5)


def test_sinusoidal_adds_and_none_does_nothing():
    x_BTD, position_BT = normal(0, 2, 3, 8), jnp.array([[0, 1, 2], [5, 6, 7]])
    kinds = {name: kind(4, 8, 2, nnx.Rngs(0)) for name, kind in POSITIONS.items()}
    added = kinds["sinusoidal"].add(x_BTD, position_BT)
    np.testing.assert_allclose(added, x_BTD + np.asarray(sinusoids(position_BT, 8)), rtol=1e-6)
    for name in ("none", "rotary", "alibi"):
        assert kinds[name].add(x_BTD, position_BT) is x_BTD
    for name in ("none", "sinusoidal", "learned", "rotary"):
        assert kinds[name].bias(position_BT, position_BT) is None
    for name in ("none", "sinusoidal", "learned", "alibi"):
        x_BHTK = normal(1, 2, 2, 3, 4)
        assert kinds[name].rotate(x_BHTK, position_BT) is x_BHTK


def test_learned_positions_beyond_the_table_share_its_last_row():
    learned = Learned(4, 8, 2, nnx.Rngs(0))
    x_BTD = jnp.zeros((1, 5, 8))
    added = np.asarray(learned.add(x_BTD, jnp.array([[0, 1, 3, 4, 900]])))[0]
    table = np.asarray(learned.table_ND[...])
    np.testing.assert_array_equal(added, table[[0, 1, 3, 3, 3]])
    assert not np.allclose(table[0], table[3])


def test_rotary_scores_depend_on_the_distance_alone_and_lengths_are_kept():
    rotary = Rotary(4, 8, 1, nnx.Rngs(0))
    query, key = normal(1, 1, 1, 1, 8), normal(2, 1, 1, 1, 8)

    @jax.jit
    def score(i, j):
        place = lambda n: n[None, None]  # noqa: E731
        return (rotary.rotate(query, place(i)) * rotary.rotate(key, place(j))).sum()

    near = [float(score(np.int32(i + 3), np.int32(i))) for i in (0, 1, 50, 400)]
    np.testing.assert_allclose(near, near[0], atol=1e-3)
    assert abs(float(score(np.int32(5), np.int32(0))) - near[0]) > 1e-2
    assert abs(float(score(np.int32(0), np.int32(3))) - near[0]) > 1e-2  # and on its sign
    turned = rotary.rotate(query, jnp.array([[11]]))
    np.testing.assert_allclose(np.linalg.norm(turned), np.linalg.norm(query), rtol=1e-5)
    np.testing.assert_allclose(rotary.rotate(query, jnp.array([[0]])), query)


def test_rotary_turns_each_pair_by_its_frequency():
    x = jnp.array([[[[1.0, 1.0, 0.0, 0.0]]]])
    turned = np.asarray(Rotary(4, 4, 1, nnx.Rngs(0)).rotate(x, jnp.array([[3]])))[0, 0, 0]
    slow = 3 / 10000**0.5
    np.testing.assert_allclose(turned, [np.cos(3), np.cos(slow), np.sin(3), np.sin(slow)], rtol=1e-5)


def test_rotary_refuses_heads_of_odd_width():
    with pytest.raises(ValueError, match="num_heads = 2 gives heads of odd width 3.*use 1 or 3"):
        Rotary(4, 6, 2, nnx.Rngs(0))


def test_alibi_slopes_and_distances_are_those_of_the_paper():
    bias = np.asarray(Alibi(4, 16, 8, nnx.Rngs(0)).bias(jnp.array([[0, 4]]), jnp.array([[0, 1, 4, 9]])))
    assert bias.shape == (1, 8, 2, 4)
    np.testing.assert_allclose(bias[0, :, 0, 1], [-(0.5**i) for i in range(1, 9)])
    np.testing.assert_allclose(bias[0, 0], -0.5 * np.array([[0, 1, 4, 9], [4, 3, 0, 5]]))
