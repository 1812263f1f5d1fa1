"""The convolution of a few tokens that stands before a recurrence: causal, of each channel alone.

Dims: B batch, T tokens, D channels, k taps of the kernel.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from models.padding import ending
from models.shapes import Array, Float, Int


class ShortConv(nnx.Module):
    """silu(sum over i < k of u_i * x_{t - i} + b). The carry is the k - 1 inputs before."""

    def __init__(self, size: int, kernel_size: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        bound = kernel_size**-0.5
        kernel = jax.random.uniform(rngs.params(), (kernel_size, size), minval=-bound, maxval=bound)
        self.kernel = nnx.Param(kernel)  # oldest first
        self.bias = nnx.Param(jnp.zeros(size, jnp.float32))
        self.dtype = dtype

    def start_carry(self, rows: int) -> Float[Array, "B N D"]:
        return jnp.zeros((rows, self.kernel.shape[0] - 1, self.kernel.shape[1]), self.dtype)

    def __call__(
        self, x_BTD: Float[Array, "B T D"], carry_BND: Float[Array, "B N D"], length_B: Int[Array, "#B"] | None = None
    ) -> tuple[Float[Array, "B T D"], Float[Array, "B N D"]]:
        """(y, carry); `length_B` is how many tokens of each row are real, None: all."""
        T, kernel_kD = x_BTD.shape[1], self.kernel[...].astype(self.dtype)
        both_BND = jnp.concatenate([carry_BND, x_BTD.astype(self.dtype)], axis=1)
        total_BTD = sum(both_BND[:, i : i + T] * u_D for i, u_D in enumerate(kernel_kD)) + self.bias[...]
        return jax.nn.silu(total_BTD).astype(self.dtype), ending(both_BND, carry_BND.shape[1], length_B)

    def step(
        self, x_BD: Float[Array, "B D"], state_BND: Float[Array, "B N D"]
    ) -> tuple[Float[Array, "B D"], Float[Array, "B N D"]]:
        y_B1D, state_BND = self(x_BD[:, None], state_BND)
        return y_B1D[:, 0], state_BND
