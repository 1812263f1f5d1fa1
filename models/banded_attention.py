"""Softmax attention to a window of keys, block by block: time and scores are in proportion to T w, not to T squared.

With a dilation r, tokens that are r apart see one another alone, so each r-th token makes a row of its own, without
dilation. Queries of a row go by in blocks of w. A block sees its own keys and those of the block before, which a scan
passes on, and its scores are computed anew in the backward pass.

Dims: B batch, T queries, S keys (those before the first query too), H heads of queries, G heads of keys, K head width
(of values V), N blocks, w window, r dilation, C = B r rows.
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

    def within(self, T: int) -> "Band":
        """The same to T tokens before which there is none: no window is wider than a row."""
        return self._replace(window=min(self.window, max(-(-T // self.dilation), 1)))

    def blocks(self, T: int) -> int:
        """N, of each row."""
        return -(-T // (self.window * self.dilation))

    def num_scores(self, T: int) -> int:
        """What `attend_banded` computes for a sequence and a head."""
        return self.blocks(T) * self.dilation * 2 * self.window**2


def attend_banded(
    query_BHTK: Float[Array, "B H T K"],
    keys: Keys,
    before_B: Int[Array, "#B"],
    band: Band,
    key: Key[Array, ""] | None = None,
) -> Float[Array, "B H T V"]:
    """The context of T queries, of which each row's first is its `before_B`-th token; the last T keys are theirs, and
    in front of them are none or `band.reach` from before."""
    B, H, T, _ = query_BHTK.shape
    earlier = keys.key.shape[2] > T
    band = band if earlier else band.within(T)
    N, w, r = band.blocks(T), band.window, band.dilation

    def apart(x_BHTK: Array, blocks: int) -> Array:
        """(C, H, blocks w, K), the queries' N blocks at the end."""
        front = (blocks - N) * w * r + T - x_BHTK.shape[2]
        x_BHTK = jnp.pad(x_BHTK, [(0, 0), (0, 0), (front, N * w * r - T), (0, 0)])
        x_BHLrK = x_BHTK.reshape(*x_BHTK.shape[:2], -1, r, x_BHTK.shape[3])
        return x_BHLrK.transpose(0, 3, 1, 2, 4).reshape(B * r, x_BHTK.shape[1], -1, x_BHTK.shape[3])

    def of_rows(query: Array, key_: Array, value: Array, first: Array, number: Array):
        return (_in_blocks(query, Keys(key_, value), first, band, fold(key, number[0])),)

    first_C = (jnp.broadcast_to(before_B, B)[:, None] + jnp.arange(r)).reshape(-1)
    rows = apart(query_BHTK, N), *(apart(x, N + earlier) for x in keys), first_C, jnp.arange(B * r)
    if jax.default_backend() == "cpu" and jax.sharding.get_abstract_mesh().size <= 1:
        context_CHLV = by_groups(jax.checkpoint(of_rows), *rows)[0]  # few rows, whose blocks a cache holds
    else:
        context_CHLV = of_rows(*rows)[0]
    context_BHLrV = context_CHLV.reshape(B, r, H, N * w, -1).transpose(0, 2, 3, 1, 4)
    return context_BHLrV.reshape(B, H, N * w * r, -1)[:, :, :T]


def _in_blocks(query_CHLK: Array, keys: Keys, first_C: Array, band: Band, key: Array | None) -> Array:
    """(C, H, L, V) for L = N w queries and as many keys, or a block more in front. Weights are divided by their sum
    after the product with the values, which is smaller than they are."""
    C, H, L, _ = query_CHLK.shape
    w, r = band.window, band.dilation

    def blocks(x_CHLK: Array) -> Array:
        """(N, C, H, w, K)"""
        return x_CHLK.reshape(*x_CHLK.shape[:2], -1, w, x_CHLK.shape[3]).transpose(2, 0, 1, 3, 4)

    own_ww = jnp.tri(w, dtype=bool)[None]  # what is visible of one's own block; the rest is, of the one before

    @jax.checkpoint
    def of_block(before: Keys, at: tuple[Array, Array, Keys]) -> tuple[Keys, Array]:
        n, query, own = at
        at_Cw = first_C[:, None] + r * (n * w + jnp.arange(w))
        query, both = query * band.scale, [for_heads(block, H) for block in (before, own)]
        seen = [~own_ww & (at_Cw[:, None] >= w * r), own_ww]
        scores, views = [], []
        for block, visible, key_at_Cw in zip(both, seen, (at_Cw - w * r, at_Cw), strict=True):
            views.append(View.of(visible, band.positions, at_Cw, key_at_Cw))
            scores.append(jnp.where(visible[:, None], scores_of(query, block, views[-1]), -1e30))
        top = jax.lax.stop_gradient(jnp.maximum(*(part.max(-1, keepdims=True) for part in scores)))
        context, total = jnp.zeros(()), jnp.zeros(())
        for number, (part, block, view) in enumerate(zip(scores, both, views, strict=True)):
            weights = jnp.exp(part - top)
            total += weights.sum(-1, keepdims=True)
            weights = dropout(weights, band.dropout_rate, fold(key, 2 * n + number)).astype(query.dtype)
            context += mixed(weights, block, view)
        return own, (context / total).astype(query.dtype)

    query_NCHwK, of_keys = blocks(query_CHLK), [blocks(x) for x in keys]
    N = len(query_NCHwK)
    earlier = Keys(*(x[0] if len(x) > N else jnp.zeros_like(x[0]) for x in of_keys))
    own_N = Keys(*(x[len(x) - N :] for x in of_keys))
    _, context_NCHwV = jax.lax.scan(of_block, earlier, (jnp.arange(N), query_NCHwK, own_N))
    return context_NCHwV.transpose(1, 2, 0, 3, 4).reshape(C, H, L, -1)
