"""Examples of different length: uniform in a range, and longer than any of training in a split of their own."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from data import checks


class LengthRange:
    """`min_length` to `max_length` in train, val and test; up to `long_length` in `test_long` (0: no such split)."""

    def __init__(self, config: Mapping[str, Any]):
        self.low = checks.integer(config, "min_length", 1)
        self.high = checks.integer(config, "max_length", self.low, why="data.min_length")
        long = checks.integer(config, "long_length", 0)
        if 0 < long <= self.high:
            raise ValueError(
                f"data.long_length = {long} is no longer than data.max_length = {self.high}; use more, or 0 for none"
            )
        self.longest = max(self.high, long)
        self.varies = self.low < self.high or bool(long)
        self.splits = ("train", "val", "test", "test_long") if long else ("train", "val", "test")

    def bounds(self, split: str) -> tuple[int, int]:
        """The shortest and the longest length of a split."""
        return (self.high + 1, self.longest) if split == "test_long" else (self.low, self.high)

    def one_shape(self, split: str, target_length: int) -> np.ndarray | None:
        """The one row of `Task.lengths`: every batch of the split is padded to the split's longest."""
        longest = self.bounds(split)[1]
        return None if longest == self.longest else np.array([[longest, target_length]], np.int32)
