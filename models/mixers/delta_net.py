"""The delta rule: a state that replaces what it holds under a key (Yang et al. 2024), and its gated form (2025).

Dims: B batch, T tokens, C tokens of a chunk (t, s), D model width, H heads, K width of keys and of values (V).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from ml_collections import ConfigDict

from models.attention import check_divides
from models.block import RMSNorm
from models.layers import Linear
from models.mixers.linear_scan import heads_of, in_chunks, joined, time_scale_bias, wide
from models.mixers.mixer import Mixer, Span
from models.mixers.short_conv import ShortConv
from models.options import Option, count
from models.shapes import Array, Float
from models.taps import Tapper


class Held(NamedTuple):
    """The carry: inputs of the convolution, and what is held under each key."""

    inputs: Float[Array, "B N D"]
    state: Float[Array, "B H K V"]


class DeltaNet(Mixer):
    """y = W norm(S_t^T q_t) + b with S_t = a_t (I - beta_t k_t k_t^T) S_{t-1} + beta_t k_t v_t^T, in every head.

    q, k and v pass a short convolution; q and k have length one; beta_t = sigmoid(w x_t) (Yang et al. 2024, section 2
    and figure 1). Gated, a_t = exp(-exp(r) softplus(u x_t + c)) and the norm is multiplied by silu(G x_t) (Yang et al.
    2025, section 3); else a_t = 1.

    S_t = a_t S_{t-1} + k_t u_t^T with u_t = beta_t (v_t - a_t S_{t-1}^T k_t). Within a chunk each u depends linearly on
    those before it: a triangular system, whose solution is the paper's WY form (section 3.2).
    """

    taps = {"delta_net.hidden": (1,)}

    def __init__(self, config: ConfigDict, depth: int, rngs: nnx.Rngs):
        D, own, dtype = config.hidden_size, config.delta_net, jnp.dtype(config.dtype)
        check_divides("delta_net.num_heads", own.num_heads, "hidden_size", D)
        self.heads, self.width, self.chunk = own.num_heads, D // own.num_heads, own.chunk
        self.core = Linear(D, 3 * D, use_bias=False, dtype=dtype, rngs=rngs)  # queries, keys, values
        self.conv = ShortConv(3 * D, own.kernel_size, dtype=dtype, rngs=rngs)
        self.write = Linear(D, self.heads, dtype=dtype, rngs=rngs)
        forget: Linear | None = None
        gate: Linear | None = None
        log_rate: nnx.Param | None = None
        if own.gated:
            forget = Linear(D, self.heads, dtype=dtype, rngs=rngs)
            forget.bias = nnx.Param(time_scale_bias(rngs.params(), self.heads))
            log_rate = nnx.Param(jnp.log(jax.random.uniform(rngs.params(), (self.heads,), minval=1.0, maxval=16.0)))
            gate = Linear(D, D, use_bias=False, dtype=dtype, rngs=rngs)
        self.forget, self.log_rate, self.gate = forget, log_rate, gate
        self.norm = RMSNorm(self.width, epsilon=1e-5)
        self.output = Linear(D, D, dtype=dtype, rngs=rngs)

    @classmethod
    def options(cls):
        return {
            "delta_net.num_heads": count(4, "heads, each with a state of its width squared"),
            "delta_net.gated": Option(False, "the input decides how the state decays, and a gate scales the output"),
            "delta_net.kernel_size": count(4, "tokens that the convolution in front of queries, keys and values sees"),
            "delta_net.chunk": count(32, "tokens that training computes at once"),
        }

    def start_carry(self, rows: int) -> Held:
        state = jnp.zeros((rows, self.heads, self.width, self.width), jnp.float32)
        return Held(self.conv.start_carry(rows), state)

    def __call__(self, x_BTD: Array, span: Span, carry: Held, *, name: str, tap: Tapper, key: Array | None = None):
        qkv_BTD, inputs = self.conv(self.core(x_BTD), carry.inputs, span.length_B)
        parts = self._parts(qkv_BTD, x_BTD)
        held_BTHV, state = in_chunks(chunk, carry.state, parts, span.mask_BT, self.chunk)
        return self._read(held_BTHV, x_BTD, lambda hidden: tap(f"{name}delta_net.hidden", hidden)), Held(inputs, state)

    def step(self, x_BD: Array, t: Array, span: Span, memory: tuple[()], state: Held):
        qkv_BD, inputs = self.conv.step(self.core(x_BD), state.inputs)
        query_BHK, key_BHK, value_BHV, write_BH, log_kept_BH = self._parts(qkv_BD, x_BD)
        kept_BHKV = jnp.exp(log_kept_BH)[..., None, None] * state.state
        new_BHV = write_BH[..., None] * (value_BHV - jnp.einsum("BHKV,BHK->BHV", kept_BHKV, key_BHK))
        now_BHKV = kept_BHKV + key_BHK[..., None] * new_BHV[..., None, :]
        return self._read(jnp.einsum("BHKV,BHK->BHV", now_BHKV, query_BHK), x_BD), Held(inputs, now_BHKV)

    def _parts(self, qkv: Float[Array, "... Q"], x: Float[Array, "... D"]) -> tuple[Array, ...]:
        """(q, k, v, beta, log a), of each head."""
        query, key, value = (heads_of(part, self.heads) for part in wide(*jnp.split(qkv, 3, axis=-1)))
        (write,) = wide(self.write(x))
        log_kept = jnp.zeros_like(write)
        if self.forget is not None and self.log_rate is not None:
            log_kept = -jnp.exp(self.log_rate[...]) * jax.nn.softplus(*wide(self.forget(x)))
        return unit(query), unit(key), value, jax.nn.sigmoid(write), log_kept

    def _read(
        self, held: Float[Array, "... H V"], x: Float[Array, "... D"], tap: Callable[[Array], Array] = lambda y: y
    ) -> Array:
        hidden = joined(self.norm(held)).astype(x.dtype)
        if self.gate is not None:
            hidden *= jax.nn.silu(self.gate(x))
        return self.output(tap(hidden))


def unit(x: Float[Array, "... K"]) -> Float[Array, "... K"]:
    return x * jax.lax.rsqrt(jnp.square(x).sum(-1, keepdims=True) + 1e-6)


def inverse(below: Float[Array, "... C C"]) -> Float[Array, "... C C"]:
    """(I + L)^-1 where L is what lies below the diagonal: of single tokens, of pairs, of fours, and so on.

    The inverse of [[P, 0], [R, Q]] is [[P', 0], [-Q' R P', Q']] with the inverses of P and Q. Unlike a sum of powers of
    L this stays exact where keys repeat, and unlike a triangular solver it is a few products for all heads at once.
    """
    place_C = jnp.arange(below.shape[-1])
    inverted, size = jnp.broadcast_to(jnp.eye(len(place_C), dtype=below.dtype), below.shape), 1
    while size < len(place_C):
        block_C = place_C // size
        joins_CC = (block_C[:, None] == block_C + 1) & (block_C % 2 == 0)
        joined = jnp.matmul(jnp.where(joins_CC, below, 0), inverted, precision="highest")
        inverted, size = inverted - jnp.matmul(inverted, joined, precision="highest"), 2 * size
    return inverted


def chunk(state_BHKV: Array, at: tuple[Array, ...], real_BC: Array):
    """(state after a chunk, S_t^T q_t). With A_t the product of a up to t, u solves

    u_t + beta_t sum over s < t of (A_t / A_s) (k_t k_s) u_s = beta_t (v_t - A_t S_0^T k_t).
    """
    query, key, value, write, log_kept = (part.swapaxes(1, 2) for part in at)  # heads before tokens
    write, log_kept = (jnp.where(real_BC[:, None], part, 0) for part in (write, log_kept))
    sums_BHC = jnp.cumsum(log_kept, axis=-1)
    causal_CC = jnp.tri(real_BC.shape[1], dtype=bool)
    decay_BHts = jnp.exp(jnp.where(causal_CC, sums_BHC[..., :, None] - sums_BHC[..., None, :], -jnp.inf))
    before_BHC1 = jnp.exp(sums_BHC)[..., None]

    known = write[..., None] * (value - before_BHC1 * jnp.einsum("BHtK,BHKV->BHtV", key, state_BHKV))
    among_BHts = write[..., None] * decay_BHts * jnp.einsum("BHtK,BHsK->BHts", key, key)
    new_BHCV = inverse(among_BHts) @ known
    held_BHCV = before_BHC1 * jnp.einsum("BHtK,BHKV->BHtV", query, state_BHKV)
    held_BHCV += jnp.einsum("BHts,BHsV->BHtV", decay_BHts * jnp.einsum("BHtK,BHsK->BHts", query, key), new_BHCV)
    last_BHs1 = jnp.exp(sums_BHC[..., -1:] - sums_BHC)[..., None]
    state_BHKV = before_BHC1[:, :, -1:] * state_BHKV + jnp.einsum("BHsK,BHsV->BHKV", last_BHs1 * key, new_BHCV)
    return state_BHKV, held_BHCV.swapaxes(1, 2)
