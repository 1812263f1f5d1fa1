"""The matrix products that do most of the arithmetic."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, PartitionSpec
from jax.typing import DTypeLike

from models.shapes import Array, Float
from models.widened import widened


def matmul(
    x: Float[Array, "... D"],
    kernel: Float[Array, "D O"],
    *,
    batch_axis: int = 0,
    preferred_element_type: DTypeLike | None = None,
) -> Float[Array, "... O"]:
    """x W as a product of two matrices, in the dtype of x or the wider one that is preferred.

    With the rows of x spread over several axes, XLA turns the gradient of x W round in memory before it forms
    the gradient of W, which on a CPU takes up to three times as long as the product itself.
    """
    rows = _rows(x, batch_axis)

    def product(x: Array, kernel: Array, **options: Any) -> Array:
        def here(x: Array, kernel: Array) -> Array:
            return jnp.matmul(_flat(x), kernel, **options).reshape(*x.shape[:-1], kernel.shape[1])

        if rows is None:
            return here(x, kernel)
        return jax.shard_map(here, in_specs=(rows, PartitionSpec()), out_specs=rows)(x, kernel)

    return widened(product, x, kernel, preferred_element_type or x.dtype)


def outer(
    x: Float[Array, "... D"], y: Float[Array, "... O"], *, batch_axis: int, **options: Any
) -> Float[Array, "D O"]:
    """x^T y over all rows: the gradient of W in x W, given the gradient y of the product."""

    def product(x: Array, y: Array) -> Array:
        return jnp.matmul(_flat(x).T, _flat(y), **options)

    rows = _rows(x, batch_axis)
    if rows is None:
        return product(x, y)
    summed: Callable[..., Array] = lambda x, y: jax.lax.psum(product(x, y), rows[batch_axis])  # noqa: E731
    return jax.shard_map(summed, in_specs=(rows, rows), out_specs=PartitionSpec())(x, y)


def _flat(x: Array) -> Array:
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


def _rows(x: Array, batch_axis: int) -> PartitionSpec | None:
    """How the batch lies on the mesh in context, where each device must be told to keep to its own rows.

    The compiler sees to that by itself where the batch axis leads. In time-major (T, B, D), merging the axes would
    make it gather all rows on every device.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if batch_axis == 0 or mesh.empty or set(mesh.axis_types) != {AxisType.Auto} or x.shape[batch_axis] % mesh.size:
        return None
    return PartitionSpec(*[None] * batch_axis, mesh.axis_names)
