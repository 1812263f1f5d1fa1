"""Recurrent cells: tanh RNN, LSTM and GRU, each an input projection and a recurrent update.

What depends on the input alone, `project(x)`, is one matmul for all time steps; what depends on the
state, `step(carry, projected)`, is all that a scan repeats. Gates are fused in one kernel, in PyTorch's
order, so that weights can be taken over. Parameters and carry are float32; `dtype` is that of matmuls.

Dims: B batch, D input width, H hidden width, G = gates * H; `...` any leading axes.
"""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from models.layers import glorot
from models.scan import Dense, multiply
from models.shapes import Array, Float

Carry = tuple[Array, ...]  # arrays of (B, H), parallel to `Cell.parts`; the first is the output


class Cell(nnx.Module):
    """Base of the cells: fused parameters and everything but the update."""

    gates: ClassVar[int] = 1
    parts: ClassVar[tuple[str, ...]] = ("hidden",)

    def __init__(
        self, in_size: int, hidden_size: int, *, recurrent_scale: float = 1.0, dtype: Any = jnp.float32, rngs: nnx.Rngs
    ):
        """Glorot uniform input kernels; orthogonal recurrent ones times `recurrent_scale`; gate by gate."""
        orthogonal = nnx.initializers.orthogonal(recurrent_scale)

        def fused(init, rows: int) -> nnx.Param:
            blocks = [init(rngs.params(), (rows, hidden_size), jnp.float32) for _ in range(self.gates)]
            return nnx.Param(jnp.concatenate(blocks, axis=1))

        self.input_kernel = fused(glorot, in_size)
        self.recurrent_kernel = fused(orthogonal, hidden_size)
        self.bias = nnx.Param(jnp.zeros(self.gates * hidden_size, jnp.float32))
        self.hidden_size = hidden_size
        self.dtype = dtype

    @classmethod
    def from_config(cls, config: Any, in_size: int, rngs: nnx.Rngs) -> "Cell":
        return cls(
            in_size,
            config.hidden_size,
            recurrent_scale=config.recurrent_scale,
            dtype=jnp.dtype(config.dtype),
            rngs=rngs,
        )

    @classmethod
    def expected_params(cls, in_size: int, hidden_size: int) -> int:
        return cls.gates * hidden_size * (in_size + hidden_size + 1)

    @staticmethod
    def update(projected_BG: Array, recurrent_BG: Array, carry: Carry) -> Carry:
        """The next carry from the input's and the state's share of the gates; elementwise."""
        raise NotImplementedError

    def recurrent(self) -> Dense:
        """The recurrent map in the dtype of the computation."""
        return Dense(self.recurrent_kernel[...].astype(self.dtype))

    def inputs(self, first: int = 0, last: int | None = None, *, bias: bool = True) -> Dense:
        """The input map's rows `first` to `last` in the dtype of the computation."""
        kernel = self.input_kernel[first:last].astype(self.dtype)
        return Dense(kernel, self.bias[...] if bias else None)

    def project(self, *inputs: Float[Array, "... D"]) -> Float[Array, "... G"]:
        """The input's share of the gates, of `inputs` side by side; each may broadcast along time."""
        projected, row = self.bias[...], 0
        for x in inputs:
            projected = projected + multiply(x, self.inputs(row, row + x.shape[-1], bias=False))
            row += x.shape[-1]
        return projected.astype(self.dtype)

    def zeros(self, batch: int) -> Carry:
        wide = jnp.promote_types(self.dtype, jnp.float32)
        return tuple(jnp.zeros((batch, self.hidden_size), wide) for _ in self.parts)

    def step(self, carry: Carry, projected_BG: Float[Array, "B G"]) -> Carry:
        return self.update(projected_BG, multiply(carry[0], self.recurrent()), carry)


class TanhCell(Cell):
    """h_t = tanh(x_t W + b + h_{t-1} U)  (Elman 1990)."""

    @staticmethod
    def update(projected_BG, recurrent_BG, carry):
        return (jnp.tanh(projected_BG + recurrent_BG),)


