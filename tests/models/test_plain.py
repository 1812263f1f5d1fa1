"""Each fast form against the plain equation beside it, forward and gradients: cells, attention scores, attention.

Dims: B batch, T time or queries, S memory slots, H heads, K head width.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from models import MODELS, attention, cells, tiled_attention
from models.attention import Keys, View, attend
from models.attention_scores import SCORES
from models.recurrent import run_cell
from models.scan import linear_of
from models.taps import Tapper
from models.tiled_attention import Tiles

B, T, S, H, K = 3, 5, 4, 2, 6
CELLS = {kind.cell.__name__: kind.cell for kind in MODELS.values() if hasattr(kind, "cell")}
TIME = np.arange(T)
MASK_TB = np.stack([TIME >= 0, TIME < 3, TIME >= 2], axis=1)  # whole, padded on the right, padded on the left


def normal(seed: int, *shape: int):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def drawn(module: nnx.Module):
    """(graph, parameters) with nothing at zero."""
    graph, params = nnx.split(module)
    leaves, structure = jax.tree.flatten(params)
    noisy = [leaf + 0.3 * normal(9 + number, *leaf.shape) for number, leaf in enumerate(leaves)]
    return graph, jax.tree.unflatten(structure, noisy)


def assert_equal(fast, plain, *arguments):
    """The outputs, and the gradients with respect to every argument of a loss that reads all of them."""

    def both(form):
        def loss(*arguments):
            outputs = form(*arguments)
            return sum(jnp.sum(jnp.sin(2 * leaf + 0.3)) for leaf in jax.tree.leaves(outputs)), outputs

        return jax.jit(jax.value_and_grad(loss, argnums=tuple(range(len(arguments))), has_aux=True))(*arguments)

    ((_, found), found_gradient), ((_, expected), gradient) = both(fast), both(plain)
    for ours, theirs in ((found, expected), (found_gradient, gradient)):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), ours, theirs)
    assert all(np.abs(leaf).max() > 1e-3 for leaf in jax.tree.leaves(gradient))  # every argument counts


def test_every_cell_is_walked():
    assert set(CELLS) >= {name for name, kind in vars(cells).items() if name.endswith("Cell") and name != "Cell"}


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", sorted(CELLS))
def test_a_cell_over_a_masked_sequence(name, reverse):
    """By the scan, and by a loop over examples and steps that leaves out padding."""
    graph, params = drawn(CELLS[name](3, 4, rngs=nnx.Rngs(params=jax.random.key(0))))
    first = tuple(normal(1, B, 4) for _ in CELLS[name].parts)

    def fast(params, x_TBD, first):
        cell = nnx.merge(graph, params)
        return run_cell(cell, cell.project(x_TBD), jnp.asarray(MASK_TB), first, reverse=reverse)

    def plain(params, x_TBD, first):
        cell, rows, lasts = nnx.merge(graph, params), [], []
        for b in range(B):
            carry, hidden = tuple(part[b] for part in first), {}
            for t in reversed(range(T)) if reverse else range(T):
                carry = cell.plain(carry, x_TBD[t, b]) if MASK_TB[t, b] else carry
                hidden[t] = carry[0]
            rows.append(jnp.stack([hidden[t] for t in range(T)]))
            lasts.append(carry)
        return jnp.stack(rows, axis=1), tuple(jnp.stack(part) for part in zip(*lasts, strict=True))

    assert_equal(fast, plain, params, normal(2, T, B, 3), first)


@pytest.mark.parametrize("name", sorted(SCORES))
def test_a_score_of_each_query_and_slot(name):
    memory_size = 4 if SCORES[name].same_width else 6
    graph, params = drawn(SCORES[name](4, memory_size, 5, rngs=nnx.Rngs(params=jax.random.key(0))))

    def fast(params, query_BTD, memory_BSE):
        score = nnx.merge(graph, params)
        keys = score.keys(memory_BSE)
        return score.scores(linear_of(score.weights(keys)), score.constants(keys), query_BTD)

    def plain(params, query_BTD, memory_BSE):
        score = nnx.merge(graph, params)
        scores = [score.plain(query_BTD[b, t], memory_BSE[b, s]) for b, t, s in np.ndindex(B, T, S)]
        return jnp.stack(scores).reshape(B, T, S)

    assert_equal(fast, plain, params, normal(1, B, T, 4), normal(2, B, S, memory_size))


SEEN_BT = np.arange(T) < np.array([5, 3, 1])[:, None]  # each query sees a key, its own or one before
VISIBLE_BTT = jnp.asarray(SEEN_BT[:, None] & np.tri(T, dtype=bool))


def in_blocks(query_BHTK, key_BHTK, value_BHTK):
    """As in decoding: keys that never change, and others."""
    parts = (slice(0, 3), slice(3, T))
    blocks = [Keys(key_BHTK[:, :, part], value_BHTK[:, :, part]) for part in parts]
    views = [View(VISIBLE_BTT[:, :, part]) for part in parts]
    return attend(query_BHTK, blocks, views, "", Tapper(None, ()))


def in_tiles(query_BHTK, key_BHTK, value_BHTK):
    """As over a long sequence."""
    position_BT = jnp.broadcast_to(jnp.arange(T), (B, T))
    tiles = Tiles(jnp.asarray(SEEN_BT), position_BT, True, lambda query_Bt, key_Bs: None)
    return attend(query_BHTK, [Keys(key_BHTK, value_BHTK)], [View(VISIBLE_BTT, tiles=tiles)], "", Tapper(None, ()))


@pytest.mark.parametrize("fast", [in_blocks, in_tiles])
def test_attention_head_by_head(fast, monkeypatch):
    monkeypatch.setattr(tiled_attention, "SIDE", 2)

    def plain(query_BHTK, key_BHTK, value_BHTK):
        heads = [
            attention.plain(query_BHTK[b, h], key_BHTK[b, h], value_BHTK[b, h], VISIBLE_BTT[b])
            for b, h in np.ndindex(B, H)
        ]
        return jnp.stack(heads).reshape(B, H, T, K)

    assert_equal(fast, plain, *(normal(seed, B, H, T, K) for seed in range(3)))
