"""Dropout, and the random words that it draws: a hash of the key and of each entry's own index.

`jax.random.bits` runs a cipher of twenty rounds in loops of its own, which on a CPU cost some 7 % of a Transformer's
step and a third of its compilation. A hash is a dozen operations that fuse into the multiplication. It is no cipher;
what dropout needs of it is tested (tests/models/test_dropout.py): uniform words, independent along every axis and
between keys that differ in one bit, as those of neighbouring steps, layers and seeds may.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from models.shapes import Array, Float, Int, Key, UInt32


def dropout(
    x: Float[Array, "..."], rate: float, key: Key[Array, ""] | None, *, broadcast_dims: Sequence[int] = ()
) -> Float[Array, "..."]:
    """Zeroes entries with probability `rate` and scales the rest so that the mean stays (Srivastava et al. 2014).

    The identity without a key or at rate 0. One draw is shared along `broadcast_dims`.
    """
    if key is None or rate == 0.0:
        return x
    shared = {dim % x.ndim for dim in broadcast_dims}
    words = random_words(key, tuple(1 if dim in shared else size for dim, size in enumerate(x.shape)))
    kept = words >= jnp.uint32(min(round(rate * 2**32), 2**32 - 1))
    return jnp.where(kept, x / (1.0 - rate), 0).astype(x.dtype)


def fold(key: Key[Array, ""] | None, number: int | Int[Array, ""]) -> Key[Array, ""] | None:
    """The key of one of several places; None stays None."""
    return None if key is None else jax.random.fold_in(key, number)


def random_words(key: Key[Array, ""], shape: tuple[int, ...]) -> UInt32[Array, "..."]:
    """32 random bits for each entry: its index in the array, hashed once with each word of the key.

    An entry's bits depend on nothing else, so that however an array is shared out, each device draws its own part.
    """
    words = jnp.zeros(shape, jnp.uint32)
    for dim, size in enumerate(shape):
        stride = math.prod(shape[dim + 1 :]) % 2**32
        if size > 1:
            words += jax.lax.broadcasted_iota(jnp.uint32, shape, dim) * jnp.uint32(stride)
    for word in jax.random.key_data(key):
        words = _mixed(words + word)
    return words


def _mixed(x: UInt32[Array, "..."]) -> UInt32[Array, "..."]:
    """A bijection of 32 bits in which each input bit flips each output bit half of the time.

    Two rounds of the xor-shift and multiply form of MurmurHash3's finaliser, with constants from a search for the
    least bias (Wellons 2018, "Prospecting for hash functions").
    """
    x ^= x >> 16
    x *= jnp.uint32(0x7FEB352D)
    x ^= x >> 15
    x *= jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)
