"""Softmax attention to the last tokens only (Beltagy et al. 2020), or to every so many-th of them (Child et al. 2019).

Dims: B batch, T queries, S keys, R tokens that are kept, H heads of keys, K head width, D model width.
"""

import jax.numpy as jnp
from flax import nnx
from ml_collections import ConfigDict

from models.attention import ATTENTION, Keys, SelfAttention, View, check_heads, join_heads
from models.banded_attention import Band, attend_banded
from models.mixers.mixer import Mixer, Span
from models.options import Option, count
from models.padding import ending
from models.shapes import Array, Int
from models.taps import Tapper


class OwnKeys(Tapper):
    """Taps of the weights on a call's own keys alone, (B, H, T, T) as of other attention, after `before` others."""

    def __init__(self, tap: Tapper, before: int):
        self.tap, self.before = tap, before
        self.taps, self.captured = tap.taps, tap.captured

    def __call__(self, name: str, value: Array):
        if not name.endswith("attention"):
            return self.tap(name, value)
        own = self.tap(name, value[..., self.before :])
        return jnp.concatenate([value[..., : self.before], own], axis=-1)


class LocalAttention(Mixer):
    """A query sees itself and w - 1 keys before, r tokens apart.

    The carry is the keys of the last R = (w - 1) r tokens, none before the first; in decoding they lie in a ring.
    """

    taps = {"attention": (2, 3), "heads": ()}
    attends = True
    name, usual_window, usual_dilation = "local_attention", 64, 1

    def __init__(self, config: ConfigDict, depth: int, rngs: nnx.Rngs):
        check_heads(config)
        self.core = SelfAttention.from_config(config, rngs)
        self.window, self.dilation = config[self.name].window, config[self.name].dilation

    @classmethod
    def options(cls):
        return ATTENTION | {
            f"{cls.name}.window": Option(cls.usual_window, "keys that a query sees, including its own", least=2),
            f"{cls.name}.dilation": count(cls.usual_dilation, "distance between these keys, in tokens"),
        }

    @property
    def reach(self):
        return (self.window - 1) * self.dilation

    def start_carry(self, rows: int) -> Keys:
        return self.core.empty(rows, 0)

    def __call__(self, x_BTD: Array, span: Span, carry: Keys, *, name: str, tap: Tapper, key: Array | None = None):
        T, before = x_BTD.shape[1], carry.key.shape[2]
        query_BHTK, own = self.core.project(x_BTD, span.rotate)
        keys = Keys(*(jnp.concatenate(pair, axis=2) for pair in zip(carry, own, strict=True)))
        band = Band(self.window, self.dilation, self.core.scale, span.positions, self.core.dropout_rate)
        if tap.taps or T * (T + before) <= band.within(T + before).num_scores(T):  # a short one, at once
            at_BS = span.before_B[:, None] - before + jnp.arange(before + T)
            view, tap = self._view(span, span.position_BT, at_BS), OwnKeys(tap, before) if tap.taps else tap
            context_BHTK = self.core.attend(query_BHTK, [keys], [view], name, tap, key)
        else:
            context_BHTK = attend_banded(query_BHTK, keys, span.before_B, band, key)
        last = Keys(*(ending(x, self.reach, span.length_B, axis=2) for x in self._kept(keys, before)))
        return self.core.output(join_heads(context_BHTK)), last

    def open(self, carry: Keys, max_len: int):
        return (), self._kept(carry, carry.key.shape[2])

    def step(self, x_BD: Array, t: Array, span: Span, memory: tuple[()], state: Keys):
        R = self.reach
        query_BH1K, own = self.core.project(x_BD[:, None], span.rotate)
        age_1R = ((t - 1 - jnp.arange(R)) % R + 1)[None]  # in the ring, token t - 1 stands before t % R
        views = [self._view(span, span.position_BT, at) for at in (span.position_BT - age_1R, span.position_BT)]
        context_BH1K = self.core.attend(query_BH1K, [state, own], views, "", Tapper(None, ()), None)
        return self.core.output(join_heads(context_BH1K))[:, 0], state.write(own, t % R)

    def _kept(self, keys: Keys, before: int) -> Keys:
        """Keys that have R in front, where `before` of them stand."""
        return Keys(*(jnp.pad(x, [(0, 0), (0, 0), (self.reach - before, 0), (0, 0)]) for x in keys))

    def _view(self, span: Span, query_at_BT: Int[Array, "#B T"], key_at_BS: Int[Array, "#B S"]) -> View:
        """What is visible, by where queries and keys stand. Keys from before the first token are none."""
        key_at_B1S = key_at_BS[:, None]
        distance_BTS = query_at_BT[:, :, None] - key_at_B1S
        seen_BTS = (distance_BTS >= 0) & (distance_BTS <= self.reach) & (distance_BTS % self.dilation == 0)
        return View.of(seen_BTS & (key_at_B1S >= 0), span.positions, query_at_BT, key_at_BS)


class StridedAttention(LocalAttention):
    """The same over every r-th token. With windows of r tokens in the layer before, two layers see all of the last
    w r tokens (Child et al. 2019, section 4.2, in layers that take turns)."""

    name, usual_window, usual_dilation = "strided_attention", 16, 16
