"""What tasks share that name the class of a string: its length varies, and the one answer stands behind it.

The frame of Delétang et al. 2022 for regular languages. Dims: B examples, N longest length, C classes, T = 1 target
length.

    source      a string of symbols
    target_in   bos
    target_out  its class

Ids: pad, bos, eos, then the symbols. Lengths are uniform in [min_length, max_length]; `long_length` above max_length
adds the split `test_long` of longer strings. Short strings are too few to hold any out: `overlap` says what share of
a split they are. Chance is the commonest class among strings of the trained lengths; it holds for val and test.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from data import random
from data.spec import Spec
from data.tasks.length_range import LengthRange
from data.tasks.synthetic import BOS, FIRST, Examples, Synthetic


class StringClass(Synthetic):
    """Base of these tasks. A subclass says how many symbols and classes there are, and which class a string has."""

    num_symbols: int
    num_classes: int

    def __init__(self, config: Mapping[str, Any], tokenizer_dir: str | None = None):
        self.range = LengthRange(config)
        self.splits = self.range.splits
        super().__init__(config)
        self.spec = Spec(
            source="tokens",
            source_size=FIRST + self.num_symbols,
            target_size=FIRST,
            output="classes",
            output_size=self.num_classes,
            max_source_length=self.range.longest,
            max_target_length=1,
            layout="label",
            trained=(self.range.high, 1),
        )
        share_C = self.shares()
        surprise_C = -np.log(np.where(share_C > 0, share_C, 1.0))
        self.chance = {"token_accuracy": float(share_C.max()), "loss": float((share_C * surprise_C).sum())}
        self.distances = np.zeros(0, np.int64)

    def symbols(self, key_B: np.ndarray, longest: int) -> np.ndarray:
        """(B, N) symbols from 0."""
        return random.integers(key_B, 2, longest, self.num_symbols)

    def classes(self, symbol_BN: np.ndarray, length_B: np.ndarray) -> np.ndarray:
        """(B,) the class of the first `length_B` symbols of each row."""
        raise NotImplementedError

    def shares(self) -> np.ndarray:
        """(C,) how often each class is right, over all strings of the trained lengths."""
        return np.full(self.num_classes, 1 / self.num_classes)

    def space(self, length_B: np.ndarray) -> np.ndarray:
        """(B,) log2 of how many strings have this length."""
        return length_B * np.log2(self.num_symbols)

    def fitting(self, length_B: np.ndarray) -> np.ndarray:
        """(B,) the lengths, shortened to ones that a string can have."""
        return length_B

    def distance(self, length_B: np.ndarray) -> np.ndarray:
        """(B,) how far back the answer lies; -1 where every symbol counts."""
        return np.full_like(length_B, -1)

    def lengths(self, split: str) -> np.ndarray | None:
        return self.range.one_shape(split, 1)

    def draw(self, split: str, key_B: np.ndarray, index_B: np.ndarray) -> Examples:
        shortest, longest = self.range.bounds(split)
        length_B = self.fitting(shortest + self.place(split, key_B, 1, index_B, longest - shortest + 1))
        symbol_BN = self.symbols(key_B, longest)
        rows = len(key_B)
        return Examples(
            np.where(np.arange(longest) < length_B[:, None], FIRST + symbol_BN, 0),
            target_in=np.full((rows, 1), BOS),
            target_out=self.classes(symbol_BN, length_B)[:, None],
            weights=np.ones((rows, 1)),
            distance=self.distance(length_B)[:, None],
            source_length=length_B,
            space=self.space(length_B),
        )
