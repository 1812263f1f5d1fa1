"""minGRU and minLSTM: gates that see the current token alone, so that all states are one scan (Feng et al. 2024).

Dims: B batch, T tokens, D model width, H state width.
"""

from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from ml_collections import ConfigDict

from models.layers import Linear
from models.mixers.linear_scan import linear_scan, wide
from models.mixers.mixer import Mixer, Span
from models.options import Option, count
from models.shapes import Array, Float
from models.taps import Tapper


class Minimal(Mixer):
    """y = W h + b with h_t = a_t h_{t-1} + b_t, where a_t and b_t are functions of x_t.

    What enters is g of the candidate, which is positive (Feng et al. 2024, appendix B): g(x) = x + 0.5 from zero on and
    sigmoid(x) below. The paper needs it to scan logarithms, since it divides by products of a. The scan here does not
    divide, so it gives the same states without them.
    """

    group: ClassVar[str]
    gates: ClassVar[int]

    def __init__(self, config: ConfigDict, depth: int, rngs: nnx.Rngs):
        D, own, dtype = config.hidden_size, config[self.group], jnp.dtype(config.dtype)
        self.size = own.expansion * D
        self.core = Linear(D, (self.gates + 1) * self.size, dtype=dtype, rngs=rngs)  # the gates, then the candidate
        sign = -1.0 if self.gates == 1 else 1.0  # the first gate lets in, or keeps
        size = (self.gates + 1) * self.size
        self.core.bias = nnx.Param(jnp.zeros(size).at[: self.size].set(sign * own.forget_bias))
        self.output = Linear(self.size, D, dtype=dtype, rngs=rngs)

    @classmethod
    def options(cls):
        return {
            f"{cls.group}.expansion": count(1, "width of the state, as a multiple of model.hidden_size"),
            f"{cls.group}.forget_bias": Option(0.0, "bias towards keeping the state, at the start"),
        }

    def start_carry(self, rows: int) -> Array:
        return jnp.zeros((rows, self.size), jnp.float32)

    def __call__(self, x_BTD: Array, span: Span, carry: Array, *, name: str, tap: Tapper, key: Array | None = None):
        h_BTH, carry = linear_scan(*self.gated(*self._projected(x_BTD)), carry, span.mask_BT)
        return self.output(tap(f"{name}{self.group}.hidden", h_BTH.astype(x_BTD.dtype))), carry

    def step(self, x_BD: Array, t: Array, span: Span, memory: tuple[()], state: Array):
        keep_BH, enter_BH = self.gated(*self._projected(x_BD))
        state = keep_BH * state + enter_BH
        return self.output(state.astype(x_BD.dtype)), state

    def _projected(self, x: Float[Array, "... D"]) -> tuple[Array, ...]:
        return wide(*jnp.split(self.core(x), self.gates + 1, axis=-1))

    @staticmethod
    def gated(*projected: Array) -> tuple[Array, Array]:
        """(a, b) from the gates' and the candidate's pre-activations."""
        raise NotImplementedError


def positive(x: Array) -> Array:
    """g of Feng et al. 2024, listing 6."""
    return jnp.where(x >= 0, x + 0.5, jax.nn.sigmoid(x))


class MinGRU(Minimal):
    """h_t = (1 - z_t) h_{t-1} + z_t g(W_h x_t + b_h) with z_t = sigmoid(W_z x_t + b_z)  (section 3.1)."""

    group, gates = "min_gru", 1
    taps = {"min_gru.hidden": (1,)}

    @staticmethod
    def gated(*projected: Array) -> tuple[Array, Array]:
        z, candidate = projected
        return jax.nn.sigmoid(-z), jax.nn.sigmoid(z) * positive(candidate)


class MinLSTM(Minimal):
    """h_t = (f_t h_{t-1} + i_t g(W_h x_t + b_h)) / (f_t + i_t) with f and i sigmoids of x_t  (section 3.2)."""

    group, gates = "min_lstm", 2
    taps = {"min_lstm.hidden": (1,)}

    @staticmethod
    def gated(*projected: Array) -> tuple[Array, Array]:
        forget, enter, candidate = projected
        more = jax.nn.softplus(-enter) - jax.nn.softplus(-forget)  # log f - log i
        return jax.nn.sigmoid(more), jax.nn.sigmoid(-more) * positive(candidate)
