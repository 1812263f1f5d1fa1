"""Softmax attention in two levels: to the tokens of one's own block, and to a summary of each whole block before.

It is the local and the memory-compressed attention of Liu et al. 2018 (section 4.2.5) in one softmax, with means for
summaries. Time and scores are in proportion to T (w + T / w).

Dims: B batch, T tokens, G heads of keys, K head width (of values V), D model width, w block, N blocks that a chunk
lies in, M blocks summarised before it, U = N w.
"""

from typing import NamedTuple

import jax.numpy as jnp
from flax import nnx
from ml_collections import ConfigDict

from models.attention import ATTENTION, Keys, SelfAttention, View, check_heads, gated, join_heads
from models.mixers.mixer import Mixer, Span
from models.options import count
from models.shapes import Array, Int
from models.taps import Tapper

NO_TAPS = Tapper(None, ())  # the weights are not (T, T), so they are not shown


class Levels(NamedTuple):
    """What was read before: tokens of the block that is not full, each at its place in it, and the means of others."""

    block: Keys  # (B, G, w, K)
    means: Keys  # (B, G, M, K)


class HierarchicalAttention(Mixer):
    """A query sees w tokens or fewer and T / w means of keys and values, which stand where their blocks end."""

    taps = {"heads": ()}
    attends = True

    def __init__(self, config: ConfigDict, depth: int, rngs: nnx.Rngs):
        check_heads(config)
        self.core = SelfAttention.from_config(config, rngs)
        self.size = config.hierarchical_attention.block_size

    @classmethod
    def options(cls):
        return ATTENTION | {"hierarchical_attention.block_size": count(64, "tokens that are summarised together")}

    def start_carry(self, rows: int) -> Levels:
        return Levels(self.core.empty(rows, self.size), self.core.empty(rows, 0))

    def __call__(self, x_BTD: Array, span: Span, carry: Levels, *, name: str, tap: Tapper, key: Array | None = None):
        (B, T, _), w, M = x_BTD.shape, self.size, carry.means.key.shape[2]
        query_BHTK, own = self.core.project(x_BTD, span.rotate)
        begun_B, offset_B = jnp.broadcast_to(span.before_B // w, B), jnp.broadcast_to(span.before_B % w, B)
        N = -(-(T + w - 1) // w)  # of a chunk that begins anywhere in a block
        at_BU = jnp.arange(N * w) - offset_B[:, None]  # which token stands at each place of the blocks
        query = pick(query_BHTK, jnp.clip(at_BU, 0, T - 1))
        block = Keys(
            *(
                pick(
                    jnp.concatenate(pair, axis=2),
                    jnp.clip(jnp.where(at_BU < 0, at_BU + offset_B[:, None], at_BU + w), 0, w + T - 1),
                )
                for pair in zip(carry.block, own, strict=True)
            )
        )
        new = Keys(*(x.reshape(B, -1, N, w, x.shape[3]).mean(3) for x in block))
        context_BHUK = self._attend(query, block, carry.means, new, begun_B, span, key)
        context_BHTK = gated(pick(context_BHUK, jnp.arange(T) + offset_B[:, None]), f"{name}heads", tap)

        read_B = offset_B + (T if span.length_B is None else span.length_B)
        last = Keys(*(pick(x, jnp.minimum(read_B[:, None] // w * w + jnp.arange(w), N * w - 1)) for x in block))
        number_M = jnp.arange(M + N)
        place_BM = jnp.where(
            number_M < begun_B[:, None], number_M, jnp.minimum(M + number_M - begun_B[:, None], M + N - 1)
        )
        means = Keys(*(pick(jnp.concatenate(pair, axis=2), place_BM) for pair in zip(carry.means, new, strict=True)))
        return self.core.output(join_heads(context_BHTK)), Levels(last, means)

    def _attend(
        self, query: Array, block: Keys, old: Keys, new: Keys, begun_B: Array, span: Span, key: Array | None
    ) -> Array:
        """Each block of queries is a row: it sees its own tokens, and the means of the blocks before."""
        (B, H, U, _), w = query.shape, self.size
        N, M = U // w, old.key.shape[2]

        def rows(x: Array) -> Array:
            return x.reshape(B, x.shape[1], N, w, -1).swapaxes(1, 2).reshape(B * N, x.shape[1], w, x.shape[3])

        def each(x: Array) -> Array:
            return jnp.repeat(x, N, axis=0)

        number_N = jnp.tile(jnp.arange(N), B)
        begun = each(begun_B)
        at_Bw = (begun + number_N)[:, None] * w + jnp.arange(w)
        own = View.of(jnp.tri(w, dtype=bool)[None], span.positions, at_Bw, at_Bw)
        ends_BN = (begun[:, None] + jnp.arange(N) + 1) * w - 1
        before = View.of((jnp.arange(N) < number_N[:, None])[:, None], span.positions, at_Bw, ends_BN)
        blocks, views = [Keys(*map(each, new)), Keys(*map(rows, block))], [before, own]
        if M:
            blocks, views = [Keys(*map(each, old)), *blocks], [self._means(M, begun, at_Bw, span), *views]
        context = self.core.attend(rows(query), blocks, views, "", NO_TAPS, key)
        return context.reshape(B, N, H, w, -1).swapaxes(1, 2).reshape(B, H, U, context.shape[3])

    def _means(self, M: int, whole_B: Array, at_BT: Array, span: Span, first_B: Array | int = 0) -> View:
        """A view of M means, the first `whole_B` of which are there, beginning with block `first_B`."""
        ends_BM = (jnp.reshape(first_B, (-1, 1)) + jnp.arange(M) + 1) * self.size - 1
        return View.of((jnp.arange(M) < whole_B[:, None])[:, None], span.positions, at_BT, ends_BM)

    def open(self, carry: Levels, max_len: int):
        rows, room = len(carry.block.key), -(-(max_len + self.size - 1) // self.size)
        return carry.means, Levels(carry.block, self.core.empty(rows, room))

    def step(self, x_BD: Array, t: Array, span: Span, memory: Keys, state: Levels):
        w, now_B = self.size, span.before_B
        query, own = self.core.project(x_BD[:, None], span.rotate)
        slot_B, begun_B = now_B % w, (now_B - t) // w
        block = Keys(*(put(x, new, slot_B) for x, new in zip(state.block, own, strict=True)))
        at_Bw = (now_B - slot_B)[:, None] + jnp.arange(w)
        whole_B = now_B // w - begun_B  # since decoding began
        blocks = [state.means, block]
        views = [
            self._means(state.means.key.shape[2], whole_B, span.position_BT, span, begun_B),
            View.of((jnp.arange(w) <= slot_B[:, None])[:, None], span.positions, span.position_BT, at_Bw),
        ]
        if M := memory.key.shape[2]:
            blocks, views = [memory, *blocks], [self._means(M, begun_B, span.position_BT, span), *views]
        y_BH1K = self.core.attend(query, blocks, views, "", NO_TAPS, None)
        nowhere = state.means.key.shape[2]
        full_B = jnp.where(slot_B == w - 1, whole_B, nowhere)  # unless this token fills the block
        means = Keys(*(put(x, y.mean(2, keepdims=True), full_B) for x, y in zip(state.means, block, strict=True)))
        return self.core.output(join_heads(y_BH1K))[:, 0], Levels(block, means)


def pick(x_BGSK: Array, place_BU: Int[Array, "B U"]) -> Array:
    """The tokens at these places."""
    return jnp.take_along_axis(x_BGSK, place_BU[:, None, :, None], axis=2)


def put(x_BGSK: Array, new_BG1K: Array, slot_B: Int[Array, "B"]) -> Array:
    """x with another token at one place of each row, or nowhere where that lies behind its end.

    A scatter, since a choice for every place would be fused with what makes the token, and turn it (rotary) S times.
    """
    return x_BGSK.at[jnp.arange(len(x_BGSK)), :, slot_B].set(new_BG1K[:, :, 0].astype(x_BGSK.dtype), mode="drop")
