"""Bucket sort: give the symbols in ascending order. How often each occurs is all that must be kept.

Delétang et al. 2022, in the frame of `data/tasks/string_answer.py`. An answer depends on every symbol, so there is no
distance. Chance is well above 1 / num_symbols: the first answers are mostly the smallest symbol.
"""

import numpy as np

from data.tasks.string_answer import StringAnswer


class BucketSort(StringAnswer):
    placed = False

    def order(self, symbol_BN: np.ndarray, length_B1: np.ndarray, answer_T: np.ndarray) -> np.ndarray:
        inside_BN = np.arange(symbol_BN.shape[1]) < length_B1
        return np.argsort(np.where(inside_BN, symbol_BN, self.num_symbols), axis=1, kind="stable")

    def blind(self) -> dict[str, float]:
        """For each place the shares of the symbols there, over the trained lengths that have it.

        Sorted symbol t of n is at most k where more than t of the n are, each with probability (k + 1) / num_symbols.
        """
        high, below_K = self.range.high, np.arange(1, self.num_symbols + 1) / self.num_symbols
        count_KN = np.zeros((self.num_symbols, high + 1))  # probability that so many are at most k
        count_KN[:, 0] = 1.0
        share_KT = np.zeros((self.num_symbols, high))
        for length in range(1, high + 1):
            more_KN = np.roll(count_KN, 1, axis=1)
            count_KN = count_KN * (1 - below_K[:, None]) + more_KN * below_K[:, None]
            if length >= self.range.low:
                at_most_KT = 1 - np.cumsum(count_KN, axis=1)[:, :high]
                share_KT += np.diff(at_most_KT, axis=0, prepend=0.0) * (np.arange(high) < length)
        here_T = share_KT.sum(axis=0)
        surprise_KT = share_KT * np.log(np.maximum(share_KT, 1e-300) / here_T)
        return {
            "token_accuracy": float(share_KT.max(axis=0).sum() / here_T.sum()),
            "loss": float(-surprise_KT.sum() / here_T.sum()),
        }
