"""Recurrent cells: tanh RNN, LSTM and GRU, each an input projection and a recurrent update.

What depends on the input alone, `project(x)`, is computed for all time steps at once; what depends on the
state, `step(carry, projected)`, is all that a scan repeats. The gates' kernels stand side by side in one, in
PyTorch's order, so that weights can be taken over; the gates themselves are arrays of their own, since XLA
vectorises elementwise work on those and not on slices. Parameters and carry are float32; `dtype` is that of
matmuls. `plain(carry, x)` is the same step as its paper writes it, for a reader and for the tests, which hold the two
equal (tests/models/test_plain.py).

Dims: B batch, D input width, H hidden width, G = gates * H; `...` any leading axes.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from ml_collections import ConfigDict

from models.layers import Initializer, glorot
from models.matmul import matmul
from models.options import Option
from models.scan import Dense, Parts, linear_of
from models.shapes import Array, Float

Carry = tuple[Array, ...]  # arrays of (B, H), parallel to `Cell.parts`; the first is the output
Gates = tuple[Array, ...]  # arrays of (..., H)
Recurrent = Callable[[Parts], Gates]  # each gate of h U + b, plus an array or None


class Cell(nnx.Module):
    """Base of the cells: fused parameters and everything but the update."""

    gates: ClassVar[int] = 1
    parts: ClassVar[tuple[str, ...]] = ("hidden",)
    options: ClassVar[dict[str, Option]] = {
        "recurrent_scale": Option(1.0, "gain of the orthogonal recurrent initialisation"),
    }

    def __init__(
        self,
        in_size: int,
        hidden_size: int,
        *,
        recurrent_scale: float = 1.0,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        """Glorot uniform input kernels; orthogonal recurrent ones times `recurrent_scale`; gate by gate."""
        orthogonal = nnx.initializers.orthogonal(recurrent_scale)

        def fused(init: Initializer, rows: int) -> nnx.Param:
            blocks = [init(rngs.params(), (rows, hidden_size), jnp.float32) for _ in range(self.gates)]
            return nnx.Param(jnp.concatenate(blocks, axis=1))

        self.input_kernel = fused(glorot, in_size)
        self.recurrent_kernel = fused(orthogonal, hidden_size)
        self.bias = nnx.Param(jnp.zeros(self.gates * hidden_size, jnp.float32))
        self.hidden_size = hidden_size
        self.dtype = dtype

    @classmethod
    def from_config(cls, config: ConfigDict, in_size: int, rngs: nnx.Rngs) -> "Cell":
        return cls(
            in_size,
            config.hidden_size,
            recurrent_scale=config.recurrent_scale,
            dtype=jnp.dtype(config.dtype),
            rngs=rngs,
        )

    @staticmethod
    def update(recurrent: Recurrent, projected: Gates, carry: Carry) -> Carry:
        """The next carry from the input's share of the gates and the state's, which `recurrent` adds."""
        raise NotImplementedError

    def plain(self, carry: tuple[Float[Array, "H"], ...], x: Float[Array, "D"]) -> tuple[Float[Array, "H"], ...]:
        """The next carry of one example, as the paper writes it."""
        raise NotImplementedError

    def by_gate(self) -> list[tuple[Array, Array, Array]]:
        """(W, U, b) of each gate, of x W + h U + b."""
        kernels = (self.input_kernel[...], self.recurrent_kernel[...], self.bias[...])
        return list(zip(*(jnp.split(kernel, self.gates, axis=-1) for kernel in kernels), strict=True))

    def recurrent(self) -> Dense:
        """The recurrent map in the dtype of the computation."""
        return Dense(self.recurrent_kernel[...].astype(self.dtype))

    def inputs(self, first: int = 0, last: int | None = None, *, bias: bool = True) -> Dense:
        """The input map's rows `first` to `last` in the dtype of the computation."""
        kernel = self.input_kernel[first:last].astype(self.dtype)
        return Dense(kernel, self.bias[...] if bias else None)

    def project(self, *inputs: Float[Array, "... B D"]) -> Gates:
        """The input's share of each gate, of `inputs` side by side; each may broadcast along time."""
        wide = jnp.promote_types(self.dtype, jnp.float32)
        projected, row = jnp.split(self.bias[...], self.gates), 0
        for x in inputs:
            kernels = jnp.split(self.inputs(row, row + x.shape[-1], bias=False).kernel, self.gates, axis=1)
            for gate, kernel in enumerate(kernels):
                product = matmul(x.astype(self.dtype), kernel, batch_axis=x.ndim - 2, preferred_element_type=wide)
                projected[gate] = projected[gate] + product
            row += x.shape[-1]
        return tuple(gate.astype(self.dtype) for gate in projected)

    def zeros(self, batch: int) -> Carry:
        wide = jnp.promote_types(self.dtype, jnp.float32)
        return tuple(jnp.zeros((batch, self.hidden_size), wide) for _ in self.parts)

    def step(self, carry: Carry, projected: Gates) -> Carry:
        linear = linear_of({"recurrent": self.recurrent()})
        return self.update(partial(linear, "recurrent", carry[0]), projected, carry)


