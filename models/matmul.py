"""The product that most of the arithmetic goes into."""

import math
from typing import Any

import jax.numpy as jnp

from models.shapes import Array, Float


def matmul(x: Float[Array, "... D"], kernel: Float[Array, "D O"], **options: Any) -> Float[Array, "... O"]:
    """x W as a product of two matrices. `options` as `jnp.matmul` takes them.

    With the rows of x spread over several axes, XLA turns the gradient of x W round in memory before it forms
    the gradient of W, which on a CPU takes up to three times as long as the product itself.
    """
    rows = math.prod(x.shape[:-1])
    return jnp.matmul(x.reshape(rows, x.shape[-1]), kernel, **options).reshape(*x.shape[:-1], kernel.shape[1])
