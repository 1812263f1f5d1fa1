"""What layers have beside attention or another mixer: norms, residuals and the feed-forward network.

Dims: B batch, T tokens, D model width, F feed-forward width.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from ml_collections import ConfigDict

from models.dropout import dropout
from models.layers import LayerNorm, Linear
from models.options import Option, width
from models.shapes import Array, Float, Key

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": jax.nn.relu,
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "swiglu": jax.nn.silu,  # of a second map, which the first is multiplied with
}


class RMSNorm(nnx.Module):
    """x / sqrt(mean(x^2) + epsilon) * scale, computed in float32 (Zhang & Sennrich 2019)."""

    def __init__(self, size: int, *, epsilon: float = 1e-6, dtype: DTypeLike = jnp.float32):
        self.scale = nnx.Param(jnp.ones(size, jnp.float32))
        self.epsilon = epsilon
        self.dtype = dtype

    def __call__(self, x: Float[Array, "... D"]) -> Float[Array, "... D"]:
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        inverse = jax.lax.rsqrt(jnp.square(wide).mean(-1, keepdims=True) + self.epsilon)
        return (wide * inverse * self.scale[...]).astype(self.dtype)


NORMS: dict[str, type[LayerNorm] | type[RMSNorm]] = {"layernorm": LayerNorm, "rmsnorm": RMSNorm}

BLOCK: dict[str, Option] = {
    "mlp_dim": width(4, "width of the feed-forward layers"),
    "norm": Option("pre", "norms before a sublayer, or after the residual sum", choices=("pre", "post")),
    "norm_kind": Option("layernorm", "what a norm computes", choices=tuple(NORMS)),
    "activation": Option("relu", "in the feed-forward layers; swiglu has a third matrix", choices=tuple(ACTIVATIONS)),
    "use_bias": Option(True, "whether attention and feed-forward layers have biases"),
}
"""The keys of what surrounds a mixer."""


def norm_of(config: ConfigDict) -> LayerNorm | RMSNorm:
    return NORMS[config.norm_kind](config.hidden_size, dtype=jnp.dtype(config.dtype))


class Mlp(nnx.Module):
    """activation(x W1 + b1) W2 + b2 at every position (Vaswani et al. 2017, equation 2).

    With SwiGLU, (silu(x W3 + b3) * (x W1 + b1)) W2 + b2  (Shazeer 2020, equation 6).
    """

    def __init__(self, config: ConfigDict, rngs: nnx.Rngs):
        D, F, use_bias, dtype = config.hidden_size, config.mlp_dim, config.use_bias, jnp.dtype(config.dtype)
        self.inner = Linear(D, F, use_bias=use_bias, dtype=dtype, rngs=rngs)
        self.outer = Linear(F, D, use_bias=use_bias, dtype=dtype, rngs=rngs)
        gated = config.activation == "swiglu"
        self.gate = Linear(D, F, use_bias=use_bias, dtype=dtype, rngs=rngs) if gated else None
        self.activation = config.activation
        self.dropout_rate = config.dropout_rate

    def __call__(self, x_BTD: Float[Array, "... D"], key: Key[Array, ""] | None) -> Float[Array, "... D"]:
        activation = ACTIVATIONS[self.activation]
        if self.gate is None:
            inner_BTF = activation(self.inner(x_BTD))
        else:
            inner_BTF = activation(self.gate(x_BTD)) * self.inner(x_BTD)
        return self.outer(dropout(inner_BTF, self.dropout_rate, key))


class Residual(nnx.Module):
    """What surrounds a sublayer f: x + dropout(f(norm(x))) with pre-norm, norm(x + dropout(f(x))) with post-norm."""

    def __init__(self, config: ConfigDict):
        self.norm = norm_of(config)
        self.pre = config.norm == "pre"
        self.dropout_rate = config.dropout_rate

    def enter(self, x: Array) -> Array:
        return self.norm(x) if self.pre else x

    def leave(self, x: Array, y: Array, key: Key[Array, ""] | None) -> Array:
        x = x + dropout(y, self.dropout_rate, key)
        return x if self.pre else self.norm(x)
