"""Long sentences out of short ones: pairs of Multi30k joined side by side, their lengths dealt evenly over a range.

A caption has eleven words, so that Multi30k itself cannot show what length does. Here an example is several pairs of
one split behind one another, source and target in the same order, and has a stated number of source words:

    min_words to max_words    in train and val
    min_words to test_words   in every other split, so that a model trained short is tested long
    test_range                words of a range of lengths there (0: one range): each range has all of the sentences, so
                              that a small test set gives each as many examples as it can
    train_passes, eval_passes how often the sentences of a range are dealt out, each time among other neighbours
    joins                     the seed of all this

Words are what spaces divide, in the raw line. Dims: N sentences of a split.
"""

import functools
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data import random
from data.checks import integer
from data.files import Corpus, Parallel
from data.tasks import multi30k
from data.tasks.translation import Translation


class JoinedCorpus:
    """A corpus (`data/files.py`) whose examples are sentences of one split of another, joined."""

    def __init__(self, corpus: Corpus[Parallel], config: Mapping[str, Any]):
        self._corpus = corpus
        self.low = integer(config, "min_words", 1)
        self.high = integer(config, "max_words", self.low, why="data.min_words")
        self.test_high = integer(config, "test_words", self.low, why="data.min_words")
        self.test_range = integer(config, "test_range", 0)
        self._passes = {name: integer(config, f"{name}_passes", 1, 1000) for name in ("train", "eval")}
        self._seed = integer(config, "joins", 0, 2**31 - 1)

    @property
    def splits(self) -> tuple[str, ...]:
        return self._corpus.splits

    def read(self, split: str) -> Parallel:
        """The joined lines. Raises ValueError where no sentences add up to a length of the range."""
        sentences = self._corpus.read(split)
        words_N = np.array([len(line.split()) for line in sentences.source])
        ranges = self.ranges(split)
        passes = self._passes["train" if split == "train" else "eval"]
        keys = random.keys(self._seed, 0, np.arange(passes * len(ranges))).reshape(len(ranges), passes, 1)
        dealt = [
            group
            for (low, high), mine in zip(ranges, keys, strict=True)
            for key_1 in mine
            for group in deal(words_N, low, high, key_1)
        ]
        low, high = self.low, ranges[-1][1]
        if not dealt:
            raise ValueError(f"{split}: no sentences add up to data.min_words = {low} to {high} words; widen the range")
        used = sum(map(len, dealt))
        note = f"{split}: {len(dealt)} examples of {low} to {high} words, joined from {used} sentences"
        left = passes * len(ranges) * len(words_N) - used
        source, target = ([" ".join(lines[i] for i in group) for group in dealt] for lines in sentences[:2])
        return Parallel(source, target, [*sentences.notes, f"{note}; {left} do not fit any more" if left else note])

    def ranges(self, split: str) -> list[tuple[int, int]]:
        """The first and last length of each range: 10 to 19, ..., 50 to 60, the last with its end."""
        if split in ("train", "val"):
            return [(self.low, self.high)]
        ends = list(range(self.low, self.test_high, self.test_range)) if self.test_range else [self.low]
        return [
            *((low, after - 1) for low, after in itertools.pairwise(ends)),
            (ends[-1] if ends else self.low, self.test_high),
        ]


def deal(words_N: np.ndarray, low: int, high: int, key_1: np.ndarray) -> list[list[int]]:
    """Groups of sentences, none in two, whose words add up to lengths dealt evenly over `low` to `high`.

    `words_N` holds the words of each sentence, `key_1` one key (`data/random.py`). A group's length is the next of an
    even sequence, or the nearest that the sentences left can add up to; they are drawn from all that leave a rest
    which can be filled, in proportion to their words, so that long ones are not left for the end. It ends when what is
    left adds up to no length of the range.
    """
    waiting: dict[int, list[int]] = {}
    for i in random.permutations(key_1, 0, len(words_N))[0].tolist():
        if 0 < words_N[i] <= high:
            waiting.setdefault(int(words_N[i]), []).append(i)
    draws = iter(random.uniform(key_1, 1, len(words_N))[0].tolist())
    wanted = (low + random.even(np.arange(len(words_N) + 1), high - low + 1)).tolist()
    groups: list[list[int]] = []
    while rest := _nearest(_sums(frozenset(waiting), high), low, wanted[len(groups)]):
        group: list[int] = []
        while fitting := _fitting(frozenset(waiting), high, rest):
            length = _draw(fitting, [n * len(waiting[n]) for n in fitting], next(draws))
            group.append(waiting[length].pop())
            rest -= length
            if not waiting[length]:
                del waiting[length]
        if words_N[group].sum() >= low:  # less where the last of a length was needed twice
            groups.append(group)
    return groups


def _nearest(sums: tuple[int, ...], low: int, wanted: int) -> int:
    """The sum nearest to what is wanted, of those from `low` on; 0 where there is none."""
    return min((n for n in sums if n >= low), key=lambda n: abs(n - wanted), default=0)


@functools.lru_cache(maxsize=1 << 14)
def _fitting(lengths: frozenset[int], high: int, rest: int) -> tuple[int, ...]:
    """The lengths after which a sum of lengths is left of `rest`, in ascending order."""
    sums = _sums(lengths, high)
    return tuple(n for n in sorted(lengths) if rest - n in sums)


@functools.lru_cache(maxsize=1024)
def _sums(lengths: frozenset[int], high: int) -> tuple[int, ...]:
    """All of 0 to `high` that is a sum of these lengths, each as often as it takes."""
    found = {0}
    for n in range(1, high + 1):
        if any(n - length in found for length in lengths):
            found.add(n)
    return tuple(sorted(found))


def _draw(values: Sequence[int], weights: list[int], uniform: float) -> int:
    """One of the values, by a number in [0, 1)."""
    bounds = np.cumsum(weights)
    return values[int(np.searchsorted(bounds, uniform * bounds[-1], side="right"))]


def multi30k_joined(config: Mapping[str, Any], tokenizer_dir: str | Path | None = None) -> Translation:
    """The corpus is that of the task `multi30k`. Raises what it raises, and ValueError for a range that is none."""
    return Translation(config, JoinedCorpus(multi30k.corpus(config), config), tokenizer_dir)
