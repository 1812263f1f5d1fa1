"""Layers and stacks of the Transformers (Vaswani et al. 2017, section 3).

Dims: B batch, T queries, S keys, H heads, K head width, D model width, F feed-forward width.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax.numpy as jnp
from flax import nnx
from ml_collections import ConfigDict

from models.attention import ATTENTION, CrossAttention, Keys, SelfAttention, View, check_heads
from models.block import BLOCK, Mlp, Residual, norm_of
from models.dropout import dropout, fold
from models.encoded import Encoded
from models.fused_attention import Fused, choose
from models.options import EVERY, Option
from models.padding import lengths_of, put_back, to_front
from models.positions import POSITIONS, positions_of
from models.remat import remat
from models.shapes import Array, Bool, Float, Int, Key
from models.taps import Tapper
from models.tiled_attention import Tiles, worthwhile

TRANSFORMER: dict[str, Option] = (
    EVERY | ATTENTION | {"positions": Option("sinusoidal", "how order is known", choices=tuple(POSITIONS))} | BLOCK
)
"""The keys of the Transformers."""


def check_config(config: ConfigDict) -> None:
    """Raises ValueError for heads that do not divide the width, and a kernel that cannot run."""
    check_heads(config)
    choose(config)


class Layer(nnx.Module):
    """Self-attention, attention to an encoder where `cross`, and a feed-forward network."""

    def __init__(self, config: ConfigDict, cross: bool, rngs: nnx.Rngs):
        self.attention = SelfAttention.from_config(config, rngs)
        self.attention_residual = Residual(config)
        self.cross_attention = CrossAttention.from_config(config, rngs) if cross else None
        self.cross_residual = Residual(config) if cross else None
        self.mlp = Mlp(config, rngs)
        self.mlp_residual = Residual(config)

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
        encoded: tuple[Keys, View] | None = None,
        key: Key[Array, ""] | None = None,
    ) -> tuple[Float[Array, "B T D"], Keys]:
        """Returns the output and the layer's own keys, as `SelfAttention` does."""
        y_BTD, own = self.attention(
            self.attention_residual.enter(x_BTD),
            rotate,
            views,
            name,
            tap,
            past=past,
            cache=cache,
            slot=slot,
            key=fold(key, 0),
        )
        x_BTD = self.attention_residual.leave(x_BTD, y_BTD, fold(key, 1))
        if self.cross_attention is not None and self.cross_residual is not None and encoded is not None:
            entered_BTD = self.cross_residual.enter(x_BTD)
            y_BTD = self.cross_attention(entered_BTD, *encoded, f"{name}cross_", tap, fold(key, 2))
            x_BTD = self.cross_residual.leave(x_BTD, y_BTD, fold(key, 3))
        y_BTD = self.mlp(self.mlp_residual.enter(x_BTD), fold(key, 4))
        x_BTD = self.mlp_residual.leave(x_BTD, y_BTD, fold(key, 5))
        return tap(f"{name}hidden", x_BTD), own


class Past(NamedTuple):
    """Keys of tokens already read, for each layer, and which of them are real."""

    keys: tuple[Keys, ...]
    mask: Bool[Array, "B S"]

    def extend(self, new: "Past") -> "Past":
        pairs = zip(self.keys, new.keys, strict=True)
        keys = tuple(Keys(*(jnp.concatenate(two, axis=2) for two in zip(a, b, strict=True))) for a, b in pairs)
        return Past(keys, jnp.concatenate([self.mask, new.mask], axis=1))


