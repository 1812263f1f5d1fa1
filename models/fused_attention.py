"""Attention in one kernel, through `jax.nn.dot_product_attention`: cuDNN's on an NVIDIA GPU, where its limits allow.

Such a kernel never writes the weights (B, H, T, S) to memory. In return it takes no arbitrary mask: each row sees its
first so many keys, causally or not. A stack that uses one therefore moves each row's real tokens to the front.

Dims: B batch, T queries, S keys, H heads, K head width (of values V), D model width.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from models.cuda import compute_capability
from models.positions import POSITIONS
from models.shapes import Array, Float, Int

Kernel = Literal["cudnn", "xla"]
CHOICES = ("auto", "never", "cudnn", "xla")


class Fused(NamedTuple):
    """The visible part of a block of keys, as a fused kernel needs it."""

    kernel: Kernel
    lengths_B: Int[Array, "#B"] | None = None  # each row's first so many keys; None: all of them
    causal: bool = False  # query t sees no key after t


def choose(config: ConfigDict) -> Kernel | None:
    """The kernel for a stack with the values of `config`, by its `fused_attention`; None for our own attention.

    `auto` is cuDNN's where it can run, `never` our own, `cudnn` and `xla` (which runs anywhere, and serves to test
    and to compare) are themselves. Raises ValueError for one that cannot run.
    """
    choice = config.fused_attention
    if choice == "never":
        return None
    obstacle = _unfit(config) or (None if choice == "xla" else _beyond_cudnn(config))
    if choice == "auto":
        return None if obstacle else "cudnn"
    if obstacle:
        raise ValueError(f"model.fused_attention = {choice!r} cannot run: {obstacle}")
    return choice


def _unfit(config: ConfigDict) -> str | None:
    """Why a stack cannot use a fused kernel."""
    if POSITIONS[config.positions].biased:  # which a kernel would take in bfloat16, rounding the far distances
        return f"model.positions = {config.positions!r} adds to scores in float32; use never, or other positions"
    if config.attention_dropout_rate:
        return f"it drops no weights and model.attention_dropout_rate = {config.attention_dropout_rate}; use 0.0"
    return None


def _beyond_cudnn(config: ConfigDict) -> str | None:
    """The first of cuDNN's limits that is exceeded, as jax 0.10 has them in _src/cudnn/fused_attention_stablehlo.py."""
    capability = compute_capability()
    if capability is None:
        return f"it needs an NVIDIA GPU and this is {jax.local_devices()[0].device_kind}; use auto or never"
    if capability < (8, 0):
        return f"it needs compute capability 8.0 and the GPU has {capability[0]}.{capability[1]}; use auto or never"
    if config.dtype != "bfloat16":
        return f"it computes in half precision and model.dtype = {config.dtype!r}; use bfloat16"
    value_size, widest = config.hidden_size // config.num_heads, 256 if capability >= (9, 0) else 128
    rule = f"heads must be at most {widest} wide and a multiple of 8, and "
    if value_size % 8 or value_size > widest:
        return (
            f"{rule}model.hidden_size = {config.hidden_size} with model.num_heads = {config.num_heads} gives "
            f"{value_size}; use other heads"
        )
    if config.key_size % 8 or config.key_size > widest:
        return f"{rule}model.key_size = {config.key_size}; use another one"
    return None


def attend_fused(
    query_BHTK: Float[Array, "B H T K"],
    key_BHSK: Float[Array, "B H S K"],
    value_BHSV: Float[Array, "B H S V"],
    fused: Fused,
) -> Float[Array, "B H T V"]:
    """softmax(Q K^T / sqrt(K)) V over what `fused` shows; zeros in a row that has no keys."""
    (B, _, T, K), (S, V) = query_BHTK.shape, value_BHSV.shape[2:]
    lengths_B = None if fused.lengths_B is None else jnp.broadcast_to(fused.lengths_B, B)
    if lengths_B is None and S % 2 and not fused.causal:
        lengths_B = jnp.full(B, S, jnp.int32)  # so that the key added to make them even is not seen
    context_BTHV = jax.nn.dot_product_attention(
        *(_even(x.swapaxes(1, 2), max(K, V)) for x in (query_BHTK, key_BHSK, value_BHSV)),
        scale=K**-0.5,
        is_causal=fused.causal,
        # What a kernel makes of a row without keys is its own affair, so it is shown one and its output not used.
        key_value_seq_lengths=None if lengths_B is None else jnp.maximum(lengths_B, 1),
        implementation=fused.kernel,
    )[:, :T, :, :V]
    if lengths_B is not None:
        context_BTHV = jnp.where(lengths_B[:, None, None, None] > 0, context_BTHV, 0)
    return context_BTHV.swapaxes(1, 2)


def _even(x_BTHK: Float[Array, "B T H K"], width: int) -> Float[Array, "B t H k"]:
    """x with an even number of tokens, since for gradients jax 0.10 lets no other through to cuDNN, and of the width
    that queries, keys and values share in a kernel; zeros change no product."""
    return jnp.pad(x_BTHK, [(0, 0), (0, x_BTHK.shape[1] % 2), (0, 0), (0, width - x_BTHK.shape[3])])
