"""Duplicate string: give the string twice.

Delétang et al. 2022, in the frame of `data/tasks/string_answer.py`. Chance is 1 / num_symbols. Of n symbols, the first
n answers lie n back, the others 2 n.
"""

import numpy as np

from data.tasks.string_answer import StringAnswer


class DuplicateString(StringAnswer):
    copies = 2

    def order(self, symbol_BN: np.ndarray, length_B1: np.ndarray, answer_T: np.ndarray) -> np.ndarray:
        return answer_T % length_B1
