"""Linear recurrences in parallel over the sequence: as an associative scan, or chunk by chunk.

Dims: B batch, T tokens, C tokens of a chunk, N chunks; `...` any more axes of the state.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from models.shapes import Array, Bool, Float, Key, Num


def linear_scan(
    keep_BT: Num[Array, "#B T ..."],
    enter_BT: Num[Array, "B T ..."],
    carry_B: Num[Array, "B ..."],
    mask_BT: Bool[Array, "#B T"] | None = None,
) -> tuple[Num[Array, "B T ..."], Num[Array, "B ..."]]:
    """h_t = a_t h_{t-1} + b_t from the carry on, elementwise: (all h, the last). Padding leaves h as it is.

    No |a| may exceed 1, so that products of many stay finite.
    """
    if mask_BT is not None:
        real_BT = mask_BT.reshape(mask_BT.shape + (1,) * (keep_BT.ndim - 2))
        keep_BT, enter_BT = jnp.where(real_BT, keep_BT, 1), jnp.where(real_BT, enter_BT, 0)
    h_BT = from_zero(keep_BT, enter_BT.at[:, 0].add(keep_BT[:, 0] * carry_B))
    return h_BT, h_BT[:, -1]


@jax.custom_vjp
def from_zero(keep_BT: Num[Array, "#B T ..."], enter_BT: Num[Array, "B T ..."]) -> Num[Array, "B T ..."]:
    """h_t = a_t h_{t-1} + b_t with h_0 = 0 before the first, in about 2 log T rounds (Blelloch 1990, section 1.4).

    Its gradient is the same recurrence backwards, which keeps h alone; differentiating the rounds keeps all of them.
    """
    return _associative(keep_BT, enter_BT)


def _associative(keep: Array, enter: Array, reverse: bool = False) -> Array:
    def then(first: tuple[Array, Array], second: tuple[Array, Array]) -> tuple[Array, Array]:
        return second[0] * first[0], second[0] * first[1] + second[1]

    return jax.lax.associative_scan(then, (keep, enter), reverse=reverse, axis=1)[1]


def _forward(keep, enter):
    h = _associative(keep, enter)
    return h, (keep, h)


def _backward(kept, d_h):
    """d b_t = d h_t + a_{t+1} d b_{t+1} and d a_t = h_{t-1} d b_t."""
    keep, h = kept
    later = jnp.concatenate([keep[:, 1:], jnp.zeros_like(keep[:, :1])], axis=1)
    d_enter = _associative(later, d_h, reverse=True)
    before = jnp.concatenate([jnp.zeros_like(h[:, :1]), h[:, :-1]], axis=1)
    d_keep = d_enter * before
    return d_keep if len(keep) == len(h) else d_keep.sum(0, keepdims=True), d_enter


from_zero.defvjp(_forward, _backward)


def in_chunks(
    body: Callable[[Any, Any, Bool[Array, "B C"]], tuple[Any, Any]],
    carry: Any,
    xs: Any,
    mask_BT: Bool[Array, "B T"] | None,
    size: int,
    *,
    remat: bool = False,
) -> tuple[Any, Any]:
    """(ys, carry) of `body(carry, x, real_BC)` over chunks of `size` tokens; the last is filled up with padding.

    With `remat` the backward pass keeps the carries between chunks and computes each chunk anew.
    """
    B, T = jax.tree.leaves(xs)[0].shape[:2]
    size = min(size, T)
    more = -T % size
    real_BT = jnp.broadcast_to(jnp.ones((1, T), bool) if mask_BT is None else mask_BT, (B, T))

    def split(x_BT: Array) -> Array:
        x_BT = jnp.pad(x_BT, [(0, 0), (0, more), *[(0, 0)] * (x_BT.ndim - 2)])
        return x_BT.reshape(B, -1, size, *x_BT.shape[2:]).swapaxes(0, 1)

    def run(carry: Any, at: tuple[Any, Array]) -> tuple[Any, Array]:
        return body(carry, *at)

    run = jax.checkpoint(run, prevent_cse=False) if remat else run
    carry, ys = jax.lax.scan(run, carry, jax.tree.map(split, (xs, real_BT)))
    return jax.tree.map(lambda y: y.swapaxes(0, 1).reshape(B, T + more, *y.shape[3:])[:, :T], ys), carry


def wide(*arrays: Array) -> tuple[Array, ...]:
    """In float32, as states and products of gates are kept whatever the computation's dtype."""
    return tuple(array.astype(jnp.promote_types(array.dtype, jnp.float32)) for array in arrays)


def heads_of(x: Float[Array, "... D"], heads: int) -> Float[Array, "... H K"]:
    return x.reshape(*x.shape[:-1], heads, x.shape[-1] // heads)


def time_scale_bias(key: Key[Array, ""], size: int) -> Float[Array, "size"]:
    """b with softplus(b) drawn from 0.001 to 0.1, evenly in its logarithm (Gu & Dao 2023, section 3.6)."""
    steps = jnp.exp(jax.random.uniform(key, (size,), minval=jnp.log(1e-3), maxval=jnp.log(0.1)))
    return jnp.log(jnp.expm1(steps))
