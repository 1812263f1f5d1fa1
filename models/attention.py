"""Multi-head dot-product attention with masks, taps and a cache of keys and values.

Dims: B batch, T queries, S keys, H heads, K width of a head's queries and keys, V of its values, D model width.

Heads lead time (`BHSK`) wherever keys are kept, so that every product is a batched matmul as it lies.
"""

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from ml_collections import ConfigDict

from models.countable import is_countable
from models.dropout import dropout
from models.fused_attention import CHOICES, Fused, attend_fused
from models.layers import Linear, glorot
from models.options import Option, count, rate
from models.positions import Edges, NoPositions
from models.shapes import Array, Bool, Float, Int, Key
from models.taps import Tapper
from models.tiled_attention import Tiles, attend_tiled
from models.widened import widened

ATTENTION: dict[str, Option] = {
    "num_heads": count(4, "heads of each attention; a divisor of hidden_size"),
    "num_kv_heads": Option(0, "heads of keys and values, a divisor of num_heads; 0: as many; 1: multi-query", least=0),
    "key_size": Option(
        0, "width of a head's queries and keys; 0: hidden_size / num_heads, as its values have", least=0
    ),
    "attention_scale": Option(True, "divide scores by the square root of the width of keys"),
    "attention_dropout_rate": rate("dropout on attention weights"),
    "fused_attention": Option("auto", "attention in one kernel; auto: cuDNN's where it can run", choices=CHOICES),
}
"""The keys of what attends."""


def check_heads(config: ConfigDict) -> None:
    """Raises ValueError for heads that do not divide the width, or heads of keys that do not divide the heads."""
    check_divides("num_heads", config.num_heads, "hidden_size", config.hidden_size)
    if config.num_kv_heads:
        check_divides("num_kv_heads", config.num_kv_heads, "num_heads", config.num_heads)


def check_divides(key: str, value: int, whole: str, size: int) -> None:
    if size % value:
        divisors = [str(n) for n in range(1, size + 1) if size % n == 0]
        listed = f"{', '.join(divisors[:-1])} or {divisors[-1]}" if len(divisors) > 1 else divisors[0]
        raise ValueError(f"model.{key} = {value} does not divide model.{whole} = {size}; use {listed}")


class Keys(NamedTuple):
    """Keys and values of one layer."""

    key: Float[Array, "B H S K"]
    value: Float[Array, "B H S V"]

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
    edges: Edges | None = None  # added to keys and values

    @classmethod
    def of(
        cls, visible: Array, positions: NoPositions, query_position_BT: Array, key_position_BS: Array, **forms: Any
    ) -> "View":
        """With what the positions add to scores, keys and values."""
        at = query_position_BT, key_position_BS
        return cls(visible, positions.bias(*at), edges=positions.edges(*at), **forms)


def plain(
    query_TK: Float[Array, "T K"],
    key_SK: Float[Array, "S K"],
    value_SV: Float[Array, "S V"],
    visible_TS: Bool[Array, "T S"],
) -> Float[Array, "T V"]:
    """One head of one example (Vaswani et al. 2017, equation 1), where each query sees a key.

    For a reader, and for the tests, which hold it equal to `attend` (tests/models/test_plain.py).
    """
    scores_TS = query_TK @ key_SK.T / jnp.sqrt(query_TK.shape[1])
    weights_TS = jax.nn.softmax(jnp.where(visible_TS, scores_TS, -jnp.inf), axis=1)
    return weights_TS @ value_SV


def attend(
    query_BHTK: Float[Array, "B H T K"],
    blocks: Sequence[Keys],
    views: Sequence[View],
    name: str,
    tap: Tapper,
    dropout_rate: float = 0.0,
    key: Key[Array, ""] | None = None,
) -> Float[Array, "B H T V"]:
    """`plain` for all heads and rows at once, softmax in float32.

    Keys come in blocks, each with its view, so that in decoding what never changes and what a beam
    reorders need not be copied together. A query that sees no key gets zeros. A view for a fused kernel or
    with tiles stands alone, without taps.

    Taps: `{name}attention`, the weights before dropout, (B, H, T, S) over all blocks; `{name}heads`, the
    gates of the heads, (B, H), all 1. Adding -1 to a gate masks that head (an array (H,) serves all rows),
    and the gradient with respect to a gate is the head's importance (Michel et al. 2019, equation 2).
    """
    if views[0].fused is not None and not is_countable():
        (block,) = blocks
        return attend_fused(query_BHTK, block.key, block.value, views[0].fused)
    if views[0].tiles is not None and (key is None or dropout_rate == 0.0):
        (block,) = blocks
        return attend_tiled(query_BHTK, block.key, block.value, views[0].tiles)
    query_BHTK = query_BHTK * query_BHTK.shape[-1] ** -0.5
    scores = [scores_of(query_BHTK, block, view) for block, view in zip(blocks, views, strict=True)]
    B, _, T, _ = query_BHTK.shape
    visible = [jnp.broadcast_to(view.visible[:, None], (B, 1, T, view.visible.shape[2])) for view in views]
    weights_BHTS = masked_softmax(_join(scores), _join(visible))
    weights_BHTS = dropout(tap(f"{name}attention", weights_BHTS), dropout_rate, key)
    weights_BHTS = weights_BHTS.astype(query_BHTK.dtype)
    start, context_BHTV = 0, jnp.zeros((), query_BHTK.dtype)
    for block, view in zip(blocks, views, strict=True):
        end = start + block.key.shape[2]
        context_BHTV += mixed(weights_BHTS[..., start:end], block, view)
        start = end
    return gated(context_BHTV, f"{name}heads", tap)


