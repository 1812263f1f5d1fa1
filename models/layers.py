"""Layers that architectures share: linear maps, embeddings, normalisation, inputs and output.

Parameters are float32; `dtype` is the computation's, float32 or bfloat16. A layer is given its key
through `rngs.params()` and keeps only parameters and plain settings.

Dims: B batch, S source length, T target length, D width in, O width out, E embedding width, V outputs.
"""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from models.contract import Architecture, Spec
from models.matmul import matmul
from models.scan import Dense
from models.shapes import Array, Float, Int, Num

Initializer = Callable[..., Array]
glorot: Initializer = nnx.initializers.glorot_uniform()


class Linear(nnx.Module):
    """x W + b, the kernel stored as (in, out)."""

    def __init__(
        self,
        in_size: int,
        out_size: int,
        *,
        use_bias: bool = True,
        dtype: DTypeLike = jnp.float32,
        kernel_init: Initializer = glorot,
        rngs: nnx.Rngs,
    ):
        self.kernel = nnx.Param(kernel_init(rngs.params(), (in_size, out_size), jnp.float32))
        self.bias = nnx.Param(jnp.zeros(out_size, jnp.float32)) if use_bias else None
        self.dtype = dtype

    def dense(self) -> Dense:
        """The map's arrays, for a scan: the kernel in the dtype of the computation."""
        return Dense(self.kernel[...].astype(self.dtype), None if self.bias is None else self.bias[...])

    def __call__(self, x: Float[Array, "... D"]) -> Float[Array, "... O"]:
        y = matmul(x.astype(self.dtype), self.kernel[...].astype(self.dtype))
        return y if self.bias is None else y + self.bias[...].astype(self.dtype)


class Embed(nnx.Module):
    """A table of V rows drawn with variance 1 / E, which serves as input and, tied, as output.

    Rows are scaled by sqrt(E) on the way in (Vaswani et al. 2017, section 3.4), so that both inputs
    and tied logits start with variance about 1.
    """

    def __init__(self, vocab_size: int, embed_size: int, *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs):
        init = nnx.initializers.normal(embed_size**-0.5)
        self.table = nnx.Param(init(rngs.params(), (vocab_size, embed_size), jnp.float32))
        self.dtype = dtype

    def __call__(self, ids: Int[Array, "..."]) -> Float[Array, "... E"]:
        table_VE = self.table[...]
        return table_VE.astype(self.dtype)[ids] * jnp.asarray(math.sqrt(table_VE.shape[1]), self.dtype)

    def attend(self, x: Float[Array, "... E"]) -> Float[Array, "... V"]:
        """Float32 products of x with every row."""
        table_VE = self.table[...].astype(self.dtype)
        return matmul(x.astype(self.dtype), table_VE.T, preferred_element_type=jnp.float32)