class Stack(nnx.Module):
    """Embeddings in, hidden states out: positions, dropout, layers, and a last norm with pre-norm.

    Layers are unrolled: they are few, and the compiler then plans memory across them.
    """

    def __init__(
        self, config: ConfigDict, name: str, num_positions: int, *, causal: bool, cross: bool = False, rngs: nnx.Rngs
    ):
        D, H, K = config.hidden_size, config.num_heads, config.key_size
        self.positions = POSITIONS[config.positions](num_positions, D, H, rngs, causal=causal, key_size=K)
        self.layers = nnx.List([Layer(config, cross, rngs) for _ in range(config.num_layers)])
        self.last_norm = norm_of(config) if config.norm == "pre" else None
        self.name = name
        self.causal = causal
        self.cross = cross
        self.dropout_rate = config.dropout_rate
        self.remat = config.remat
        self.kernel = choose(config)

    def __call__(
        self,
        x_BTD: Float[Array, "B T D"],
        mask_BT: Bool[Array, "#B T"] | None,
        tap: Tapper,
        *,
        past: Past | None = None,
        encoded: Encoded | None = None,
        key: Key[Array, ""] | None = None,
    ) -> tuple[Float[Array, "B T D"], Past]:
        """Reads a whole sequence, after `past` where there is one. Returns hidden states and its own keys.

        Without `mask_BT` every token is real. The keys of a fused kernel come with each row's real ones in front.
        """
        real_BT = jnp.ones((1, x_BTD.shape[1]), bool) if mask_BT is None else mask_BT
        kernel = self.kernel if past is None and not tap.taps else None  # a fused kernel shows nothing of itself
        fused = order_BT = None
        if kernel is not None:
            fused = Fused(kernel, None, self.causal)
            if mask_BT is not None:
                x_BTD, real_BT, order_BT = to_front(x_BTD, mask_BT)
                fused = Fused(kernel, lengths_of(real_BT), self.causal)
        position_BT = positions_of(real_BT)
        visible_BTT = real_BT[:, None, :] & (jnp.tri(x_BTD.shape[1], dtype=bool) if self.causal else True)
        if past is not None:
            position_BT = past.mask.sum(1, dtype=jnp.int32)[:, None] + position_BT
        tiles, whole = None, past is None and not tap.taps and not self.positions.trains_bias
        if fused is None and whole and worthwhile(x_BTD.shape[1]):
            tiles = Tiles(mask_BT, position_BT, self.causal, self.positions.bias)
        views = [View.of(visible_BTT, self.positions, position_BT, position_BT, fused=fused, tiles=tiles)]
        x_BTD, keys = self._run(x_BTD, position_BT, views, tap, past=past, encoded=encoded, key=key)
        if order_BT is not None:
            x_BTD = put_back(x_BTD, order_BT)
        return x_BTD, Past(keys, jnp.broadcast_to(real_BT, x_BTD.shape[:2]))

    def step(
        self,
        x_B1D: Float[Array, "B 1 D"],
        t: Int[Array, ""],
        past: Past | None,
        caches: tuple[Keys, ...],
        encoded: Encoded | None = None,
    ) -> tuple[Float[Array, "B 1 D"], tuple[Keys, ...]]:
        """Reads token t after `past`, its earlier keys lying in `caches`. Returns hidden states and caches."""
        slot_1S = jnp.arange(caches[0].key.shape[2])[None]
        count_B = jnp.zeros(1, jnp.int32) if past is None else past.mask.sum(1, dtype=jnp.int32)
        position_B1, key_position_BS = count_B[:, None] + t, count_B[:, None] + slot_1S
        views = [View.of((slot_1S <= t)[:, None, :], self.positions, position_B1, key_position_BS)]
        tap = Tapper(None, ())
        return self._run(x_B1D, position_B1, views, tap, past=past, encoded=encoded, caches=caches, slot=t)

    def _run(
        self,
        x_BTD: Array,
        position_BT: Array,
        views: list[View],
        tap: Tapper,
        *,
        past: Past | None,
        encoded: Encoded | None,
        caches: tuple[Keys, ...] | None = None,
        slot: Array | None = None,
        key: Array | None = None,
    ) -> tuple[Array, tuple[Keys, ...]]:
        if past is not None:
            view = View.of(past.mask[:, None, :], self.positions, position_BT, positions_of(past.mask))
            views = [view, *views]
        x_BTD = self.positions.add(tap(f"{self.name}.inputs", x_BTD), position_BT)
        x_BTD = dropout(x_BTD, self.dropout_rate, fold(key, 0))
        whole = caches is None and not tap.taps
        cross = None if encoded is None else encoded.view(x_BTD.shape[1], self.kernel, whole=whole)
        owns = []
        for index, layer in enumerate(self.layers):
            run = partial(
                layer,
                rotate=lambda y_BHTK: self.positions.rotate(y_BHTK, position_BT),
                views=views,
                name=f"{self.name}.{index}.",
                tap=tap,
                past=() if past is None else (past.keys[index],),
                cache=None if caches is None else caches[index],
                slot=slot,
                encoded=None if encoded is None or cross is None else (encoded.keys[index], cross),
                key=fold(key, index + 1),
            )
            # What is tapped must leave the layer, which nothing does that is computed anew in the backward pass.
            x_BTD, own = (remat(run) if self.remat and not tap.taps else run)(x_BTD)
            owns.append(own)
        if self.last_norm is not None:
            x_BTD = self.last_norm(x_BTD)
        return x_BTD, tuple(owns)

    def encode(self, encoded_BSD: Float[Array, "B S D"], mask_BS: Bool[Array, "B S"], tap: Tapper) -> Encoded:
        """An encoder's output as the keys of this stack's cross-attention."""
        attentions = [layer.cross_attention for layer in self.layers if layer.cross_attention is not None]
        return Encoded.of(attentions, encoded_BSD, mask_BS, fused=self.kernel is not None and not tap.taps)

    def caches(self, rows: int, max_len: int) -> tuple[Keys, ...]:
        """Room for the keys of `max_len` tokens in each layer."""
        return tuple(layer.attention.empty(rows, max_len) for layer in self.layers)

    def tap_names(self) -> tuple[str, ...]:
        kinds = ["hidden", "attention", "heads"] + (["cross_attention", "cross_heads"] if self.cross else [])
        layers = [f"{self.name}.{index}.{kind}" for index in range(len(self.layers)) for kind in kinds]
        return (f"{self.name}.inputs", *layers)
