"""Softmax attention to all tokens before, or to all: multi-head, multi-query and grouped-query, scaled or not.

Dims: B batch, T tokens, S tokens read before, H heads of keys, K head width, D model width.
"""

from typing import NamedTuple

import jax.numpy as jnp
from flax import nnx
from ml_collections import ConfigDict

from models.attention import ATTENTION, Keys, SelfAttention, View, check_heads
from models.fused_attention import Fused, choose
from models.mixers.mixer import Mixer, Span
from models.positions import positions_of
from models.shapes import Array, Bool
from models.taps import Tapper
from models.tiled_attention import Tiles, worthwhile


class Read(NamedTuple):
    """The keys of what was read before, and which of them are real."""

    keys: Keys
    mask_BS: Bool[Array, "B S"]

    def extend(self, keys: Keys, mask_BT: Array) -> "Read":
        both = (jnp.concatenate(pair, axis=2) for pair in zip(self.keys, keys, strict=True))
        mask_BT = jnp.broadcast_to(mask_BT, (len(self.mask_BS), mask_BT.shape[1]))
        return Read(Keys(*both), jnp.concatenate([self.mask_BS, mask_BT], axis=1))


class Attention(Mixer):
    """Vaswani et al. 2017, section 3.2; one head of keys for all or for a group (Shazeer 2019, Ainslie et al. 2023)."""

    taps = {"attention": (2, 3), "heads": ()}
    attends = two_sided = True

    def __init__(self, config: ConfigDict, depth: int, rngs: nnx.Rngs):
        check_heads(config)
        self.core = SelfAttention.from_config(config, rngs)
        self.kernel = choose(config)

    @classmethod
    def options(cls):
        return ATTENTION

    def start_carry(self, rows: int) -> Read:
        return Read(self.core.empty(rows, 0), jnp.zeros((rows, 0), bool))

    def __call__(self, x_BTD: Array, span: Span, carry: Read, *, name: str, tap: Tapper, key: Array | None = None):
        T, alone = x_BTD.shape[1], not carry.mask_BS.shape[1] and not tap.taps  # else there is more than one form does
        real_BT = jnp.ones((1, T), bool) if span.mask_BT is None else span.mask_BT
        fused = Fused(self.kernel, span.length_B, causal=span.causal) if alone and self.kernel is not None else None
        tiles = None
        if alone and fused is None and not span.positions.trains_bias and worthwhile(T):
            tiles = Tiles(span.mask_BT, span.position_BT, span.causal, span.positions.bias)
        visible_BTT = real_BT[:, None, :] & (jnp.tri(T, dtype=bool) if span.causal else True)
        own = View.of(visible_BTT, span.positions, span.position_BT, span.position_BT, fused=fused, tiles=tiles)
        past, views = self._past(span, carry)
        y_BTD, keys = self.core(x_BTD, span.rotate, [*views, own], name, tap, past=past, key=key)
        return y_BTD, carry.extend(keys, real_BT)

    def open(self, carry: Read, max_len: int):
        return carry, self.core.empty(len(carry.mask_BS), max_len)

    def step(self, x_BD: Array, t: Array, span: Span, memory: Read, state: Keys):
        slot_1S = jnp.arange(state.key.shape[2])[None]
        at_BS = span.position_BT - t + slot_1S
        past, views = self._past(span, memory)
        views = [*views, View.of((slot_1S <= t)[:, None], span.positions, span.position_BT, at_BS)]
        y_B1D, state = self.core(
            x_BD[:, None], span.rotate, views, "", Tapper(None, ()), past=past, cache=state, slot=t
        )
        return y_B1D[:, 0], state

    def _past(self, span: Span, read: Read) -> tuple[list[Keys], list[View]]:
        """What was read before, as blocks of keys: one or none."""
        if not read.mask_BS.shape[1]:
            return [], []
        view = View.of(read.mask_BS[:, None], span.positions, span.position_BT, positions_of(read.mask_BS))
        return [read.keys], [view]
