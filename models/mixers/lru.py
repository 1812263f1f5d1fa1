"""The linear recurrent unit: a diagonal of complex numbers that forget at learned rates (Orvieto et al. 2023).

Dims: B batch, T tokens, D model width, N complex numbers of state.
"""

import math

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


class LRU(Mixer):
    """y_t = Re(C h_t) + d * x_t + b with h_t = lambda * h_{t-1} + exp(gamma) * (B x_t)  (section 3, equation 6).

    lambda = exp(-exp(nu) + i exp(theta)) lies within the unit circle whatever is learned. It starts uniform on the ring
    between two radii (lemma 3.2), and exp(gamma) at sqrt(1 - |lambda|^2), which gives each h variance one.
    What is carried and tapped is the real parts, then the imaginary ones.
    """

    taps = {"lru.hidden": (1,)}

    def __init__(self, config: ConfigDict, depth: int, rngs: nnx.Rngs):
        D, own, dtype = config.hidden_size, config.lru, jnp.dtype(config.dtype)
        if not own.min_radius < own.max_radius <= 1.0:
            raise ValueError(
                f"model.lru.max_radius = {own.max_radius} is not above model.lru.min_radius = {own.min_radius} and at "
                "most 1; use 0.999"
            )
        self.size = own.expansion * D
        u_N, phase_N = (jax.random.uniform(rngs.params(), (self.size,), minval=1e-3, maxval=0.999) for _ in range(2))
        square_N = u_N * (own.max_radius**2 - own.min_radius**2) + own.min_radius**2
        self.nu = nnx.Param(jnp.log(-0.5 * jnp.log(square_N)))
        self.theta = nnx.Param(jnp.log(own.max_phase * phase_N))
        self.gamma = nnx.Param(0.5 * jnp.log1p(-square_N))
        of_inputs, of_states = nnx.initializers.normal((2 * D) ** -0.5), nnx.initializers.normal(self.size**-0.5)
        self.core = Linear(D, 2 * self.size, use_bias=False, dtype=dtype, kernel_init=of_inputs, rngs=rngs)
        self.output = Linear(2 * self.size, D, dtype=dtype, kernel_init=of_states, rngs=rngs)
        self.skip = nnx.Param(jax.random.normal(rngs.params(), (D,)))

    @classmethod
    def options(cls):
        return {
            "lru.expansion": count(1, "complex numbers in the state, as a multiple of model.hidden_size"),
            "lru.min_radius": Option(
                0.9, "inner radius of the ring on which they start: 0.9 forgets in ten tokens", least=0, below=1
            ),
            "lru.max_radius": Option(0.999, "outer radius of that ring: 0.999 forgets in a thousand tokens", least=0),
            "lru.max_phase": Option(2 * math.pi, "largest angle of a turn per token, at the start", least=1e-3),
        }

    def start_carry(self, rows: int) -> Array:
        return jnp.zeros((rows, 2 * self.size), jnp.float32)

    def __call__(self, x_BTD: Array, span: Span, carry: Array, *, name: str, tap: Tapper, key: Array | None = None):
        keep_1TN = jnp.broadcast_to(self._kept(), (1, x_BTD.shape[1], self.size))
        h_BTN, last_BN = linear_scan(keep_1TN, self._entering(x_BTD), as_complex(carry), span.mask_BT)
        hidden_BTN = tap(f"{name}lru.hidden", as_real(h_BTN).astype(x_BTD.dtype))
        return self._read(hidden_BTN, x_BTD), as_real(last_BN)

    def step(self, x_BD: Array, t: Array, span: Span, memory: tuple[()], state: Array):
        state = as_real(self._kept() * as_complex(state) + self._entering(x_BD))
        return self._read(state.astype(x_BD.dtype), x_BD), state

    def _kept(self) -> Array:
        return jnp.exp(jax.lax.complex(-jnp.exp(self.nu[...]), jnp.exp(self.theta[...])))

    def _entering(self, x: Float[Array, "... D"]) -> Array:
        return jnp.exp(self.gamma[...]) * as_complex(*wide(self.core(x)))

    def _read(self, hidden: Float[Array, "... N"], x: Float[Array, "... D"]) -> Float[Array, "... D"]:
        return self.output(hidden) + self.skip[...].astype(x.dtype) * x


def as_complex(x: Float[Array, "... N"]) -> Array:
    return jax.lax.complex(*jnp.split(x, 2, axis=-1))


def as_real(x: Array) -> Float[Array, "... N"]:
    return jnp.concatenate([x.real, x.imag], axis=-1)
