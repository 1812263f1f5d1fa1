"""Which examples go together, in which shape: batch k as a pure function of (seed, k).

Text is put into length buckets. A bucket is a static shape (rows, S, T) and the examples that it serves,
so each bucket compiles once; a budget of tokens a batch sets its rows. The order of the shapes is the same
for every seed, which permutes only what fills them, so that several seeds can train as one program.

Dims: N examples, B rows.
"""

import dataclasses
from functools import lru_cache
from typing import NamedTuple, Protocol

import numpy as np

ORDER_SEED = 20_170_612  # of the shapes' order, which must not depend on the run's seed


class PlannedBatch(NamedTuple):
    index_B: np.ndarray  # int64 in the split, -1 on rows that only fill the shape
    shape: tuple[int, int]  # S, T


class Plan(Protocol):
    num_batches: int | None  # of an epoch; None where examples never end

    def batch(self, k: int) -> PlannedBatch:
        """Batch k >= 0; epochs follow one another."""
        ...


@dataclasses.dataclass(frozen=True)
class Bucket:
    rows: int
    shape: tuple[int, int]
    examples: np.ndarray  # int64, ascending

    @property
    def num_batches(self) -> int:
        return -(-len(self.examples) // self.rows)


class EndlessPlan:
    """Batch k is examples kB to (k+1)B - 1 of a stream in which every example is new."""

    num_batches = None

    def __init__(self, batch_size: int, shape: tuple[int, int]):
        self.batch_size, self.shape = batch_size, shape

    def batch(self, k: int) -> PlannedBatch:
        first = k * self.batch_size
        return PlannedBatch(np.arange(first, first + self.batch_size), self.shape)


class BucketPlan:
    """Epochs over a finite split: every example exactly once in each.

    With a seed, examples are permuted within their bucket by (seed, epoch) and the buckets' batches are
    mixed by epoch; without, both stay in order, as evaluation wants.
    """

    def __init__(self, buckets: list[Bucket], seed: int | None):
        self.buckets, self.seed = buckets, seed
        self.num_batches: int = sum(bucket.num_batches for bucket in buckets)

    @property
    def shapes(self) -> list[tuple[int, int, int]]:
        """(rows, S, T) of each bucket."""
        return [(bucket.rows, *bucket.shape) for bucket in self.buckets]

    def batch(self, k: int) -> PlannedBatch:
        epoch, place = divmod(k, self.num_batches)
        number, part = _order(tuple(b.num_batches for b in self.buckets), None if self.seed is None else epoch)
        bucket, part = self.buckets[number[place]], int(part[place])
        examples = bucket.examples
        if self.seed is not None:
            examples = examples[_permutation(len(examples), self.seed, epoch, int(number[place]))]
        # Even shares: the first batches of a bucket take one example more than the others.
        share, larger = divmod(len(examples), bucket.num_batches)
        first = part * share + min(part, larger)
        index_B = np.full(bucket.rows, -1, np.int64)
        taken = examples[first : first + share + (part < larger)]
        index_B[: len(taken)] = taken
        return PlannedBatch(index_B, bucket.shape)


@lru_cache(maxsize=4)
def _order(num_batches: tuple[int, ...], epoch: int | None) -> tuple[np.ndarray, np.ndarray]:
    """For each batch of an epoch, its bucket and how many of that bucket came before it."""
    number = np.repeat(np.arange(len(num_batches)), num_batches)
    part = np.concatenate([np.arange(count) for count in num_batches])
    if epoch is None:
        return number, part
    mixed = np.random.default_rng([ORDER_SEED, epoch]).permutation(len(number))
    return number[mixed], part[mixed]


@lru_cache(maxsize=128)
def _permutation(length: int, seed: int, epoch: int, bucket: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch, bucket]).permutation(length)


def single_bucket(num_examples: int, rows: int, shape: tuple[int, int]) -> list[Bucket]:
    """Examples of one shape."""
    return [Bucket(rows, shape, np.arange(num_examples))]


