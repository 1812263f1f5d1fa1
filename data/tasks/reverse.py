"""Sequence to sequence with a known alignment: give the source back, reversed or in order.

Reversal as in Delétang et al. 2022; copying with permuted symbols is a translation whose every word is
known. Dims: B examples, N longest length, V symbols.

    source      s0 s1 ... sn-1
    target_in   bos t0 t1 ...            the shifted target: free-running decoding works
    target_out  t0 t1 ... (eos)          t = the mapped symbols in their order; eos where lengths vary

Ids: pad, bos, eos, then the symbols. `order` is "reversed" or "same"; `permuted` maps each symbol to
another by one fixed permutation. Lengths are uniform in [min_length, max_length]; where they vary the
target ends with eos, and `long_length` above max_length adds the split `test_long` of longer sequences.
Evaluation deals lengths out evenly. Answer j lies 2 j + 1 back when reversed, n when not; eos has none.
Chance knows how lengths are distributed in training: at each weighted position it takes the likelier of
eos and one symbol. It holds for val and test, not for `test_long`.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from data import checks, random
from data.spec import Spec
from data.tasks.length_range import LengthRange
from data.tasks.synthetic import BOS, EOS, FIRST, Examples, Synthetic


class Reverse(Synthetic):
    def __init__(self, config: Mapping[str, Any], tokenizer_dir: str | None = None):
        self.range = LengthRange(config)
        self.splits = self.range.splits
        super().__init__(config)
        self.num_symbols = checks.integer(config, "num_symbols", 2)
        self.reversed = checks.choice(config, "order", ("reversed", "same")) == "reversed"
        symbol_V = np.arange(self.num_symbols)
        if config["permuted"]:
            symbol_V = random.permutations(random.keys(0, 0, np.zeros(1)), 1, self.num_symbols)[0]
        self.mapped_V = symbol_V
        self.ends = int(self.range.varies)
        vocabulary = FIRST + self.num_symbols
        self.spec = Spec(
            source="tokens",
            source_size=vocabulary,
            target_size=vocabulary,
            output="tokens",
            output_size=vocabulary,
            max_source_length=self.range.longest,
            max_target_length=self.range.longest + self.ends,
            free_running=True,
            shared_vocabulary=True,
            eos=EOS if self.ends else None,
            trained=(self.range.high, self.range.high + self.ends),
        )
        self.chance = self._chance()
        length = self.range.high
        self.distances = np.arange(1, 2 * length, 2) if self.reversed else np.array([length])
        if self.ends:
            self.distances = np.zeros(0, np.int64)

    def _chance(self) -> dict[str, float]:
        low, high = self.range.low, self.range.high
        position_T = np.arange(high + self.ends)
        symbol_T = (high - np.maximum(position_T, low - 1)) / (high - low + 1)  # P(a symbol stands here)
        end_T = (position_T >= low) * self.ends / (high - low + 1)
        here_T = symbol_T + end_T
        surprise_T = symbol_T * np.log(self.num_symbols)
        for part_T in (symbol_T, end_T):
            surprise_T = surprise_T - part_T * np.log(np.where(part_T > 0, part_T, 1.0) / here_T)
        accuracy = np.maximum(symbol_T / self.num_symbols, end_T).sum() / here_T.sum()
        return {"token_accuracy": float(accuracy), "loss": float(surprise_T.sum() / here_T.sum())}

    def lengths(self, split: str) -> np.ndarray | None:
        return self.range.one_shape(split, self.range.bounds(split)[1] + self.ends)

    def draw(self, split: str, key_B: np.ndarray, index_B: np.ndarray) -> Examples:
        shortest, longest = self.range.bounds(split)
        length_B = shortest + self.place(split, key_B, 1, index_B, longest - shortest + 1)
        n_B1, j_N, rows = length_B[:, None], np.arange(longest), len(key_B)
        inside_BN = j_N < n_B1
        symbol_BN = random.integers(key_B, 2, longest, self.num_symbols)
        place_BN = np.where(inside_BN, n_B1 - 1 - j_N if self.reversed else j_N, 0)
        answer_BN = FIRST + self.mapped_V[np.take_along_axis(symbol_BN, place_BN, axis=1)]

        target_out_BT = np.zeros((rows, longest + self.ends), np.int64)
        target_out_BT[:, :longest] = np.where(inside_BN, answer_BN, 0)
        if self.ends:
            np.put_along_axis(target_out_BT, n_B1, EOS, axis=1)
        weights_BT = (np.arange(longest + self.ends) < n_B1 + self.ends).astype(np.float32)
        target_in_BT = np.full_like(target_out_BT, BOS)
        target_in_BT[:, 1:] = target_out_BT[:, :-1] * (weights_BT[:, 1:] > 0)
        distance_BT = np.full(target_out_BT.shape, -1)
        distance_BT[:, :longest] = np.where(inside_BN, 2 * j_N + 1 if self.reversed else n_B1, -1)
        return Examples(
            np.where(inside_BN, FIRST + symbol_BN, 0),
            target_in_BT,
            target_out_BT,
            weights_BT,
            distance_BT,
            source_length=length_B,
            space=length_B * np.log2(self.num_symbols),
        )
