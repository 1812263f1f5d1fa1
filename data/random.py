"""Random numbers that are a pure function of (seed, stream, example index, draw, counter).

A counter-based generator in the manner of SplitMix64 (Steele, Lea and Flood 2014): nothing is kept
between calls, so any example can be made again alone, and a whole batch comes from a few numpy calls.
An example has a key; each named `draw` of it is a sequence with its own start and its own odd
increment, so that two sequences do not run into each other.

Dims: B examples, N numbers an example.
"""

import numpy as np

MASK = 2**64 - 1
GOLDEN = 0x9E3779B97F4A7C15  # 2**64 divided by the golden ratio, odd


def _mix(x: np.ndarray) -> np.ndarray:
    """A bijection of 64-bit words in which every input bit moves every output bit (Stafford's variant 13)."""
    x = x ^ (x >> np.uint64(30))
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return x


def _words(*values: int) -> np.ndarray:
    return np.array([value & MASK for value in values], np.uint64)


def keys(seed: int, stream: int, index_B: np.ndarray) -> np.ndarray:
    """(B,) uint64 keys, different for every index of a stream; `seed` and `stream` are any integers."""
    base = _mix(_words(stream * GOLDEN) + _mix(_words((seed + 1) * GOLDEN)))
    return _mix(base + np.asarray(index_B).astype(np.uint64) * np.uint64(GOLDEN))


def bits(key_B: np.ndarray, draw: int, count: int) -> np.ndarray:
    """(B, count) uint64 random words. Draws of different number are independent."""
    start_B, step_B = _mix(key_B + _words((2 * draw + 1) * GOLDEN, (2 * draw + 2) * GOLDEN)[:, None])
    step_B |= np.uint64(1)
    return _mix(start_B[:, None] + step_B[:, None] * np.arange(1, count + 1, dtype=np.uint64))


def _scale(word: np.ndarray, high: int | np.ndarray) -> np.ndarray:
    """Words to int64 in [0, high) with a bias below high / 2**32."""
    return ((word >> np.uint64(32)) * np.asarray(high).astype(np.uint64) >> np.uint64(32)).astype(np.int64)


def integers(key_B: np.ndarray, draw: int, count: int, high: int | np.ndarray) -> np.ndarray:
    """(B, count) int64, uniform in [0, high); `high` (at most 2**32) broadcasts."""
    return _scale(bits(key_B, draw, count), high)


def uniform(key_B: np.ndarray, draw: int, count: int) -> np.ndarray:
    """(B, count) float64, uniform in [0, 1)."""
    return (bits(key_B, draw, count) >> np.uint64(11)) * 2.0**-53


def permutations(key_B: np.ndarray, draw: int, count: int) -> np.ndarray:
    """(B, count) int64, each row a uniform permutation of 0..count-1."""
    return np.argsort(bits(key_B, draw, count), axis=1)


def distinct(key_B: np.ndarray, draw: int, count: int, high: int) -> np.ndarray:
    """(B, count) int64, each row `count` different numbers of [0, high) in random order.

    Sorts random words where that is little work; else Floyd's algorithm (Bentley and Floyd 1987), whose
    cost does not grow with `high`.
    """
    if high <= 8 * count:
        return np.argsort(bits(key_B, draw, high), axis=1)[:, :count]
    word_BN = bits(key_B, draw, 2 * count)
    first = high - count
    draw_BN = _scale(word_BN[:, :count], np.arange(first + 1, high + 1))
    chosen_BN = draw_BN.copy()
    for i in range(1, count):
        taken_B = (chosen_BN[:, :i] == draw_BN[:, i : i + 1]).any(axis=1)
        chosen_BN[taken_B, i] = first + i
    order_BN = np.argsort(word_BN[:, count:], axis=1)
    return np.take_along_axis(chosen_BN, order_BN, axis=1)


def even(index_B: np.ndarray, high: int) -> np.ndarray:
    """(B,) int64 in [0, high) that any run of consecutive indices covers evenly (multiples of the golden ratio)."""
    return _scale(np.asarray(index_B).astype(np.uint64) * np.uint64(GOLDEN), high)


def content_hash(array_BN: np.ndarray) -> np.ndarray:
    """(B,) uint64 hash of each row of int or float32 values; trailing zeros (padding) change nothing."""
    row_BN = np.ascontiguousarray(array_BN).reshape(len(array_BN), int(np.prod(array_BN.shape[1:])))
    word_BN = (row_BN.view(np.uint32) if row_BN.dtype == np.float32 else row_BN).astype(np.uint64)
    weight_N = _mix(np.arange(1, word_BN.shape[1] + 1, dtype=np.uint64) * np.uint64(GOLDEN)) | np.uint64(1)
    return _mix((word_BN * weight_N).sum(axis=1, dtype=np.uint64))
