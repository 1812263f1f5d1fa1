"""What tasks share that answer a string with its symbols in another order: all at once, no answer is shown.

The frame of Delétang et al. 2022 for strings as answers. Dims: B examples, N longest length, T = N times `copies`.

    source      s0 s1 ... sn-1
    target_in   blank ... blank          as many as there are answers
    target_out  the symbols in their new order

Ids: pad, bos, eos, blank, then the symbols. Lengths are uniform in [min_length, max_length]; `long_length` above
max_length adds the split `test_long` of longer strings. Short strings are too few to hold any out: `overlap` says what
share of a split they are. Chance holds for val and test.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from data import checks, random
from data.spec import Spec
from data.tasks.length_range import LengthRange
from data.tasks.synthetic import FIRST, Examples, Synthetic

BLANK, FIRST_SYMBOL = FIRST, FIRST + 1


class StringAnswer(Synthetic):
    """Base of these tasks. A subclass says which place of the source each answer comes from."""

    copies = 1  # answers for each symbol of the source
    placed = True  # whether an answer lies at one place of the source, and so at a distance

    def __init__(self, config: Mapping[str, Any], tokenizer_dir: str | None = None):
        self.range = LengthRange(config)
        self.splits = self.range.splits
        super().__init__(config)
        self.num_symbols = checks.integer(config, "num_symbols", 2)
        vocabulary = FIRST_SYMBOL + self.num_symbols
        self.spec = Spec(
            source="tokens",
            source_size=vocabulary,
            target_size=vocabulary,
            output="tokens",
            output_size=vocabulary,
            max_source_length=self.range.longest,
            max_target_length=self.range.longest * self.copies,
            layout="aligned" if self.copies == 1 else "sequence",
            shared_vocabulary=True,
            trained=(self.range.high, self.range.high * self.copies),
        )
        self.chance = self.blind()
        self.distances = np.zeros(0, np.int64)  # they are not dealt out evenly

    def order(self, symbol_BN: np.ndarray, length_B1: np.ndarray, answer_T: np.ndarray) -> np.ndarray:
        """(B, T) the place of each answer in the source; anything behind the last one."""
        raise NotImplementedError

    def blind(self) -> dict[str, float]:
        """Chance. Each answer is a symbol of its own, unless a subclass says otherwise."""
        return {"token_accuracy": 1 / self.num_symbols, "loss": float(np.log(self.num_symbols))}

    def lengths(self, split: str) -> np.ndarray | None:
        return self.range.one_shape(split, self.range.bounds(split)[1] * self.copies)

    def draw(self, split: str, key_B: np.ndarray, index_B: np.ndarray) -> Examples:
        shortest, longest = self.range.bounds(split)
        length_B = shortest + self.place(split, key_B, 1, index_B, longest - shortest + 1)
        length_B1, answer_T = length_B[:, None], np.arange(longest * self.copies)
        symbol_BN = random.integers(key_B, 2, longest, self.num_symbols)
        asked_BT = answer_T < length_B1 * self.copies
        place_BT = np.where(asked_BT, self.order(symbol_BN, length_B1, answer_T), 0)
        symbol_BT = np.take_along_axis(symbol_BN, place_BT, axis=1)
        return Examples(
            np.where(np.arange(longest) < length_B1, FIRST_SYMBOL + symbol_BN, 0),
            target_in=asked_BT * BLANK,
            target_out=asked_BT * (FIRST_SYMBOL + symbol_BT),
            weights=asked_BT.astype(np.float32),
            distance=length_B1 + answer_T - place_BT if self.placed else np.full(asked_BT.shape, -1),
            source_length=length_B,
            space=length_B * np.log2(self.num_symbols),
        )
