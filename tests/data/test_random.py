"""The counter-based generator: uniform, independent in every argument, the same for ever."""

import itertools

import numpy as np
import pytest

from data import random

INDEX = np.arange(4096)
GOLDEN_WORDS = [["0x9d5385c1db7bada", "0xaee8180d3329d4e7"], ["0x1ef496495d4966c", "0x118c22cf9246443e"]]


def assert_uniform(counts: np.ndarray) -> None:
    """Chi-square within five standard deviations of what uniform counts give."""
    expected = counts.sum() / counts.size
    freedom = counts.size - 1
    assert abs(((counts - expected) ** 2 / expected).sum() - freedom) < 5 * np.sqrt(2 * freedom)


def flipped_bits(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.unpackbits((a ^ b).view(np.uint8)).mean() * 64)


@pytest.mark.parametrize("byte", range(8))
def test_every_byte_of_a_word_is_uniform(byte):
    words = random.bits(random.keys(0, 0, INDEX), 1, 16)
    assert_uniform(np.bincount(words.view(np.uint8).reshape(-1, 8)[:, byte], minlength=256))


def test_uniformity_test_can_fail():
    with pytest.raises(AssertionError):
        assert_uniform(np.bincount(np.arange(4096) ** 2 % 256, minlength=256))


def test_words_of_neighbouring_arguments_are_independent():
    """Unrelated words differ in 32 of 64 bits; the mean over 65,536 pairs lies within 0.1 of it."""
    words = random.bits(random.keys(0, 0, INDEX), 1, 16)
    others = {
        "index": random.bits(random.keys(0, 0, INDEX + 1), 1, 16),
        "seed": random.bits(random.keys(1, 0, INDEX), 1, 16),
        "stream": random.bits(random.keys(0, 1, INDEX), 1, 16),
        "seed and stream exchanged": random.bits(random.keys(1, -1, INDEX), 1, 16),
        "draw": random.bits(random.keys(0, 0, INDEX), 2, 16),
        "negative draw": random.bits(random.keys(0, 0, INDEX), -1, 16),
        "counter": np.roll(words, 1, axis=1),
    }
    for name, other in others.items():
        assert abs(flipped_bits(words, other) - 32) < 0.1, name
    assert flipped_bits(words, words.copy()) == 0


def test_streams_do_not_overlap():
    """A million words over seeds, streams, indices and draws: none comes twice."""
    words = [
        random.bits(random.keys(seed, stream, np.arange(1024)), draw, 64)
        for seed, stream, draw in itertools.product((0, 1), (0, 1), (-1, 0, 1, 2))
    ]
    assert len(np.unique(words)) == 16 * 1024 * 64


def test_an_example_alone_is_what_it_is_in_a_batch():
    whole = random.bits(random.keys(3, 1, INDEX), 5, 8)
    np.testing.assert_array_equal(random.bits(random.keys(3, 1, INDEX[70:71]), 5, 8), whole[70:71])
    np.testing.assert_array_equal(random.bits(random.keys(3, 1, INDEX), 5, 3), whole[:, :3])


def test_numbers_never_change():
    words = random.bits(random.keys(0, 0, np.array([0, 1])), 1, 2)
    # If this fails, every synthetic example and every published table on one changes: say so in CHANGELOG.md.
    assert [[hex(word) for word in row] for row in words] == GOLDEN_WORDS


def test_integers_and_floats_fill_their_range():
    key = random.keys(0, 0, INDEX)
    assert_uniform(np.bincount(random.integers(key, 1, 16, 100).ravel(), minlength=100))
    high = np.array([[1, 2, 2**32]])
    numbers = random.integers(key, 1, 3, high)
    assert (numbers >= 0).all() and (numbers < high).all() and numbers[:, 2].max() > 2**31
    floats = random.uniform(key, 1, 16)
    assert floats.min() >= 0 and floats.max() < 1
    assert_uniform(np.histogram(floats, bins=64, range=(0, 1))[0])


def test_permutations_are_uniform():
    rows = random.permutations(random.keys(0, 0, INDEX), 1, 4)
    assert (np.sort(rows, axis=1) == np.arange(4)).all()
    assert_uniform(np.unique(rows @ [1000, 100, 10, 1], return_counts=True)[1])


@pytest.mark.parametrize("high", [5, 40], ids=["sorting", "floyd"])
def test_distinct_numbers_are_uniform_in_value_and_order(high):
    rows = random.distinct(random.keys(0, 0, np.arange(40_000)), 1, 3, high)
    assert (np.diff(np.sort(rows, axis=1)) > 0).all()
    assert rows.min() == 0 and rows.max() == high - 1
    for column in rows.T:
        assert_uniform(np.bincount(column, minlength=high))
    pairs = rows[:, 0] * high + rows[:, 1]
    assert_uniform(np.bincount(pairs, minlength=high * high)[np.flatnonzero(~np.eye(high, dtype=bool))])


def test_even_covers_any_run_of_indices():
    for first in (0, 777):
        counts = np.bincount(random.even(np.arange(first, first + 1000), 50), minlength=50)
        assert counts.min() >= 18 and counts.max() <= 22


def test_content_hash_tells_rows_apart_and_ignores_padding():
    rows = random.integers(random.keys(0, 0, INDEX), 1, 20, 5) + 1
    hashes = random.content_hash(rows)
    assert len(np.unique(hashes)) == len(np.unique(rows, axis=0))
    np.testing.assert_array_equal(random.content_hash(np.pad(rows, ((0, 0), (0, 7)))), hashes)
    np.testing.assert_array_equal(random.content_hash(rows.astype(np.int32)), hashes)
    assert_uniform(np.bincount((hashes % np.uint64(16)).astype(np.int64), minlength=16))
    assert (random.content_hash(rows[:, ::-1]) != hashes).mean() > 0.99
