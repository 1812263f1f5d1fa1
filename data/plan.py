"""Which examples go together, in which shape: batch k as a pure function of (seed, k).

The order of the buckets' shapes is the same for every seed, which permutes only what fills them, so that all
compile the same programs in one order. In the first epoch shapes come into use one after another, so that a program
for the next can be compiled while the ones before it train.

Dims: B rows of a batch, G shapes.
"""

from functools import lru_cache
from typing import NamedTuple, Protocol

import numpy as np

from data.buckets import Bucket

ORDER_SEED = 20_170_612  # of the shapes' order, which must not depend on the run's seed
APART = (
    16  # batches of the first epoch from one new shape to the next, which take about as long as a program to compile
)


class PlannedBatch(NamedTuple):
    index_B: np.ndarray  # int64 in the split, -1 on rows that only fill the shape
    shape: tuple[int, int]  # S, T


class Plan(Protocol):
    @property
    def num_batches(self) -> int | None:
        """Batches per epoch; None if examples never end."""
        ...

    @property
    def shapes(self) -> list[tuple[int, int, int]]:
        """(rows, S, T) of the batches that there are."""
        ...

    def batch(self, k: int) -> PlannedBatch:
        """Batch k >= 0; epochs follow one another."""
        ...


class EndlessPlan:
    """Batch k is examples kB to (k+1)B - 1 of a stream in which every example is new."""

    num_batches = None

    def __init__(self, batch_size: int, shape: tuple[int, int]):
        self.batch_size, self.shape = batch_size, shape
        self.shapes = [(batch_size, *shape)]

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
        bucket, turn = self.buckets[number[place]], int(part[place])
        examples = bucket.examples
        if self.seed is not None:
            examples = examples[_permutation(len(examples), self.seed, epoch, int(number[place]))]
        # Even shares: the first batches of a bucket take one example more than the others.
        share, larger = divmod(len(examples), bucket.num_batches)
        first = turn * share + min(turn, larger)
        index_B = np.full(bucket.rows, -1, np.int64)
        taken = examples[first : first + share + (turn < larger)]
        index_B[: len(taken)] = taken
        return PlannedBatch(index_B, bucket.shape)


@lru_cache(maxsize=4)
def _order(num_batches: tuple[int, ...], epoch: int | None) -> tuple[np.ndarray, np.ndarray]:
    """For each batch of an epoch, its bucket and how many of that bucket came before it."""
    if epoch == 0:
        number = _one_after_another(np.array(num_batches))
        part = np.empty(len(number), np.int64)
        for bucket, count in enumerate(num_batches):
            part[number == bucket] = np.arange(count)
        return number, part
    number = np.repeat(np.arange(len(num_batches)), num_batches)
    part = np.concatenate([np.arange(count) for count in num_batches])
    if epoch is None:
        return number, part
    mixed = np.random.default_rng([ORDER_SEED, epoch]).permutation(len(number))
    return number[mixed], part[mixed]


def _one_after_another(left_G: np.ndarray) -> np.ndarray:
    """The buckets of an epoch's batches, at random but for when each is first used: the largest first, every further
    one some batches later, all of them within the first half."""
    rng, largest = np.random.default_rng([ORDER_SEED, 0]), np.argsort(-left_G, kind="stable")
    apart, left_G, stages = min(APART, left_G.sum() // (2 * len(left_G))), left_G.copy(), []
    for used in range(1, len(left_G)):
        begun = largest[:used]
        drawn = rng.multivariate_hypergeometric(left_G[begun], min(apart, left_G[begun].sum()), method="marginals")
        left_G[begun] -= drawn
        stages.append(rng.permutation(np.repeat(begun, drawn)))
    stages.append(rng.permutation(np.repeat(np.arange(len(left_G)), left_G)))
    return np.concatenate(stages)


@lru_cache(maxsize=128)
def _permutation(length: int, seed: int, epoch: int, bucket: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch, bucket]).permutation(length)
