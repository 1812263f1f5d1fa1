"""A causal convolution, dilated more and more from layer to layer (Bai et al. 2018).

Dims: B batch, T tokens, N tokens kept, D model width, k taps of the kernel.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from ml_collections import ConfigDict

from models.layers import Linear
from models.mixers.mixer import Mixer, Span
from models.options import Option, count
from models.padding import ending
from models.shapes import Array
from models.taps import Tapper


class Conv(Mixer):
    """y = W relu(h) + b with h_t = sum over i < k of U_i x_{t - i d} + c  (Bai et al. 2018, equation 1).

    The dilation d is `conv.dilation` to the power of the number of convolutions below. The carry is the last (k - 1) d
    inputs, zeros at the start; in decoding they lie in a ring, of which a step writes one.
    """

    taps = {"conv.hidden": (1,)}

    def __init__(self, config: ConfigDict, depth: int, rngs: nnx.Rngs):
        D, dtype = config.hidden_size, jnp.dtype(config.dtype)
        self.width, self.kernel_size, self.dtype = D, config.conv.kernel_size, dtype
        self.dilation = config.conv.dilation**depth
        self.core = Linear(
            self.kernel_size * D, D, dtype=dtype, rngs=rngs
        )  # of the k inputs side by side, oldest first
        self.output = Linear(D, D, dtype=dtype, rngs=rngs)

    @classmethod
    def options(cls):
        return {
            "conv.kernel_size": Option(3, "inputs that an output of one convolution sees", least=2),
            "conv.dilation": count(2, "factor by which they lie further apart in each next convolution"),
        }

    @property
    def reach(self):
        return (self.kernel_size - 1) * self.dilation

    def start_carry(self, rows: int) -> Array:
        return jnp.zeros((rows, self.reach, self.width), self.dtype)

    def __call__(self, x_BTD: Array, span: Span, carry: Array, *, name: str, tap: Tapper, key: Array | None = None):
        T = x_BTD.shape[1]
        both_BND = jnp.concatenate([carry, x_BTD.astype(self.dtype)], axis=1)
        inputs = [both_BND[:, i * self.dilation : i * self.dilation + T] for i in range(self.kernel_size)]
        hidden_BTD = tap(f"{name}conv.hidden", self._hidden(jnp.concatenate(inputs, axis=-1)))
        return self.output(hidden_BTD), ending(both_BND, self.reach, span.length_B)

    def step(self, x_BD: Array, t: Array, span: Span, memory: tuple[()], state: Array):
        at = (t - self.dilation * jnp.arange(self.kernel_size - 1, 0, -1)) % self.reach
        inputs_BkD = jnp.concatenate([state[:, at], x_BD.astype(self.dtype)[:, None]], axis=1)
        state = jax.lax.dynamic_update_slice_in_dim(state, inputs_BkD[:, -1:], t % self.reach, axis=1)
        return self.output(self._hidden(inputs_BkD.reshape(len(x_BD), -1))), state

    def _hidden(self, inputs: Array) -> Array:
        return jax.nn.relu(self.core(inputs))
