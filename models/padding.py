"""Moves the real tokens of each row to the front, where a fused kernel needs them, and back.

Dims: B batch, S length, D width.
"""

import jax.numpy as jnp

from models.shapes import Array, Bool, Float, Int


def to_front(
    x_BSD: Float[Array, "B S D"], mask_BS: Bool[Array, "#B S"]
) -> tuple[Float[Array, "B S D"], Bool[Array, "#B S"], Int[Array, "#B S"]]:
    """x and mask with each row's real tokens first, in their order, then its padding; and where each came from."""
    order_BS = jnp.argsort(~mask_BS, axis=1, stable=True)
    return pick(x_BSD, order_BS), jnp.take_along_axis(mask_BS, order_BS, axis=1), order_BS


def put_back(x_BSD: Float[Array, "B S D"], order_BS: Int[Array, "#B S"]) -> Float[Array, "B S D"]:
    """Undoes `to_front`."""
    return pick(x_BSD, jnp.argsort(order_BS, axis=1))


def pick(x_BSD: Float[Array, "B S D"], place_BS: Int[Array, "#B S"]) -> Float[Array, "B S D"]:
    """The tokens of x at these places."""
    return jnp.take_along_axis(x_BSD, place_BS[:, :, None], axis=1)


def lengths_of(mask_BS: Bool[Array, "#B S"]) -> Int[Array, "#B"]:
    """The number of real tokens in each row."""
    return mask_BS.sum(1, dtype=jnp.int32)
