"""Softmax attention to the last tokens only, or to every so many-th of them (Child et al. 2019, Beltagy et al. 2020).

Dims: B batch, T queries, S keys, H heads of keys, K head width, D model width, N blocks, w window, r dilation.
"""

import jax
import jax.numpy as jnp

from models.attention import ATTENTION, Keys, SelfAttention, View, check_heads, join_heads, scores_of
from models.dropout import dropout, fold
from models.mixers.mixer import Mixer, Span
from models.options import Option, count
from models.padding import ending
from models.shapes import Array, Float, Int, Key
from models.taps import Tapper


class OwnKeys(Tapper):
    """Taps of the weights on a call's own keys alone, (B, H, T, T) as of other attention, after `before` others."""

    def __init__(self, tap: Tapper, before: int):
        self.tap, self.before = tap, before
        self.taps, self.captured = tap.taps, tap.captured

    def __call__(self, name, value):
        if not name.endswith("attention"):
            return self.tap(name, value)
        own = self.tap(name, value[..., self.before :])
        return jnp.concatenate([value[..., : self.before], own], axis=-1)


class LocalAttention(Mixer):
    """A query sees itself and w - 1 keys before, r tokens apart.

    Time and scores are in proportion to T w: in blocks of w queries, each of which sees its own keys and those of the
    block before. The carry is the keys of the last (w - 1) r tokens, and in decoding they lie in a ring.
    """

    taps = {"attention": (2, 3), "heads": ()}
    attends = True

    def __init__(self, config, depth, rngs):
        check_heads(config)
        self.core = SelfAttention.from_config(config, rngs)
        self.window, self.dilation = config.local_attention.window, config.local_attention.dilation

    @classmethod
    def options(cls):
        return ATTENTION | {
            "local_attention.window": Option(64, "keys that a query sees, its own too", least=2),
            "local_attention.dilation": count(1, "tokens from one of them to the next"),
        }

    @property
    def reach(self):
        return (self.window - 1) * self.dilation

    def start_carry(self, rows):
        return self.core.empty(rows, self.reach)

    def __call__(self, x_BTD, span, carry, *, name, tap, key=None):
        T, R = x_BTD.shape[1], self.reach
        query_BHTK, own = self.core.project(x_BTD, span.rotate)
        keys = Keys(*(jnp.concatenate(pair, axis=2) for pair in zip(carry, own, strict=True)))
        if tap.taps or T <= 2 * R:  # all scores, most of which are not visible
            at_BS = span.before_B[:, None] - R + jnp.arange(R + T)
            view = self._view(span, span.position_BT, at_BS)
            context_BHTK = self.core.attend(query_BHTK, [keys], [view], name, OwnKeys(tap, R) if tap.taps else tap, key)
        else:
            context_BHTK = self._in_blocks(query_BHTK, keys, span, key)
        return self.core.output(join_heads(context_BHTK)), Keys(*(ending(x, R, span.length_B, axis=2) for x in keys))

    def step(self, x_BD, t, span, memory, state):
        R = self.reach
        query_BH1K, own = self.core.project(x_BD[:, None], span.rotate)
        age_1R = ((t - 1 - jnp.arange(R)) % R + 1)[None]  # in the ring, token t - 1 stands before t % R
        views = [self._view(span, span.position_BT, at) for at in (span.position_BT - age_1R, span.position_BT)]
        context_BH1K = self.core.attend(query_BH1K, [state, own], views, "", Tapper(None, ()), None)
        return self.core.output(join_heads(context_BH1K))[:, 0], state.write(own, t % R)

    def _view(self, span: Span, query_at_BT: Int[Array, "#B T"], key_at_BS: Int[Array, "#B S"]) -> View:
        """What is visible, by where queries and keys stand. Keys from before the first token are none."""
        key_at_B1S = key_at_BS[:, None]
        distance_BTS = query_at_BT[:, :, None] - key_at_B1S
        seen_BTS = (distance_BTS >= 0) & (distance_BTS <= self.reach) & (distance_BTS % self.dilation == 0)
        return View(seen_BTS & (key_at_B1S >= 0), span.positions.bias(query_at_BT, key_at_BS))

    def _in_blocks(
        self, query_BHTK: Float[Array, "B H T K"], keys: Keys, span: Span, key: Key[Array, ""] | None
    ) -> Float[Array, "B H T K"]:
        """Block by block of queries, whose scores are computed anew in the backward pass. Tokens r apart are rows.

        Weights are divided by their sum after the product with the values, which is smaller than they are.
        """
        B, H, T, K = query_BHTK.shape
        w, r = self.window, self.dilation
        N = -(-T // (w * r))
        more = N * w * r - T

        def blocks(x_BHTK: Array, front: int) -> Array:
            """(N, B r, H, w, K)"""
            x_BHTK = jnp.pad(x_BHTK, [(0, 0), (0, 0), (front, more), (0, 0)])
            x_BHNwrK = x_BHTK.reshape(B, x_BHTK.shape[1], -1, w, r, K)
            return x_BHNwrK.transpose(2, 0, 4, 1, 3, 5).reshape(-1, B * r, x_BHTK.shape[1], w, K)

        first_Br1 = jnp.broadcast_to(span.before_B[:, None, None], (B, 1, 1)) + jnp.arange(r)[:, None]
        offset_Bw = (first_Br1 + r * jnp.arange(w)).reshape(B * r, w)
        own_ww = jnp.tri(w, dtype=bool)[None]  # what is visible of one's own block; the rest is, of the one before

        @jax.checkpoint
        def of_block(before: Keys, at: tuple[Array, Array, Keys]) -> tuple[Keys, Array]:
            n, query, own = at
            at_Bw = offset_Bw + n * w * r
            query, both = query * self.core.scale, [self.core.for_heads(block) for block in (before, own)]
            seen = [~own_ww & (at_Bw[:, None] >= w * r), own_ww]
            views = [
                View(visible, span.positions.bias(at_Bw, key_at_Bw))
                for visible, key_at_Bw in zip(seen, (at_Bw - w * r, at_Bw), strict=True)
            ]
            scores = [
                jnp.where(view.visible[:, None], scores_of(query, block, view), -1e30)
                for block, view in zip(both, views, strict=True)
            ]
            top = jax.lax.stop_gradient(jnp.maximum(*(part.max(-1, keepdims=True) for part in scores)))
            context, total = jnp.zeros(()), jnp.zeros(())
            for number, (part, block) in enumerate(zip(scores, both, strict=True)):
                weights = jnp.exp(part - top)
                total += weights.sum(-1, keepdims=True)
                weights = dropout(weights, self.core.dropout_rate, fold(key, 2 * n + number)).astype(query.dtype)
                context += jnp.einsum("BHts,BHsK->BHtK", weights, block.value)
            return own, (context / total).astype(query.dtype)

        key_N, value_N = (blocks(x, r) for x in keys)  # a block from before, and then N
        xs = (jnp.arange(N), blocks(query_BHTK, 0), Keys(key_N[1:], value_N[1:]))
        _, context_NBHwK = jax.lax.scan(of_block, Keys(key_N[0], value_N[0]), xs)
        context_BHNwrK = context_NBHwK.reshape(N, B, r, H, w, K).transpose(1, 3, 0, 4, 2, 5)
        return context_BHNwrK.reshape(B, H, N * w * r, K)[:, :, :T]