def gated(context_BHTV: Array, name: str, tap: Tapper) -> Float[Array, "B H T V"]:
    """Each head times its gate of 1, where that is tapped."""
    if not tap.wants(name):
        return context_BHTV
    return context_BHTV * tap(name, jnp.ones(context_BHTV.shape[:2], context_BHTV.dtype))[:, :, None, None]


def masked_softmax(scores: Float[Array, "B H T S"], visible: Bool[Array, "#B #H #T S"]) -> Float[Array, "B H T S"]:
    """Float32 softmax over the visible keys, 0 elsewhere, and 0 throughout if none is visible."""
    scores = jnp.where(visible, scores.astype(jnp.promote_types(scores.dtype, jnp.float32)), -1e30)
    return jnp.where(visible, jax.nn.softmax(scores, axis=-1), 0)


def scores_of(query_BHTK: Array, block: Keys, view: View) -> Array:
    """Products of queries and keys, in float32 or wider, with the view's bias or edges."""
    wide = jnp.promote_types(query_BHTK.dtype, jnp.float32)
    scores_BHTS = widened(_dots, query_BHTK, block.key, wide)
    if view.edges is not None:
        dots_BHTN = widened(jnp.matmul, query_BHTK, view.edges.key_NK.T.astype(query_BHTK.dtype), wide)
        scores_BHTS += _by_entry("BHTN,{}TSN->BHTS", dots_BHTN, view.edges)
    return scores_BHTS if view.bias is None else scores_BHTS + view.bias


def mixed(weights_BHTS: Array, block: Keys, view: View) -> Array:
    """The mixture of values, with the view's edges."""
    context_BHTV = jnp.einsum("BHTS,BHSV->BHTV", weights_BHTS, block.value)
    if view.edges is not None:
        weights_BHTN = _by_entry("BHTS,{}TSN->BHTN", weights_BHTS, view.edges)
        context_BHTV += weights_BHTN @ view.edges.value_NV.astype(context_BHTV.dtype)
    return context_BHTV


def _by_entry(form: str, x: Array, edges: Edges) -> Array:
    """A product with the entries, which are the same for all rows, or each row's own."""
    entry_BTSN = edges.entry_BTSN.astype(x.dtype)
    shared = len(entry_BTSN) == 1
    return jnp.einsum(form.format("" if shared else "B"), x, entry_BTSN[0] if shared else entry_BTSN)


def _dots(query_BHTK: Array, key_BHSK: Array, **options: Any) -> Array:
    return jnp.einsum("BHTK,BHSK->BHTS", query_BHTK, key_BHSK, **options)


def _join(parts_BHTS: Sequence[Array]) -> Array:
    return parts_BHTS[0] if len(parts_BHTS) == 1 else jnp.concatenate(parts_BHTS, axis=-1)


def _stacked_glorot(*widths: int):
    """Draws kernels of these widths side by side, each with the scale that it has alone."""

    def init(key: Array, shape: tuple[int, ...], dtype: DTypeLike):
        keys = jax.random.split(key, len(widths))
        return jnp.concatenate([glorot(k, (shape[0], w), dtype) for k, w in zip(keys, widths, strict=True)], axis=1)

    return init


