"""Odds first: the symbols at odd places (the second, the fourth, ...), then those at even ones, each in their order.

Delétang et al. 2022, in the frame of `data/tasks/string_answer.py`; 0 1 2 3 4 is answered by 1 3 0 2 4. Chance is
1 / num_symbols. Of n symbols, answer j is place 2 j + 1, or 2 j less twice the number of odd places, and lies
n + j - place back. Places count from zero, as the paper's code does; its comment counts from one, and so begins with
the first.
"""

import numpy as np

from data.tasks.string_answer import StringAnswer


class OddsFirst(StringAnswer):
    def order(self, symbol_BN: np.ndarray, length_B1: np.ndarray, answer_T: np.ndarray) -> np.ndarray:
        odd_B1 = length_B1 // 2
        return np.where(answer_T < odd_B1, 2 * answer_T + 1, 2 * (answer_T - odd_B1))
