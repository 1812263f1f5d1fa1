"""Parity: is the number of ones in a string odd? Recurrence keeps one bit; attention must count.

Delétang et al. 2022 (after Hahn 2020), in the frame of `data/tasks/string_class.py`: the symbols are zero and one, the
class is 1 where the number of ones is odd. Chance is 1/2. Every bit counts, so there is no distance.
"""

import numpy as np

from data.tasks.string_class import StringClass


class Parity(StringClass):
    num_symbols = 2
    num_classes = 2

    def classes(self, symbol_BN: np.ndarray, length_B: np.ndarray) -> np.ndarray:
        return (symbol_BN * (np.arange(symbol_BN.shape[1]) < length_B[:, None])).sum(axis=1) % 2
