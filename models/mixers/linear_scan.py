"""Linear recurrences in parallel over the sequence: many chunks at once, or chunk by chunk.

Dims: B batch, T tokens, C tokens of a chunk, N chunks; `...` any more axes of the state.
"""

import math
from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp

from models.shapes import Array, Bool, Float, Key, Num

Carry = TypeVar("Carry")  # these three are trees of arrays
X = TypeVar("X")
Y = TypeVar("Y")


def linear_scan(
    keep_BT: Num[Array, "#B T ..."],
    enter_BT: Num[Array, "B T ..."],
    carry_B: Num[Array, "B ..."],
    mask_BT: Bool[Array, "#B T"] | None = None,
) -> tuple[Num[Array, "B T ..."], Num[Array, "B ..."]]:
    """h_t = a_t h_{t-1} + b_t from the carry on, elementwise: (all h, the last). Padding leaves h as it is.

    No |a| may exceed 1, so that products of many stay finite.
    """
    if not enter_BT.shape[1]:
        return enter_BT, carry_B
    if mask_BT is not None:
        real_BT = mask_BT.reshape(mask_BT.shape + (1,) * (keep_BT.ndim - 2))
        keep_BT, enter_BT = jnp.where(real_BT, keep_BT, 1), jnp.where(real_BT, enter_BT, 0)
    h_BT = from_zero(keep_BT, enter_BT.at[:, 0].add(keep_BT[:, 0] * carry_B))
    return h_BT, h_BT[:, -1]


@jax.custom_vjp
def from_zero(keep_BT: Num[Array, "#B T ..."], enter_BT: Num[Array, "B T ..."]) -> Num[Array, "B T ..."]:
    """h_t = a_t h_{t-1} + b_t with 0 before the first.

    Its gradient is the same recurrence backwards, which keeps h alone; differentiating a scan keeps all it computes.
    """
    return _in_two_rounds(keep_BT, enter_BT)


def _in_two_rounds(keep: Array, enter: Array, reverse: bool = False) -> Array:
    """About sqrt(T) chunks of sqrt(T) tokens: all chunks at once from zero, then what each leaves to the next.

    Since (a, b) then (a', b') is (a' a, a' b + b'), an associative scan gives the same in 2 log T rounds
    (`jax.lax.associative_scan`). It compiles for seconds, and on a CPU it walks over memory in long strides.
    """
    B, T = enter.shape[:2]
    size = math.isqrt(max(T - 1, 0)) + 1
    more = -T % size

    def split(x: Array, filling: int) -> Array:
        x = jnp.pad(x, [(0, 0), (0, more), *[(0, 0)] * (x.ndim - 2)], constant_values=filling)
        return jnp.moveaxis(x.reshape(len(x), -1, size, *x.shape[2:]), 2, 0)

    def within(before: tuple[Array, ...], at: tuple[Array, ...]) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        keep, enter = at
        after = keep * before[0], keep * before[1] + enter
        return after, after

    def across(h: Array, at: tuple[Array, ...]) -> tuple[Array, Array]:
        return at[0] * h + at[1], h

    keep_CBN, enter_CBN = split(keep, 1), split(enter, 0)
    nothing: tuple[Array, ...] = jnp.ones_like(keep_CBN[0]), jnp.zeros_like(enter_CBN[0])
    (kept_BN, end_BN), (kept_CBN, h_CBN) = jax.lax.scan(within, nothing, (keep_CBN, enter_CBN), reverse=reverse)
    by_chunk = kept_BN.swapaxes(0, 1), end_BN.swapaxes(0, 1)
    _, before_NB = jax.lax.scan(across, jnp.zeros_like(enter[:, 0]), by_chunk, reverse=reverse)
    h_CBN += kept_CBN * before_NB.swapaxes(0, 1)
    return jnp.moveaxis(h_CBN, 0, 2).reshape(B, T + more, *enter.shape[2:])[:, :T]


def _forward(keep: Array, enter: Array):
    h = _in_two_rounds(keep, enter)
    return h, (keep, h)


def _backward(kept: tuple[Array, Array], d_h: Array):
    """d b_t = d h_t + a_{t+1} d b_{t+1} and d a_t = h_{t-1} d b_t."""
    keep, h = kept
    later = jnp.concatenate([keep[:, 1:], jnp.zeros_like(keep[:, :1])], axis=1)
    d_enter = _in_two_rounds(later, d_h, reverse=True)
    before = jnp.concatenate([jnp.zeros_like(h[:, :1]), h[:, :-1]], axis=1)
    d_keep = d_enter * before
    return d_keep if len(keep) == len(h) else d_keep.sum(0, keepdims=True), d_enter


from_zero.defvjp(_forward, _backward)


def in_chunks(
    body: Callable[[Carry, X, Bool[Array, "B C"]], tuple[Carry, Y]],
    carry: Carry,
    xs: X,
    mask_BT: Bool[Array, "B T"] | None,
    size: int,
) -> tuple[Y, Carry]:
    """(ys, carry) of `body(carry, x, real_BC)` over chunks of `size` tokens; the last is filled up with padding."""
    B, T = jax.tree.leaves(xs)[0].shape[:2]
    size = min(size, max(T, 1))
    more = -T % size
    real_BT = jnp.broadcast_to(jnp.ones((1, T), bool) if mask_BT is None else mask_BT, (B, T))

    def split(x_BT: Array) -> Array:
        x_BT = jnp.pad(x_BT, [(0, 0), (0, more), *[(0, 0)] * (x_BT.ndim - 2)])
        return x_BT.reshape(B, -1, size, *x_BT.shape[2:]).swapaxes(0, 1)

    def run(carry: Carry, at: tuple[X, Array]) -> tuple[Carry, Y]:
        return body(carry, *at)

    carry, ys = jax.lax.scan(run, carry, jax.tree.map(split, (xs, real_BT)))
    return jax.tree.map(lambda y: y.swapaxes(0, 1).reshape(B, T + more, *y.shape[3:])[:, :T], ys), carry


def wide(*arrays: Array) -> tuple[Array, ...]:
    """In float32, as states and products of gates are kept whatever the computation's dtype."""
    return tuple(array.astype(jnp.promote_types(array.dtype, jnp.float32)) for array in arrays)


def heads_of(x: Float[Array, "... D"], heads: int) -> Float[Array, "... H K"]:
    return x.reshape(*x.shape[:-1], heads, x.shape[-1] // heads)


def joined(x: Float[Array, "... H V"]) -> Float[Array, "... D"]:
    """Head beside head."""
    return x.reshape(*x.shape[:-2], x.shape[-2] * x.shape[-1])


def time_scale_bias(key: Key[Array, ""], size: int) -> Float[Array, "size"]:
    """b with softplus(b) drawn from 0.001 to 0.1, evenly in its logarithm (Gu & Dao 2023, section 3.6)."""
    steps = jnp.exp(jax.random.uniform(key, (size,), minval=jnp.log(1e-3), maxval=jnp.log(0.1)))
    return jnp.log(jnp.expm1(steps))
