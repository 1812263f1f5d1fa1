"""Moves the real tokens of each row to the front, where a fused kernel needs them, and back.

Dims: B batch, S length, D width.
"""

import jax
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


def ending(x: Float[Array, "..."], count: int, length_B: Int[Array, "#B"] | None, axis: int = 1) -> Float[Array, "..."]:
    """The last `count` tokens of each row, whose real ones are the first `count` + length_B along `axis`; None: all.

    With `count` tokens from before in front of a chunk, these are what the next chunk has in front of it.
    """
    if length_B is None:
        return jax.lax.slice_in_dim(x, x.shape[axis] - count, None, axis=axis)
    place_BN = length_B[:, None] + jnp.arange(count)
    shape = [len(place_BN) if dim == 0 else count if dim == axis else 1 for dim in range(x.ndim)]
    return jnp.take_along_axis(x, place_BN.reshape(shape), axis)
