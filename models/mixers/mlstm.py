"""mLSTM: an LSTM whose cell is a matrix and whose input gate is exponential (Beck et al. 2024, xLSTM).

Dims: B batch, T tokens, C tokens of a chunk (t, s), D model width, H heads, K width of keys, V = K + 1.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from ml_collections import ConfigDict

from models.attention import check_divides
from models.layers import Linear
from models.mixers.linear_scan import heads_of, in_chunks, joined, wide
from models.mixers.mixer import Mixer, Span
from models.options import count
from models.shapes import Array, Float
from models.taps import Tapper

NEVER = -1e30  # logarithm of the input gate where nothing may enter


class Held(NamedTuple):
    """The carry: the cell, with the normaliser as its last column, both divided by exp(m)."""

    cell: Float[Array, "B H K V"]
    m: Float[Array, "B H"]


class MLSTM(Mixer):
    """y = W h + b with h_t = sigmoid(o_t) * C_t^T q_t / max(|n_t q_t|, 1), in every head, and

        C_t = f_t C_{t-1} + i_t k_t v_t^T,   n_t = f_t n_{t-1} + i_t k_t,   i_t = exp(w x_t),   f_t = sigmoid(u x_t)

    (section 2.3, equations 19 to 27). Cell and normaliser are kept divided by exp(m_t) with
    m_t = max(log f_t + m_{t-1}, log i_t), so that no exponential overflows (equation 15). The normaliser is a last
    column of the cell, of values that are one.
    """

    taps = {"mlstm.hidden": (1,)}

    def __init__(self, config: ConfigDict, depth: int, rngs: nnx.Rngs):
        D, own, dtype = config.hidden_size, config.mlstm, jnp.dtype(config.dtype)
        check_divides("mlstm.num_heads", own.num_heads, "hidden_size", D)
        self.heads, self.width, self.chunk = own.num_heads, D // own.num_heads, own.chunk
        self.core = Linear(D, 3 * D, dtype=dtype, rngs=rngs)  # queries, keys, values
        self.gates = Linear(D, 2 * self.heads, dtype=dtype, rngs=rngs)  # input, forget
        keep_H = jnp.linspace(3.0, 6.0, self.heads)  # the heads forget in 20 to 400 tokens
        self.gates.bias = nnx.Param(jnp.zeros(2 * self.heads).at[self.heads :].set(keep_H))
        self.leave = Linear(D, D, dtype=dtype, rngs=rngs)
        self.output = Linear(D, D, dtype=dtype, rngs=rngs)

    @classmethod
    def options(cls):
        return {
            "mlstm.num_heads": count(4, "heads, each with a cell of its width squared"),
            "mlstm.chunk": count(64, "tokens that training computes at once"),
        }

    def start_carry(self, rows: int) -> Held:
        cell = jnp.zeros((rows, self.heads, self.width, self.width + 1), jnp.float32)
        return Held(cell, jnp.zeros((rows, self.heads), jnp.float32))

    def __call__(self, x_BTD: Array, span: Span, carry: Held, *, name: str, tap: Tapper, key: Array | None = None):
        (mixed_BTHV, m_BTH), carry = in_chunks(chunk, carry, self._parts(x_BTD), span.mask_BT, self.chunk)
        hidden_BTD = self._left(x_BTD, mixed_BTHV, m_BTH)
        return self.output(tap(f"{name}mlstm.hidden", hidden_BTD)), carry

    def step(self, x_BD: Array, t: Array, span: Span, memory: tuple[()], state: Held):
        query_BHK, key_BHK, value_BHV, enter_BH, forget_BH = self._parts(x_BD)
        m_BH = jax.lax.stop_gradient(jnp.maximum(forget_BH + state.m, enter_BH))
        kept_BHKV = jnp.exp(forget_BH + state.m - m_BH)[..., None, None] * state.cell
        cell_BHKV = kept_BHKV + (jnp.exp(enter_BH - m_BH)[..., None] * key_BHK)[..., None] * value_BHV[..., None, :]
        mixed_BHV = jnp.einsum("BHKV,BHK->BHV", cell_BHKV, query_BHK)
        return self.output(self._left(x_BD, mixed_BHV, m_BH)), Held(cell_BHKV, m_BH)

    def _parts(self, x: Float[Array, "... D"]) -> tuple[Array, ...]:
        """(q, k, v with a one at its end, log i, log f), of each head."""
        query, key, value = (heads_of(part, self.heads) for part in wide(*jnp.split(self.core(x), 3, axis=-1)))
        enter, forget = wide(*jnp.split(self.gates(x), 2, axis=-1))
        value = jnp.concatenate([value, jnp.ones_like(value[..., :1])], axis=-1)
        return query, key * self.width**-0.5, value, enter, jax.nn.log_sigmoid(forget)

    def _left(self, x: Float[Array, "... D"], mixed: Float[Array, "... H V"], m: Float[Array, "... H"]) -> Array:
        """h from C^T q and n q, both divided by exp(m), as is the 1 that they are divided by at least."""
        total = jnp.maximum(jnp.abs(mixed[..., -1:]), jnp.exp(-m)[..., None])
        return joined(mixed[..., :-1] / total).astype(x.dtype) * jax.nn.sigmoid(self.leave(x))


def chunk(carry: Held, at: tuple[Array, ...], real_BC: Array):
    """(carry after a chunk, (C_t^T q_t with n_t q_t at its end, m_t)). With F_t the sum of log f up to t, what s left
    in the cell at t is i_s exp(F_t - F_s)."""
    query, key, value, enter, forget = (part.swapaxes(1, 2) for part in at)  # heads before tokens
    enter, forget = jnp.where(real_BC[:, None], enter, NEVER), jnp.where(real_BC[:, None], forget, 0)
    sums_BHC = jnp.cumsum(forget, axis=-1)
    causal_CC = jnp.tri(real_BC.shape[1], dtype=bool)
    left_BHts = jnp.where(causal_CC, sums_BHC[..., :, None] - sums_BHC[..., None, :] + enter[..., None, :], NEVER)
    before_BHC = sums_BHC + carry.m[..., None]
    m_BHC = jax.lax.stop_gradient(jnp.maximum(before_BHC, left_BHts.max(-1)))  # h is the same whatever m is
    share_BHts, share_BHC1 = jnp.exp(left_BHts - m_BHC[..., None]), jnp.exp(before_BHC - m_BHC)[..., None]

    weights_BHts = share_BHts * jnp.einsum("BHtK,BHsK->BHts", query, key)
    mixed_BHCV = jnp.einsum("BHts,BHsV->BHtV", weights_BHts, value)
    mixed_BHCV += share_BHC1 * jnp.einsum("BHtK,BHKV->BHtV", query, carry.cell)
    last_BHs1 = share_BHts[:, :, -1, :, None]
    cell_BHKV = share_BHC1[:, :, -1:] * carry.cell + jnp.einsum("BHsK,BHsV->BHKV", last_BHs1 * key, value)
    return Held(cell_BHKV, m_BHC[..., -1]), (mixed_BHCV.swapaxes(1, 2), m_BHC.swapaxes(1, 2))