def length_buckets(
    lengths_N2: np.ndarray, tokens_per_batch: int, num_buckets: int, row_multiple: int = 8
) -> list[Bucket]:
    """At most `num_buckets` shapes with little padding, for int lengths (N, 2) of source and target.

    From one bucket on, the split of a bucket in two by source or by target length that saves most padded
    tokens is made, again and again. A bucket's rows are a multiple of `row_multiple` with rows * S and
    rows * T within `tokens_per_batch`, or `row_multiple` where its longest example leaves no room for more.
    """
    cells, cell_N = np.unique(np.asarray(lengths_N2, np.int64), axis=0, return_inverse=True)
    cell_N = cell_N.reshape(-1)
    counts = np.bincount(cell_N)
    groups = [np.arange(len(cells))]
    splits = [_best_split(cells, counts, groups[0], row_multiple)]
    while len(groups) < num_buckets:
        best = max(range(len(groups)), key=lambda i: splits[i][0])
        saved, low, high = splits[best]
        if saved <= 0:
            break
        groups[best : best + 1] = [low, high]
        splits[best : best + 1] = [_best_split(cells, counts, group, row_multiple) for group in (low, high)]
    group_of_cell = np.empty(len(cells), np.int64)
    for number, group in enumerate(groups):
        group_of_cell[group] = number
    group_N = group_of_cell[cell_N]
    buckets = []
    for number, group in enumerate(groups):
        examples = np.flatnonzero(group_N == number)
        source, target = (int(length) for length in cells[group].max(axis=0))
        rows = _rows(len(examples), tokens_per_batch // max(source, target, 1), row_multiple)
        buckets.append(Bucket(rows, (source, target), examples))
    return sorted(buckets, key=lambda bucket: bucket.shape)


def check_budget(lengths_N2: np.ndarray, tokens_per_batch: int, row_multiple: int = 8) -> None:
    """Raises ValueError where the longest example leaves no room for `row_multiple` rows."""
    longest = int(np.max(lengths_N2, initial=0))
    if tokens_per_batch < row_multiple * longest:
        raise ValueError(
            f"tokens_per_batch = {tokens_per_batch} has no room for {row_multiple} rows of the longest example "
            f"({longest} tokens); use {row_multiple * longest} or more, or lower data.max_length"
        )


def _rows(num_examples: int, most: int, multiple: int) -> int:
    """Rows of a bucket's batches: near `most`, and so that the examples share few filler rows."""
    most = max(most // multiple, 1) * multiple
    if num_examples <= most:
        return -(-num_examples // multiple) * multiple

    def filler(rows: int) -> int:
        return -num_examples % rows

    choices = range(most, max(int(0.8 * most) // multiple, 1) * multiple - 1, -multiple)
    return min(choices, key=lambda rows: (filler(rows), -rows))


def _best_split(
    cells: np.ndarray, counts: np.ndarray, group: np.ndarray, row_multiple: int
) -> tuple[int, np.ndarray, np.ndarray]:
    """(tokens saved, cells below, cells above) of the best threshold on source or target length."""

    def cost(examples: np.ndarray, source: np.ndarray, target: np.ndarray) -> np.ndarray:
        return -(-examples // row_multiple) * row_multiple * (source + target)  # filler rows cost as well

    best = (0, group, group[:0])
    for side in (0, 1):
        ranked = group[np.argsort(cells[group, side], kind="stable")]
        lengths, examples = cells[ranked], np.cumsum(counts[ranked])
        below = np.maximum.accumulate(lengths, axis=0)
        above = np.maximum.accumulate(lengths[::-1], axis=0)[::-1]
        cut = np.flatnonzero(np.diff(lengths[:, side])) + 1  # first place above the threshold
        if not len(cut):
            continue
        whole = cost(examples[-1], below[-1, 0], below[-1, 1])
        parts = cost(examples[cut - 1], below[cut - 1, 0], below[cut - 1, 1])
        parts = parts + cost(examples[-1] - examples[cut - 1], above[cut, 0], above[cut, 1])
        saved = int(whole - parts.min())
        if saved > best[0]:
            place = cut[int(parts.argmin())]
            best = (saved, ranked[:place], ranked[place:])
    return best
