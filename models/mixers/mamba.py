"""Mamba: a state space whose rates, inputs and outputs are chosen by what is read (Gu & Dao 2023).

Dims: B batch, T tokens, D model width, E inner width, N state of each channel, R rank.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from ml_collections import ConfigDict

from models.layers import Linear
from models.mixers.linear_scan import time_scale_bias, wide
from models.mixers.mixer import Mixer, Span
from models.mixers.selective_scan import Selected, selective_scan
from models.mixers.short_conv import ShortConv
from models.options import Option, count
from models.shapes import Array, Float
from models.taps import Tapper


class Held(NamedTuple):
    """The carry: inputs of the convolution, and N numbers of each channel."""

    inputs: Float[Array, "B n E"]
    state: Float[Array, "B E N"]


class Mamba(Mixer):
    """y = W (silu(z_t) * (h_t c_t + d * x_t)) + b with h_t = exp(delta_t A) h_{t-1} + delta_t x_t b_t^T.

    x and z are linear maps of what enters, x then with a short convolution; b_t, c_t and delta_t = softplus(U r_t + u),
    where r_t is of low rank, are linear maps of x_t; A = -exp(log_rate), which starts at -1, ..., -N in every channel
    (algorithm 2, section 3.4 and figure 3).
    """

    taps = {"mamba.hidden": (1,)}

    def __init__(self, config: ConfigDict, depth: int, rngs: nnx.Rngs):
        D, own, dtype = config.hidden_size, config.mamba, jnp.dtype(config.dtype)
        self.size, self.chunk, self.states = own.expansion * D, own.chunk, own.state_size
        self.rank = own.rank or -(-D // 16)
        self.core = Linear(D, 2 * self.size, use_bias=False, dtype=dtype, rngs=rngs)  # x, z
        self.conv = ShortConv(self.size, own.kernel_size, dtype=dtype, rngs=rngs)
        self.select = Linear(self.size, self.rank + 2 * self.states, use_bias=False, dtype=dtype, rngs=rngs)
        self.delta = Linear(self.rank, self.size, dtype=dtype, rngs=rngs)
        self.delta.bias = nnx.Param(time_scale_bias(rngs.params(), self.size))
        rates_N = jnp.arange(1, self.states + 1, dtype=jnp.float32)
        self.log_rate = nnx.Param(jnp.broadcast_to(jnp.log(rates_N), (self.size, self.states)))
        self.skip = nnx.Param(jnp.ones(self.size, jnp.float32))
        self.output = Linear(self.size, D, dtype=dtype, rngs=rngs)

    @classmethod
    def options(cls):
        return {
            "mamba.state_size": count(16, "numbers in the state of each channel"),
            "mamba.expansion": count(2, "channels, as a multiple of model.hidden_size"),
            "mamba.kernel_size": count(4, "tokens that the convolution sees"),
            "mamba.rank": Option(0, "rank of the map to time steps; 0: a 16th of model.hidden_size", least=0),
            "mamba.chunk": count(32, "tokens whose states the backward pass computes anew at once"),
        }

    def start_carry(self, rows: int) -> Held:
        return Held(self.conv.start_carry(rows), jnp.zeros((rows, self.size, self.states), jnp.float32))

    def __call__(self, x_BTD: Array, span: Span, carry: Held, *, name: str, tap: Tapper, key: Array | None = None):
        inner_BTE, gate_BTE = jnp.split(self.core(x_BTD), 2, axis=-1)
        inner_BTE, inputs = self.conv(inner_BTE, carry.inputs, span.length_B)
        parts = Selected(*self._parts(inner_BTE))
        if span.mask_BT is not None:
            parts = parts._replace(delta=jnp.where(span.mask_BT[..., None], parts.delta, 0))
        rate_EN = -jnp.exp(self.log_rate[...])
        mixed_BTE, state = selective_scan(parts, rate_EN, carry.state, self.chunk)
        hidden_BTE = tap(f"{name}mamba.hidden", self._gated(mixed_BTE, inner_BTE, gate_BTE))
        return self.output(hidden_BTE), Held(inputs, state)

    def step(self, x_BD: Array, t: Array, span: Span, memory: tuple[()], state: Held):
        inner_BE, gate_BE = jnp.split(self.core(x_BD), 2, axis=-1)
        inner_BE, inputs = self.conv.step(inner_BE, state.inputs)
        delta_BE, wide_BE, enter_BN, leave_BN = self._parts(inner_BE)
        keep_BEN = jnp.exp(delta_BE[..., None] * -jnp.exp(self.log_rate[...]))
        now_BEN = keep_BEN * state.state + (delta_BE * wide_BE)[..., None] * enter_BN[:, None]
        mixed_BE = jnp.einsum("BEN,BN->BE", now_BEN, leave_BN)
        return self.output(self._gated(mixed_BE, inner_BE, gate_BE)), Held(inputs, now_BEN)

    def _parts(self, inner: Float[Array, "... E"]) -> tuple[Array, ...]:
        """(delta, x, b, c) in float32."""
        low, enter, leave = jnp.split(self.select(inner), [self.rank, self.rank + self.states], axis=-1)
        delta, inner, enter, leave = wide(self.delta(low), inner, enter, leave)
        return jax.nn.softplus(delta), inner, enter, leave

    def _gated(self, mixed: Array, inner: Array, gate: Array) -> Array:
        return (mixed + self.skip[...] * inner).astype(inner.dtype) * jax.nn.silu(gate)
