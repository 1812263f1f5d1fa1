"""Multi-head scaled dot-product attention with masks, taps and a cache of keys and values.

Dims: B batch, T queries, S keys, H heads, K head width, D model width.

Heads lead time (`BHSK`) wherever keys are kept, so that every product is a batched matmul as it lies.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from models.dropout import dropout
from models.fused_attention import Fused, attend_fused
from models.layers import Linear, glorot
from models.shapes import Array, Bool, Float, Int, Key
from models.taps import Tapper
from models.tiled_attention import Tiles, attend_tiled
from models.widened import widened


class Keys(NamedTuple):
    """Keys and values of one layer."""

    key: Float[Array, "B H S K"]
    value: Float[Array, "B H S K"]

    def write(self, new: "Keys", slot: Int[Array, ""]) -> "Keys":
        """Puts the single key of `new` at `slot` of this cache."""
        return Keys(
            jax.lax.dynamic_update_slice_in_dim(self.key, new.key.astype(self.key.dtype), slot, axis=2),
            jax.lax.dynamic_update_slice_in_dim(self.value, new.value.astype(self.value.dtype), slot, axis=2),
        )


class View(NamedTuple):
    """The part of a block of keys that queries see; it is the same for all layers, so it is made once."""

    visible: Bool[Array, "#B #T S"]
    bias: Float[Array, "#B H T S"] | None = None  # added to the scores
    fused: Fused | None = None  # the same for a fused kernel, where one is to be used
    tiles: Tiles | None = None  # the same for a long sequence, where nothing is tapped


def plain(
    query_TK: Float[Array, "T K"],
    key_SK: Float[Array, "S K"],
    value_SK: Float[Array, "S K"],
    visible_TS: Bool[Array, "T S"],
) -> Float[Array, "T K"]:
    """One head of one example (Vaswani et al. 2017, equation 1), where each query sees a key.

    For a reader, and for the tests, which hold it equal to `attend` (tests/models/test_plain.py).
    """
    scores_TS = query_TK @ key_SK.T / jnp.sqrt(query_TK.shape[1])
    weights_TS = jax.nn.softmax(jnp.where(visible_TS, scores_TS, -jnp.inf), axis=1)
    return weights_TS @ value_SK


def attend(
    query_BHTK: Float[Array, "B H T K"],
    blocks: Sequence[Keys],
    views: Sequence[View],
    name: str,
    tap: Tapper,
    dropout_rate: float = 0.0,
    key: Key[Array, ""] | None = None,
) -> Float[Array, "B H T K"]:
    """`plain` for all heads and rows at once, softmax in float32.

    Keys come in blocks, each with its view, so that in decoding what never changes and what a beam
    reorders need not be copied together. A query that sees no key gets zeros. A view for a fused kernel or
    with tiles stands alone, without taps.

    Taps: `{name}attention`, the weights before dropout, (B, H, T, S) over all blocks; `{name}heads`, the
    gates of the heads, (B, H), all 1. Adding -1 to a gate masks that head (an array (H,) serves all rows),
    and the gradient with respect to a gate is the head's importance (Michel et al. 2019, equation 2).
    """
    if views[0].fused is not None:
        (block,) = blocks
        return attend_fused(query_BHTK, block.key, block.value, views[0].fused)
    if views[0].tiles is not None and (key is None or dropout_rate == 0.0):
        (block,) = blocks
        return attend_tiled(query_BHTK, block.key, block.value, views[0].tiles)
    query_BHTK = query_BHTK * query_BHTK.shape[-1] ** -0.5
    scores = [_scores(query_BHTK, block, view) for block, view in zip(blocks, views, strict=True)]
    B, _, T, _ = query_BHTK.shape
    visible = [jnp.broadcast_to(view.visible[:, None], (B, 1, T, view.visible.shape[2])) for view in views]
    weights_BHTS = masked_softmax(_join(scores), _join(visible))
    weights_BHTS = dropout(tap(f"{name}attention", weights_BHTS), dropout_rate, key)
    weights_BHTS = weights_BHTS.astype(query_BHTK.dtype)
    start, context_BHTK = 0, jnp.zeros((), query_BHTK.dtype)
    for block in blocks:
        end = start + block.key.shape[2]
        context_BHTK += jnp.einsum("BHTS,BHSK->BHTK", weights_BHTS[..., start:end], block.value)
        start = end
    if tap.wants(f"{name}heads"):
        gates_BH = tap(f"{name}heads", jnp.ones((B, query_BHTK.shape[1]), context_BHTK.dtype))
        context_BHTK *= gates_BH[:, :, None, None]
    return context_BHTK


def masked_softmax(scores: Float[Array, "B H T S"], visible: Bool[Array, "#B #H #T S"]) -> Float[Array, "B H T S"]:
    """Float32 softmax over the visible keys, 0 elsewhere, and 0 throughout if none is visible."""
    scores = jnp.where(visible, scores.astype(jnp.promote_types(scores.dtype, jnp.float32)), -1e30)
    return jnp.where(visible, jax.nn.softmax(scores, axis=-1), 0)


def _scores(query_BHTK: Array, block: Keys, view: View) -> Array:
    wide = jnp.promote_types(query_BHTK.dtype, jnp.float32)
    scores_BHTS = widened(_dots, query_BHTK, block.key, wide)
    return scores_BHTS if view.bias is None else scores_BHTS + view.bias


def _dots(query_BHTK: Array, key_BHSK: Array, **options: Any) -> Array:
    return jnp.einsum("BHTK,BHSK->BHTS", query_BHTK, key_BHSK, **options)


def _join(parts_BHTS: Sequence[Array]) -> Array:
    return parts_BHTS[0] if len(parts_BHTS) == 1 else jnp.concatenate(parts_BHTS, axis=-1)


def _stacked_glorot(parts: int):
    """Draws `parts` square kernels side by side, each with the scale that it has alone."""

    def init(key, shape, dtype):
        in_size, out_size = shape
        keys = jax.random.split(key, parts)
        return jnp.concatenate([glorot(k, (in_size, out_size // parts), dtype) for k in keys], axis=1)

    return init


class SelfAttention(nnx.Module):
    """Queries, keys and values from one sequence, through one fused projection (columns q, k, v)."""

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        *,
        dropout_rate: float = 0.0,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.qkv = Linear(hidden_size, 3 * hidden_size, dtype=dtype, kernel_init=_stacked_glorot(3), rngs=rngs)
        self.output = Linear(hidden_size, hidden_size, dtype=dtype, rngs=rngs)
        self.num_heads = num_heads
        self.dropout_rate = dropout_rate

    def __call__(
        self,
        x_BTD: Float[Array, "B T D"],
        rotate: Callable[[Array], Array],
        views: Sequence[View],
        name: str,
        tap: Tapper,
        *,
        past: Sequence[Keys] = (),
        cache: Keys | None = None,
        slot: Int[Array, ""] | None = None,
        key: Key[Array, ""] | None = None,
    ) -> tuple[Float[Array, "B T D"], Keys]:
        """Returns the output and the keys of x, or, given a `cache`, the cache with the keys at `slot`.

        Queries see `past` and then these keys, one view for each. `rotate` is the positions' part.
        """
        query_BHTK, key_BHTK, value_BHTK = split_heads(self.qkv(x_BTD), 3, self.num_heads)
        own = Keys(rotate(key_BHTK), value_BHTK)
        if cache is not None and slot is not None:
            own = cache.write(own, slot)
        context_BHTK = attend(
            rotate(query_BHTK), (*past, own), views, name, tap, dropout_rate=self.dropout_rate, key=key
        )
        return self.output(join_heads(context_BHTK)), own


class CrossAttention(nnx.Module):
    """Queries from the decoder; keys and values from the encoder, computed once for a whole decoding."""

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        *,
        dropout_rate: float = 0.0,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.query = Linear(hidden_size, hidden_size, dtype=dtype, rngs=rngs)
        self.kv = Linear(hidden_size, 2 * hidden_size, dtype=dtype, kernel_init=_stacked_glorot(2), rngs=rngs)
        self.output = Linear(hidden_size, hidden_size, dtype=dtype, rngs=rngs)
        self.num_heads = num_heads
        self.dropout_rate = dropout_rate

    def keys(self, encoded_BSD: Float[Array, "B S D"]) -> Keys:
        return Keys(*split_heads(self.kv(encoded_BSD), 2, self.num_heads))

    def __call__(
        self,
        x_BTD: Float[Array, "B T D"],
        keys: Keys,
        view: View,
        name: str,
        tap: Tapper,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "B T D"]:
        (query_BHTK,) = split_heads(self.query(x_BTD), 1, self.num_heads)
        context_BHTK = attend(query_BHTK, (keys,), (view,), name, tap, dropout_rate=self.dropout_rate, key=key)
        return self.output(join_heads(context_BHTK))


def split_heads(x_BTX: Float[Array, "B T X"], parts: int, num_heads: int) -> Sequence[Float[Array, "B H T K"]]:
    """Splits the last axis into `parts` times heads, as in X = (parts, H, K)."""
    B, T, X = x_BTX.shape
    x_BTPHK = x_BTX.reshape(B, T, parts, num_heads, X // (parts * num_heads))
    return tuple(x_BTPHK[:, :, part].swapaxes(1, 2) for part in range(parts))


def join_heads(x_BHTK: Float[Array, "B H T K"]) -> Float[Array, "B T D"]:
    B, H, T, K = x_BHTK.shape
    return x_BHTK.swapaxes(1, 2).reshape(B, T, H * K)
