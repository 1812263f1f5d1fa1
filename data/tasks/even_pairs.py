"""Even pairs: does a string of two symbols change from one to the other an even number of times?

Delétang et al. 2022, in the frame of `data/tasks/string_class.py`: class 1 where the number of neighbours that differ
is odd, which is where the first and the last symbol differ. So the answer lies as far back as the string is long, and
evaluation, which deals lengths out evenly, measures every distance equally often. Chance is a little above 1/2 where
there are strings of one symbol, which have no neighbours.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from data.tasks.string_class import StringClass


class EvenPairs(StringClass):
    num_symbols = 2
    num_classes = 2

    def __init__(self, config: Mapping[str, Any], tokenizer_dir: str | None = None):
        super().__init__(config)
        self.distances = np.arange(self.range.low, self.range.high + 1)

    def classes(self, symbol_BN: np.ndarray, length_B: np.ndarray) -> np.ndarray:
        last_B = np.take_along_axis(symbol_BN, length_B[:, None] - 1, axis=1)[:, 0]
        return (symbol_BN[:, 0] != last_B).astype(np.int64)

    def shares(self) -> np.ndarray:
        single = (self.range.low == 1) / (self.range.high - self.range.low + 1)
        return np.array([0.5 + single / 2, 0.5 - single / 2])

    def distance(self, length_B: np.ndarray) -> np.ndarray:
        return length_B
