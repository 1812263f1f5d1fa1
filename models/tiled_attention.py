"""Softmax attention tile by tile: of the scores only one tile exists at once (Dao et al. 2022; Rabe & Staats 2021).

The scores of T queries and S keys are cut into tiles of SIDE x SIDE. One scan walks over the tiles that anything is
seen in, keeps each query's running maximum and sum (the online softmax), and adds up the context; a second scan
computes the tiles anew for the gradients. So memory is linear in the sequence, and time is in proportion to what is
visible: a causal pattern costs half, a window would cost its width. A tile stays in a core's cache, which is what makes
this faster on a CPU than three passes over the whole matrix.

Dims: B batch, T queries, S keys, H heads, K head width, N tiles, t and s the queries and keys of one tile.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from models.shapes import Array, Bool, Float, Int

SIDE = 128  # queries and keys of a tile; sequences up to here are one tile, and are left to the plain form
UNSEEN = -1e30  # the score of what is not visible

Bias = Callable[[Array, Array], Array | None]
"""(query_position_Bt, key_position_Bs) -> what is added to the scores (B, H, t, s), or None."""


class Tiles(NamedTuple):
    """What the queries see of the keys of one sequence."""

    mask_BS: Bool[Array, "#B S"]  # which keys are real
    position_BS: Int[Array, "#B S"]  # of queries and keys alike
    causal: bool
    bias: Bias  # of no parameters


def worthwhile(T: int) -> bool:
    """Whether a sequence of T tokens is computed in tiles: on a CPU, from the second tile on."""
    return T > SIDE and jax.default_backend() == "cpu"


def attend_tiled(
    query_BHTK: Float[Array, "B H T K"],
    key_BHSK: Float[Array, "B H S K"],
    value_BHSK: Float[Array, "B H S K"],
    tiles: Tiles,
) -> Float[Array, "B H T K"]:
    """softmax(Q K^T / sqrt(K) + bias) V of self-attention, softmax in float32; zeros where a query sees no key."""
    B, _, T, _ = query_BHTK.shape
    short = -T % SIDE
    query, key, value = (jnp.pad(x, [(0, 0), (0, 0), (0, short), (0, 0)]) for x in (query_BHTK, key_BHSK, value_BHSK))
    mask, position = (
        jnp.pad(jnp.broadcast_to(x, (B, T)), [(0, 0), (0, short)]) for x in (tiles.mask_BS, tiles.position_BS)
    )
    return _attend(tiles.causal, tiles.bias, query, key, value, mask, position)[:, :, :T]


def tiles_of(T: int, causal: bool) -> Int[np.ndarray, "N 2"]:
    """The first query and the first key of every tile in which something is visible."""
    starts = range(0, T, SIDE)
    return np.array([(i, j) for i in starts for j in starts if j <= i or not causal], np.int32)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _attend(causal: bool, bias: Bias, query, key, value, mask, position):
    return _forward(causal, bias, query, key, value, mask, position)[0]


def _forward(causal: bool, bias: Bias, query, key, value, mask, position) -> tuple[Array, Any]:
    B, H, T, K = query.shape
    wide = jnp.promote_types(query.dtype, jnp.float32)
    scores_of = partial(_scores, causal, bias, query * K**-0.5, key, mask, position)

    def add(carry, start):
        context, largest, total = carry
        i, j = start
        scores_BHts, visible = scores_of(i, j)
        before = _cut(largest, i)
        now = jnp.maximum(before, scores_BHts.max(-1, keepdims=True))
        weights_BHts = jnp.where(visible, jnp.exp(scores_BHts - now), 0)
        kept = jnp.exp(before - now)
        seen = _dots("BHts,BHsK->BHtK", weights_BHts.astype(value.dtype), _cut(value, j))
        context = _put(context, _cut(context, i) * kept + seen, i)
        total = _put(total, _cut(total, i) * kept + weights_BHts.sum(-1, keepdims=True), i)
        return (context, _put(largest, now, i), total), None

    nothing = jnp.zeros((B, H, T, 1), wide)
    first = (jnp.zeros(query.shape, wide), nothing + UNSEEN, nothing)
    (context, largest, total), _ = jax.lax.scan(add, first, tiles_of(T, causal))
    total = jnp.where(total > 0, total, 1)
    context_BHTK = (context / total).astype(query.dtype)
    return context_BHTK, (query, key, value, mask, position, context_BHTK, largest + jnp.log(total))


def _backward(causal: bool, bias: Bias, kept: Any, gradient) -> tuple[Array, Array, Array, None, None]:
    """Tiles computed anew: with weights P and D = sum(dO O), dS = P (dO V^T - D) (Dao et al. 2022, appendix B.2)."""
    query, key, value, mask, position, context, log_total = kept
    K, wide = query.shape[3], jnp.promote_types(query.dtype, jnp.float32)
    scaled = query * K**-0.5
    scores_of = partial(_scores, causal, bias, scaled, key, mask, position)
    product = (gradient.astype(wide) * context).sum(-1, keepdims=True)

    def add(carry, start):
        of_query, of_key, of_value = carry
        i, j = start
        scores_BHts, visible = scores_of(i, j)
        weights_BHts = jnp.where(visible, jnp.exp(scores_BHts - _cut(log_total, i)), 0)
        gradient_BHtK = _cut(gradient, i)
        of_weights = _dots("BHtK,BHsK->BHts", gradient_BHtK, _cut(value, j))
        of_scores = (weights_BHts * (of_weights - _cut(product, i))).astype(query.dtype)
        weights = weights_BHts.astype(query.dtype)
        of_query = _put(of_query, _cut(of_query, i) + _dots("BHts,BHsK->BHtK", of_scores, _cut(key, j)), i)
        of_key = _put(of_key, _cut(of_key, j) + _dots("BHts,BHtK->BHsK", of_scores, _cut(scaled, i)), j)
        of_value = _put(of_value, _cut(of_value, j) + _dots("BHts,BHtK->BHsK", weights, gradient_BHtK), j)
        return (of_query, of_key, of_value), None

    first = tuple(jnp.zeros(x.shape, wide) for x in (query, key, value))
    (of_query, of_key, of_value), _ = jax.lax.scan(add, first, tiles_of(query.shape[2], causal))
    dtype = query.dtype
    return (of_query * K**-0.5).astype(dtype), of_key.astype(dtype), of_value.astype(dtype), None, None


_attend.defvjp(_forward, _backward)


def _scores(causal: bool, bias: Bias, scaled, key, mask, position, i, j) -> tuple[Array, Array]:
    """Scores and visibility of the tile whose first query is i and whose first key is j."""
    scores_BHts = _dots("BHtK,BHsK->BHts", _cut(scaled, i), _cut(key, j))
    added = bias(_cut(position, i, axis=1), _cut(position, j, axis=1))
    visible = _cut(mask, j, axis=1)[:, None, None, :]
    if causal:
        visible &= (j + jnp.arange(SIDE))[None, :] <= (i + jnp.arange(SIDE))[:, None]
    return jnp.where(visible, scores_BHts if added is None else scores_BHts + added, UNSEEN), visible


def _dots(letters: str, a: Array, b: Array) -> Array:
    """A product of tiles, summed in float32 or wider."""
    return jnp.einsum(letters, a, b, preferred_element_type=jnp.promote_types(a.dtype, jnp.float32))


def _cut(x: Array, start: Array, axis: int = 2) -> Array:
    return jax.lax.dynamic_slice_in_dim(x, start, SIDE, axis)


def _put(x: Array, new: Array, start: Array) -> Array:
    return jax.lax.dynamic_update_slice_in_dim(x, new, start, axis=2)