class TanhCell(Cell):
    """h_t = tanh(x_t W + b + h_{t-1} U)  (Elman 1990)."""

    def plain(self, carry: Carry, x: Array):
        """Goodfellow et al. 2016, equations 10.8 and 10.9."""
        (h,) = carry
        ((W, U, b),) = self.by_gate()
        return (jnp.tanh(x @ W + h @ U + b),)

    @staticmethod
    def update(recurrent: Recurrent, projected: Gates, carry: Carry):
        (total,) = recurrent(projected)
        return (jnp.tanh(total),)


class LSTMCell(Cell):
    """Gates i, f, g, o of x_t W + b + h_{t-1} U  (Hochreiter & Schmidhuber 1997; Gers et al. 2000):

        c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g),    h_t = sigmoid(o) tanh(c_t)

    The forget gate's bias starts at `forget_bias`, or, with a longest dependency `chrono_length` = T,
    at log(u), u uniform in [1, T - 1], and the input gate's at its negative, so that the gates' time
    scales spread up to T (chrono initialisation, Tallec & Ollivier 2018, equation 16).
    """

    gates = 4
    parts = ("hidden", "cell")
    options = Cell.options | {
        "forget_bias": Option(1.0, "bias of the forget gate at the start"),
        "chrono_length": Option(0, "longest dependency, for chrono initialisation; 0: off", least=0),
        "backend": Option(
            "scan", "cudnn: a layer in one call, on an NVIDIA GPU, in float32", choices=("scan", "cudnn")
        ),
    }

    def __init__(
        self,
        in_size: int,
        hidden_size: int,
        *,
        forget_bias: float = 1.0,
        chrono_length: int = 0,
        recurrent_scale: float = 1.0,
        dtype: DTypeLike = jnp.float32,
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
    def from_config(cls, config: ConfigDict, in_size: int, rngs: nnx.Rngs):
        return cls(
            in_size,
            config.hidden_size,
            forget_bias=config.forget_bias,
            chrono_length=config.chrono_length,
            recurrent_scale=config.recurrent_scale,
            dtype=jnp.dtype(config.dtype),
            rngs=rngs,
        )

    def plain(self, carry: Carry, x: Array):
        """Graves 2013, equations 7 to 11, without what the gates read of the cell."""
        h, c = carry
        (W_i, U_i, b_i), (W_f, U_f, b_f), (W_g, U_g, b_g), (W_o, U_o, b_o) = self.by_gate()
        i = jax.nn.sigmoid(x @ W_i + h @ U_i + b_i)
        f = jax.nn.sigmoid(x @ W_f + h @ U_f + b_f)
        g = jnp.tanh(x @ W_g + h @ U_g + b_g)
        o = jax.nn.sigmoid(x @ W_o + h @ U_o + b_o)
        c = f * c + i * g
        return o * jnp.tanh(c), c

    @staticmethod
    def update(recurrent: Recurrent, projected: Gates, carry: Carry):
        enter, forget, candidate, leave = recurrent(projected)
        cell = jax.nn.sigmoid(forget) * carry[1] + jax.nn.sigmoid(enter) * jnp.tanh(candidate)
        return jax.nn.sigmoid(leave) * jnp.tanh(cell), cell


class GRUCell(Cell):
    """The GRU of cuDNN and PyTorch, reset after the matmul  (Cho et al. 2014a, in its first version):

    r, z = sigmoid(x_t W_rz + b_rz + h_{t-1} U_rz)
    n    = tanh(x_t W_n + b_n + r * (h_{t-1} U_n + b'_n))
    h_t  = (1 - z) n + z h_{t-1}
    """

    gates = 3

    def __init__(self, in_size: int, hidden_size: int, **settings: Any):
        super().__init__(in_size, hidden_size, **settings)
        self.candidate_bias = nnx.Param(jnp.zeros(hidden_size, jnp.float32))

    def plain(self, carry: Carry, x: Array):
        """Cho et al. 2014a (arXiv 1406.1078v1), section 2.3; later versions reset h before the matmul."""
        (h,) = carry
        (W_r, U_r, b_r), (W_z, U_z, b_z), (W_n, U_n, b_n) = self.by_gate()
        r = jax.nn.sigmoid(x @ W_r + h @ U_r + b_r)
        z = jax.nn.sigmoid(x @ W_z + h @ U_z + b_z)
        n = jnp.tanh(x @ W_n + b_n + r * (h @ U_n + self.candidate_bias[...]))
        return ((1 - z) * n + z * h,)

    def recurrent(self):
        kernel, _ = super().recurrent()
        return Dense(kernel, jnp.pad(self.candidate_bias[...], (2 * self.hidden_size, 0)))

    @staticmethod
    def update(recurrent: Recurrent, projected: Gates, carry: Carry):
        reset_x, update_x, candidate_x = projected
        reset, update, candidate_h = recurrent((reset_x, update_x, None))
        keep = jax.nn.sigmoid(update)
        candidate = jnp.tanh(candidate_x + jax.nn.sigmoid(reset) * candidate_h)
        return (candidate + keep * (carry[0] - candidate),)
