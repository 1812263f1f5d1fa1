"""Modular arithmetic without brackets: the value of a sum of products, modulo five.

Delétang et al. 2022 ("simple"), in the frame of `data/tasks/string_class.py`: digits 0 to 4 with plus, minus or times
between them, and times binds closer: 1 - 2 * 3 is 0. Such strings have an odd length; an even one is shortened by one
symbol, as in the paper's code. Zero is the likeliest value, since products are often zero, so that chance lies above
1/5. Every symbol can count, so there is no distance.
"""

import numpy as np

from data import random
from data.tasks.string_class import StringClass

MODULUS = 5
PLUS, MINUS, TIMES = range(MODULUS, MODULUS + 3)


class ModularArithmetic(StringClass):
    num_symbols = MODULUS + 3
    num_classes = MODULUS

    def symbols(self, key_B: np.ndarray, longest: int) -> np.ndarray:
        symbol_BN = random.integers(key_B, 2, longest, MODULUS)
        symbol_BN[:, 1::2] = PLUS + random.integers(key_B, 3, longest // 2, 3)
        return symbol_BN

    def classes(self, symbol_BN: np.ndarray, length_B: np.ndarray) -> np.ndarray:
        """Left to right, with the sum of the finished terms and the term that is being multiplied."""
        sum_B, term_B = np.zeros_like(length_B), symbol_BN[:, 0]
        for n in range(1, symbol_BN.shape[1] - 1, 2):
            operator_B, digit_B, inside_B = symbol_BN[:, n], symbol_BN[:, n + 1], n < length_B
            multiplied_B = operator_B == TIMES
            sum_B = np.where(inside_B & ~multiplied_B, sum_B + term_B, sum_B) % MODULUS
            signed_B = np.where(operator_B == MINUS, -digit_B, digit_B)
            term_B = np.where(inside_B, np.where(multiplied_B, term_B * digit_B, signed_B), term_B) % MODULUS
        return (sum_B + term_B) % MODULUS

    def shares(self) -> np.ndarray:
        digit = np.arange(MODULUS)
        uniform = np.full(MODULUS, 1 / MODULUS)
        times = np.zeros((MODULUS, MODULUS))  # from a term to what a random digit makes of it
        np.add.at(times, (digit[:, None], digit[:, None] * digit % MODULUS), 1 / MODULUS)
        value_C, share_C = uniform, np.zeros(MODULUS)
        both = np.outer(digit == 0, uniform)  # probability of (sum of the finished terms, last term)
        for length in range(1, self.range.high + 1):
            if length % 2 and length > 1:
                both = np.outer(value_C, uniform) * 2 / 3 + both @ times / 3
                value_C = np.array([both[digit, (total - digit) % MODULUS].sum() for total in digit])
            share_C += value_C * (length >= self.range.low)
        return share_C / share_C.sum()

    def space(self, length_B: np.ndarray) -> np.ndarray:
        return (length_B + 1) // 2 * np.log2(MODULUS) + length_B // 2 * np.log2(3)

    def fitting(self, length_B: np.ndarray) -> np.ndarray:
        return length_B - 1 + length_B % 2