class Projections(nnx.Module):
    """What attention to one's own sequence and to another have in common: widths, heads, scale."""

    def __init__(
        self,
        hidden_size: int,
        num_heads: int,
        *,
        num_kv_heads: int = 0,
        key_size: int = 0,
        scaled: bool = True,
        use_bias: bool = True,
        dropout_rate: float = 0.0,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.num_heads, self.num_kv_heads = num_heads, num_kv_heads or num_heads
        self.value_size = hidden_size // num_heads
        self.key_size = key_size or self.value_size
        self.scaled = scaled
        self.dropout_rate = dropout_rate
        self.dtype = dtype
        self._draw(hidden_size, {"use_bias": use_bias, "dtype": dtype, "rngs": rngs})

    @classmethod
    def from_config(cls, config: ConfigDict, rngs: nnx.Rngs):
        return cls(
            config.hidden_size,
            config.num_heads,
            num_kv_heads=config.num_kv_heads,
            key_size=config.key_size,
            scaled=config.attention_scale,
            use_bias=config.use_bias,
            dropout_rate=config.attention_dropout_rate,
            dtype=jnp.dtype(config.dtype),
            rngs=rngs,
        )

    def _draw(self, hidden_size: int, options: dict[str, Any]) -> None:
        """Makes the linear maps."""
        raise NotImplementedError

    @property
    def queries(self) -> tuple[int, int]:
        """Heads of queries, and their width."""
        return self.num_heads, self.key_size

    @property
    def keys_and_values(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Heads of keys and of values, and their widths."""
        return (self.num_kv_heads, self.key_size), (self.num_kv_heads, self.value_size)

    def empty(self, rows: int, length: int) -> Keys:
        """Room for the keys of so many tokens."""
        return Keys(*(jnp.zeros((rows, heads, length, size), self.dtype) for heads, size in self.keys_and_values))

    @property
    def scale(self) -> float:
        return self.key_size**-0.5 if self.scaled else 1.0

    def attend(
        self,
        query_BHTK: Float[Array, "B H T K"],
        blocks: Sequence[Keys],
        views: Sequence[View],
        name: str,
        tap: Tapper,
        key: Key[Array, ""] | None,
    ) -> Float[Array, "B H T V"]:
        """`attend` with each head of keys for its group of queries, and without the scale where that is off."""
        if not self.scaled:
            query_BHTK = query_BHTK * self.key_size**0.5
        return attend(
            query_BHTK,
            [for_heads(block, self.num_heads) for block in blocks],
            views,
            name,
            tap,
            dropout_rate=self.dropout_rate,
            key=key,
        )


class SelfAttention(Projections):
    """Queries, keys and values from one sequence, through one fused projection (columns q, k, v)."""

    def _draw(self, hidden_size: int, options: dict[str, Any]):
        widths = tuple(heads * size for heads, size in (self.queries, *self.keys_and_values))
        self.qkv = Linear(hidden_size, sum(widths), kernel_init=_stacked_glorot(*widths), **options)
        self.output = Linear(hidden_size, hidden_size, **options)

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
        query_BHTK, own = self.project(x_BTD, rotate)
        if cache is not None and slot is not None:
            own = cache.write(own, slot)
        return self.output(join_heads(self.attend(query_BHTK, (*past, own), views, name, tap, key))), own

    def project(
        self, x_BTD: Float[Array, "B T D"], rotate: Callable[[Array], Array]
    ) -> tuple[Float[Array, "B H T K"], Keys]:
        """The queries and the keys of x."""
        query_BHTK, key_BHTK, value_BHTV = split_heads(self.qkv(x_BTD), self.queries, *self.keys_and_values)
        return rotate(query_BHTK), Keys(rotate(key_BHTK), value_BHTV)


class CrossAttention(Projections):
    """Queries from the decoder; keys and values from the encoder, computed once for a whole decoding."""

    def _draw(self, hidden_size: int, options: dict[str, Any]):
        widths = tuple(heads * size for heads, size in self.keys_and_values)
        self.query = Linear(hidden_size, self.num_heads * self.key_size, **options)
        self.kv = Linear(hidden_size, sum(widths), kernel_init=_stacked_glorot(*widths), **options)
        self.output = Linear(hidden_size, hidden_size, **options)

    def keys(self, encoded_BSD: Float[Array, "B S D"]) -> Keys:
        return Keys(*split_heads(self.kv(encoded_BSD), *self.keys_and_values))

    def __call__(
        self,
        x_BTD: Float[Array, "B T D"],
        keys: Keys,
        view: View,
        name: str,
        tap: Tapper,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "B T D"]:
        (query_BHTK,) = split_heads(self.query(x_BTD), self.queries)
        return self.output(join_heads(self.attend(query_BHTK, (keys,), (view,), name, tap, key)))


def split_heads(x_BTX: Float[Array, "B T X"], *parts: tuple[int, int]) -> Sequence[Float[Array, "B H T K"]]:
    """Splits the last axis into parts, each of so many heads of such a width."""
    B, T, _ = x_BTX.shape
    ends = pairwise(accumulate((heads * size for heads, size in parts), initial=0))
    return tuple(
        x_BTX[:, :, start:end].reshape(B, T, heads, size).swapaxes(1, 2)
        for (heads, size), (start, end) in zip(parts, ends, strict=True)
    )


def for_heads(keys: Keys, num_heads: int) -> Keys:
    """A head of keys for each head of queries."""
    group = num_heads // keys.key.shape[1]
    return keys if group == 1 else Keys(*(jnp.repeat(x, group, axis=1) for x in keys))


def join_heads(x_BHTK: Float[Array, "B H T K"]) -> Float[Array, "B T D"]:
    B, H, T, K = x_BHTK.shape
    return x_BHTK.swapaxes(1, 2).reshape(B, T, H * K)
