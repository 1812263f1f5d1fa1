"""Softmax attention to a window of keys, block by block: time and scores are in proportion to T w, not to T squared.

Queries go by in blocks of w. A block sees its own keys and those of the block before, which a scan passes on, and its
scores are computed anew in the backward pass. With a dilation r, tokens that are r apart are a row of their own.

Dims: B batch, T queries, S keys (those before the first query too), H heads of queries, G heads of keys, K head width
(of values V), N blocks, w window, r dilation.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from models.attention import Keys, View, for_heads, mixed, scores_of
from models.dropout import dropout, fold
from models.positions import NoPositions
from models.shapes import Array, Float, Int, Key
from models.tiled_attention import by_groups


class Band(NamedTuple):
    """What a query sees: itself and the w - 1 keys before it that are r, 2 r, ... tokens back."""

    window: int
    dilation: int
    scale: float  # of the scores
    positions: NoPositions
    dropout_rate: float = 0.0

    @property
    def reach(self) -> int:
        return (self.window - 1) * self.dilation


def attend_banded(
    query_BHTK: Float[Array, "B H T K"],
    keys: Keys,
    before_B: Int[Array, "#B"],
    band: Band,
    key: Key[Array, ""] | None = None,
) -> Float[Array, "B H T V"]:
    """The context of T queries, of which each row's first is its `before_B`-th token; the last T keys are theirs, and
    in front of them are none or `band.reach` from before."""
    B = len(query_BHTK)

    def of_rows(query: Array, key_: Array, value: Array, before: Array, number: Array):
        return (_in_blocks(query, Keys(key_, value), before, band, fold(key, number[0])),)

    rows = jnp.broadcast_to(before_B, B), jnp.arange(B)
    if jax.default_backend() == "cpu" and jax.sharding.get_abstract_mesh().size <= 1:
        return by_groups(jax.checkpoint(of_rows), query_BHTK, *keys, *rows)[0]  # few rows, whose blocks a cache holds
    return of_rows(query_BHTK, *keys, *rows)[0]


def _in_blocks(query_BHTK: Array, keys: Keys, before_B: Array, band: Band, key: Array | None) -> Array:
    """Weights are divided by their sum after the product with the values, which is smaller than they are."""
    B, H, T, _ = query_BHTK.shape
    w, r = band.window, band.dilation
    N = -(-T // (w * r))
    more = N * w * r - T

    def blocks(x_BHTK: Array, front: int) -> Array:
        """(N, B r, H, w, K)"""
        x_BHTK = jnp.pad(x_BHTK, [(0, 0), (0, 0), (front, more), (0, 0)])
        x_BHNwrK = x_BHTK.reshape(B, x_BHTK.shape[1], -1, w, r, x_BHTK.shape[3])
        return x_BHNwrK.transpose(2, 0, 4, 1, 3, 5).reshape(-1, B * r, x_BHTK.shape[1], w, x_BHTK.shape[3])

    offset_Bw = (before_B[:, None, None] + jnp.arange(r)[:, None] + r * jnp.arange(w)).reshape(B * r, w)
    own_ww = jnp.tri(w, dtype=bool)[None]  # what is visible of one's own block; the rest is, of the one before

    @jax.checkpoint
    def of_block(before: Keys, at: tuple[Array, Array, Keys]) -> tuple[Keys, Array]:
        n, query, own = at
        at_Bw = offset_Bw + n * w * r
        query, both = query * band.scale, [for_heads(block, H) for block in (before, own)]
        seen = [~own_ww & (at_Bw[:, None] >= w * r), own_ww]
        scores, views = [], []
        for block, visible, key_at_Bw in zip(both, seen, (at_Bw - w * r, at_Bw), strict=True):
            views.append(View.of(visible, band.positions, at_Bw, key_at_Bw))
            scores.append(jnp.where(visible[:, None], scores_of(query, block, views[-1]), -1e30))
        top = jax.lax.stop_gradient(jnp.maximum(*(part.max(-1, keepdims=True) for part in scores)))
        context, total = jnp.zeros(()), jnp.zeros(())
        for number, (part, block, view) in enumerate(zip(scores, both, views, strict=True)):
            weights = jnp.exp(part - top)
            total += weights.sum(-1, keepdims=True)
            weights = dropout(weights, band.dropout_rate, fold(key, 2 * n + number)).astype(query.dtype)
            context += mixed(weights, block, view)
        return own, (context / total).astype(query.dtype)

    key_N, value_N = (blocks(x, w * r + T - x.shape[2]) for x in keys)  # a block from before, and then N
    xs = (jnp.arange(N), blocks(query_BHTK, 0), Keys(key_N[1:], value_N[1:]))
    _, context_NBHwV = jax.lax.scan(of_block, Keys(key_N[0], value_N[0]), xs)
    context_BHNwrV = context_NBHwV.reshape(N, B, r, H, w, -1).transpose(1, 3, 0, 4, 2, 5)
    return context_BHNwrV.reshape(B, H, N * w * r, -1)[:, :, :T]
