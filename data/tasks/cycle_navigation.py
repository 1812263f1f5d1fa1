"""Cycle navigation: where on a circle of five places does a walk end?

Delétang et al. 2022, in the frame of `data/tasks/string_class.py`: the symbols are a step back, staying and a step
forward, the class is the place after all of them, from place 0. After few steps some places are likelier, so that
chance lies a little above 1/5. Every step counts, so there is no distance.
"""

import numpy as np

from data.tasks.string_class import StringClass

PLACES = 5


class CycleNavigation(StringClass):
    num_symbols = 3
    num_classes = PLACES

    def classes(self, symbol_BN: np.ndarray, length_B: np.ndarray) -> np.ndarray:
        inside_BN = np.arange(symbol_BN.shape[1]) < length_B[:, None]
        return ((symbol_BN - 1) * inside_BN).sum(axis=1) % PLACES

    def shares(self) -> np.ndarray:
        there_C, share_C = np.eye(PLACES)[0], np.zeros(PLACES)
        for length in range(1, self.range.high + 1):
            there_C = (np.roll(there_C, -1) + there_C + np.roll(there_C, 1)) / 3
            share_C += there_C * (length >= self.range.low)
        return share_C / share_C.sum()