class LSTMCell(Cell):
    """Gates i, f, g, o of x_t W + b + h_{t-1} U  (Hochreiter & Schmidhuber 1997; Gers et al. 2000):

        c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g),    h_t = sigmoid(o) tanh(c_t)

    The forget gate's bias starts at `forget_bias`, or, with a longest dependency `chrono_length` = T,
    at log(u), u uniform in [1, T - 1], and the input gate's at its negative, so that the gates' time
    scales spread up to T (chrono initialisation, Tallec & Ollivier 2018, equation 16).
    """

    gates = 4
    parts = ("hidden", "cell")

    def __init__(
        self,
        in_size: int,
        hidden_size: int,
        *,
        forget_bias: float = 1.0,
        chrono_length: int = 0,
        recurrent_scale: float = 1.0,
        dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
    ):
        super().__init__(in_size, hidden_size, recurrent_scale=recurrent_scale, dtype=dtype, rngs=rngs)
        if chrono_length and chrono_length < 3:
            raise ValueError(f"model.chrono_length = {chrono_length} leaves no range for the biases; use 0 (off) or 3")
        forget, keep = jnp.full(hidden_size, forget_bias, jnp.float32), jnp.zeros(hidden_size, jnp.float32)
        if chrono_length:
            forget = jnp.log(jax.random.uniform(rngs.params(), (hidden_size,), minval=1.0, maxval=chrono_length - 1.0))
            keep = -forget
        self.bias[...] = self.bias[...].at[: 2 * hidden_size].set(jnp.concatenate([keep, forget]))

    @classmethod
    def from_config(cls, config, in_size, rngs):
        return cls(
            in_size,
            config.hidden_size,
            forget_bias=config.forget_bias,
            chrono_length=config.chrono_length,
            recurrent_scale=config.recurrent_scale,
            dtype=jnp.dtype(config.dtype),
            rngs=rngs,
        )

    @staticmethod
    def update(projected_BG, recurrent_BG, carry):
        enter, forget, candidate, leave = jnp.split(projected_BG + recurrent_BG, 4, axis=-1)
        cell = jax.nn.sigmoid(forget) * carry[1] + jax.nn.sigmoid(enter) * jnp.tanh(candidate)
        return jax.nn.sigmoid(leave) * jnp.tanh(cell), cell


class GRUCell(Cell):
    """The GRU of cuDNN and PyTorch, reset after the matmul  (Cho et al. 2014a, in the form of v3):

    r, z = sigmoid(x_t W_rz + b_rz + h_{t-1} U_rz)
    n    = tanh(x_t W_n + b_n + r * (h_{t-1} U_n + b'_n))
    h_t  = (1 - z) n + z h_{t-1}
    """

    gates = 3

    def __init__(self, in_size: int, hidden_size: int, **settings: Any):
        super().__init__(in_size, hidden_size, **settings)
        self.candidate_bias = nnx.Param(jnp.zeros(hidden_size, jnp.float32))

    @classmethod
    def expected_params(cls, in_size, hidden_size):
        return super().expected_params(in_size, hidden_size) + hidden_size

    def recurrent(self):
        kernel, _ = super().recurrent()
        return Dense(kernel, jnp.pad(self.candidate_bias[...], (2 * self.hidden_size, 0)))

    @staticmethod
    def update(projected_BG, recurrent_BG, carry):
        reset_x, update_x, candidate_x = jnp.split(projected_BG, 3, axis=-1)
        reset_h, update_h, candidate_h = jnp.split(recurrent_BG, 3, axis=-1)
        keep = jax.nn.sigmoid(update_x + update_h)
        candidate = jnp.tanh(candidate_x + jax.nn.sigmoid(reset_x + reset_h) * candidate_h)
        return (candidate + keep * (carry[0] - candidate),)
