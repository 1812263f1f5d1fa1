"""Parity: is the number of ones in a string odd? Recurrence keeps one bit; attention must count.

Delétang et al. 2022 (after Hahn 2020). Dims: B examples, N longest length, T = 1 target length.

    source      bits
    target_in   bos
    target_out  1 where the number of ones is odd

Ids: pad, bos, eos, zero, one. Chance is 1/2. Every bit counts, so there is no distance. Lengths are
uniform in [min_length, max_length]; `long_length` above max_length adds the split `test_long` of longer
strings. Short strings are too few to hold any out: `overlap` says what share of a split they are.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from data import random
from data.spec import Spec
from data.tasks.length_range import LengthRange
from data.tasks.synthetic import BOS, FIRST, Examples, Synthetic


class Parity(Synthetic):
    def __init__(self, config: Mapping[str, Any], tokenizer_dir: str | None = None):
        self.range = LengthRange(config)
        self.splits = self.range.splits
        super().__init__(config)
        self.spec = Spec(
            source="tokens",
            source_size=FIRST + 2,
            target_size=FIRST,
            output="classes",
            output_size=2,
            max_source_length=self.range.longest,
            max_target_length=1,
        )
        self.chance = {"token_accuracy": 0.5, "loss": float(np.log(2))}
        self.distances = np.zeros(0, np.int64)

    def lengths(self, split: str) -> np.ndarray | None:
        return self.range.one_shape(split, 1)

    def draw(self, split: str, key_B: np.ndarray, index_B: np.ndarray) -> Examples:
        shortest, longest = self.range.bounds(split)
        length_B = shortest + self.place(split, key_B, 1, index_B, longest - shortest + 1)
        inside_BN = np.arange(longest) < length_B[:, None]
        bit_BN = random.integers(key_B, 2, longest, 2)
        return Examples(
            np.where(inside_BN, FIRST + bit_BN, 0),
            target_in=np.full((len(key_B), 1), BOS),
            target_out=(bit_BN * inside_BN).sum(axis=1, keepdims=True) % 2,
            weights=np.ones((len(key_B), 1)),
            distance=np.full((len(key_B), 1), -1),
            source_length=length_B,
            space=length_B.astype(np.float64),
        )