class LayerNorm(nnx.Module):
    """(x - mean) / sqrt(variance + epsilon) * scale + bias, computed in float32 (Ba et al. 2016)."""

    def __init__(self, size: int, *, epsilon: float = 1e-5, dtype: DTypeLike = jnp.float32):
        self.scale = nnx.Param(jnp.ones(size, jnp.float32))
        self.bias = nnx.Param(jnp.zeros(size, jnp.float32))
        self.epsilon = epsilon
        self.dtype = dtype

    def __call__(self, x: Float[Array, "... D"]) -> Float[Array, "... D"]:
        return normalize(x, self.scale[...], self.bias[...], self.epsilon).astype(self.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def normalize(
    x: Float[Array, "... D"], scale: Float[Array, "D"], bias: Float[Array, "D"], epsilon: float
) -> Float[Array, "... D"]:
    """The last axis brought to mean 0 and variance 1, then `scale` and `bias`; float32 or wider.

    Its backward pass is written out: differentiating the mean and the variance step by step makes XLA walk
    over the activations six times as long on a CPU.
    """
    return _normalize_forward(x, scale, bias, epsilon)[0]


def _normalize_forward(x: Array, scale: Array, bias: Array, epsilon: float):
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    mean = wide.mean(-1, keepdims=True)
    inverse = jax.lax.rsqrt(jnp.square(wide - mean).mean(-1, keepdims=True) + epsilon)
    return (wide - mean) * inverse * scale + bias, (x, mean, inverse, scale)


def _normalize_backward(epsilon: float, saved: tuple[Array, ...], gradient: Array):
    """With n = (x - mean) * inverse and g = scale * dy: dx = inverse * (g - mean(g) - n * mean(g * n))."""
    x, mean, inverse, scale = saved
    normal = (x.astype(mean.dtype) - mean) * inverse
    scaled = gradient * scale
    along = (scaled * normal).mean(-1, keepdims=True)
    dx = inverse * (scaled - scaled.mean(-1, keepdims=True) - normal * along)
    rows = tuple(range(x.ndim - 1))
    return dx.astype(x.dtype), (gradient * normal).sum(rows), gradient.sum(rows)


normalize.defvjp(_normalize_forward, _normalize_backward)


class Inputs(nnx.Module):
    """Source and target_in as features of width `embed_size`.

    Token sources and targets share one table where their ids mean the same and embeddings are tied;
    features enter by a linear map. Where there is no source there is nothing to embed it.
    """

    def __init__(self, spec: Spec, embed_size: int, *, tied: bool, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs):
        self.target = Embed(spec.target_size, embed_size, dtype=dtype, rngs=rngs)
        own_source: Embed | Linear | None = None
        if spec.source == "features":
            own_source = Linear(spec.source_size, embed_size, dtype=dtype, rngs=rngs)
        elif spec.source == "tokens" and not _shares_table(spec, tied):
            own_source = Embed(spec.source_size, embed_size, dtype=dtype, rngs=rngs)
        self.own_source = own_source

    def embed_source(self, source: Num[Array, "B S"] | Float[Array, "B S W"]) -> Float[Array, "B S E"]:
        return (self.target if self.own_source is None else self.own_source)(source)

    def embed_target(self, target_in: Int[Array, "..."]) -> Float[Array, "... E"]:
        return self.target(target_in)


class OutputHead(nnx.Module):
    """Float32 logits with a bias: x W + b, or through the target embedding's table where tied.

    Tied means asked for and possible: the outputs are the target's tokens. Where `size` is not the
    table's width, a linear map without bias comes between.
    """

    def __init__(
        self, spec: Spec, size: int, embed_size: int, *, tied: bool, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs
    ):
        self.tied = _ties_output(spec, tied)
        kernel: nnx.Param | None = None
        projection: Linear | None = None
        if not self.tied:
            kernel = nnx.Param(glorot(rngs.params(), (size, spec.output_size), jnp.float32))
        elif size != embed_size:
            projection = Linear(size, embed_size, use_bias=False, dtype=dtype, rngs=rngs)
        self.kernel = kernel
        self.projection = projection
        self.bias = nnx.Param(jnp.zeros(spec.output_size, jnp.float32))
        self.dtype = dtype

    def __call__(self, x: Float[Array, "... D"], target_embed: Embed) -> Float[Array, "... V"]:
        if self.kernel is not None:
            kernel = self.kernel[...].astype(self.dtype)
            logits = matmul(x.astype(self.dtype), kernel, preferred_element_type=jnp.float32)
        else:
            logits = target_embed.attend(x if self.projection is None else self.projection(x))
        return logits + self.bias[...]


class Embedded(Architecture):
    """An architecture with these inputs and this output layer, as every one of `MODELS` is."""

    inputs: Inputs
    head: OutputHead

    def logits(self, readout: Float[Array, "... D"]) -> Float[Array, "... V"]:
        return self.head(readout, self.inputs.target)


def _shares_table(spec: Spec, tied: bool) -> bool:
    return tied and spec.shared_vocabulary and spec.source == "tokens" and spec.source_size == spec.target_size


def _ties_output(spec: Spec, tied: bool) -> bool:
    return tied and spec.output == "tokens" and spec.output_size == spec.target_size
