"""Induction heads: one special token stands somewhere in random symbols; when it comes again, say what followed it.

Olsson et al. 2022; the form of Gu and Dao 2023 (Mamba), section 4.1.2, after Dao et al. 2023 (H3). A head that looks
for the last time that the current token occurred, and copies what came next, solves it at any length.
Dims: B examples, S source length, T = 1 target length.

    source      s0 s1 special a ... sS-1     the special token once, not at the end
    target_in   special
    target_out  a

Ids: pad, bos, eos, special, then the symbols. Chance is 1 / num_symbols. The place of the special token is uniform, so
that the distance of the answer is uniform from 1 to S - 1. `long_length` above `length` adds the split `test_long`,
whose sequences all have that length. Mamba, trained at 256 (S = 255), is reported to be right at a million; we read
that second-hand.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from data import checks, random
from data.spec import Spec
from data.tasks.synthetic import FIRST, Examples, Synthetic

SPECIAL, FIRST_SYMBOL = FIRST, FIRST + 1


class InductionHeads(Synthetic):
    def __init__(self, config: Mapping[str, Any], tokenizer_dir: str | None = None):
        self.length = checks.integer(config, "length", 3, why="special token, symbol, special token")
        self.long_length = checks.integer(config, "long_length", 0)
        if 0 < self.long_length <= self.length:
            raise ValueError(
                f"data.long_length = {self.long_length} is no longer than data.length = {self.length}; use more, "
                "or 0 for none"
            )
        if self.long_length:
            self.splits = ("train", "val", "test", "test_long")
        super().__init__(config)
        self.num_symbols = checks.integer(config, "num_symbols", 2)
        vocabulary = FIRST_SYMBOL + self.num_symbols
        self.spec = Spec(
            source="tokens",
            source_size=vocabulary,
            target_size=vocabulary,
            output="tokens",
            output_size=vocabulary,
            max_source_length=max(self.length, self.long_length) - 1,
            max_target_length=1,
            shared_vocabulary=True,
            trained=(self.length - 1, 1),
        )
        self.chance = {"token_accuracy": 1 / self.num_symbols, "loss": float(np.log(self.num_symbols))}
        self.distances = np.arange(1, self.length - 1)

    def _source_length(self, split: str) -> int:
        return (self.long_length if split == "test_long" else self.length) - 1

    def lengths(self, split: str) -> np.ndarray | None:
        source_length = self._source_length(split)
        return None if source_length == self.spec.max_source_length else np.array([[source_length, 1]], np.int32)

    def draw(self, split: str, key_B: np.ndarray, index_B: np.ndarray) -> Examples:
        rows, source_length = len(key_B), self._source_length(split)
        special_B1 = self.place(split, key_B, 1, index_B, source_length - 1)[:, None]
        source_BS = FIRST_SYMBOL + random.integers(key_B, 2, source_length, self.num_symbols)
        np.put_along_axis(source_BS, special_B1, SPECIAL, axis=1)
        return Examples(
            source_BS,
            target_in=np.full((rows, 1), SPECIAL),
            target_out=np.take_along_axis(source_BS, special_B1 + 1, axis=1),
            weights=np.ones((rows, 1)),
            distance=source_length - 1 - special_B1,
            source_length=np.full(rows, source_length),
            space=np.full(rows, (source_length - 1) * np.log2(self.num_symbols)),
        )
