"""Selective copying: symbols lie scattered among blanks; output them in order.

Gu and Dao 2023 (Mamba), section 4.1.1; Jing et al. 2019. A fixed filter can time a delayed copy, but not
this. Dims: B examples, N symbols to keep, S source length, T = N target length, V symbols.

    source      blank s0 blank blank s1 ... sN-1 blank       S = num_blanks + num_kept
    target_in   marker ... marker                            no answer is shown to the model
    target_out  s0 s1 ... sN-1

Ids: pad, bos, eos, blank, marker, then the symbols. Chance is 1 / num_symbols. The kept places are a
uniform subset of the source, so that the distance of an answer is uniform from N to S.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from data import checks, random
from data.spec import Spec
from data.tasks.synthetic import FIRST, Examples, Synthetic

BLANK, MARKER, FIRST_SYMBOL = FIRST, FIRST + 1, FIRST + 2


class SelectiveCopying(Synthetic):
    def __init__(self, config: Mapping[str, Any], tokenizer_dir: str | None = None):
        super().__init__(config)
        self.num_symbols = checks.integer(config, "num_symbols", 2)
        self.num_kept = checks.integer(config, "num_kept", 1)
        self.num_blanks = checks.integer(config, "num_blanks", 1)
        source_length = self.num_blanks + self.num_kept
        vocabulary = FIRST_SYMBOL + self.num_symbols
        self.spec = Spec(
            source="tokens",
            source_size=vocabulary,
            target_size=vocabulary,
            output="tokens",
            output_size=vocabulary,
            max_source_length=source_length,
            max_target_length=self.num_kept,
            shared_vocabulary=True,
        )
        self.chance = {"token_accuracy": 1 / self.num_symbols, "loss": float(np.log(self.num_symbols))}
        self.distances = np.arange(self.num_kept, source_length + 1)

    def draw(self, split: str, key_B: np.ndarray, index_B: np.ndarray) -> Examples:
        rows, source_length = len(key_B), self.spec.max_source_length
        layout_B, turn_B1 = self.layout(split != "train", split, key_B, index_B, self.num_blanks + 1)
        subset_BN = np.sort(random.distinct(layout_B, 1, self.num_kept, source_length), axis=1)
        blanks_before_BN = subset_BN - np.arange(self.num_kept)
        blanks_before_BN = np.sort((blanks_before_BN + turn_B1) % (self.num_blanks + 1), axis=1)
        place_BN = blanks_before_BN + np.arange(self.num_kept)
        symbol_BN = FIRST_SYMBOL + random.integers(key_B, 2, self.num_kept, self.num_symbols)
        source_BS = np.full((rows, source_length), BLANK)
        np.put_along_axis(source_BS, place_BN, symbol_BN, axis=1)
        return Examples(
            source_BS,
            target_in=np.full_like(symbol_BN, MARKER),
            target_out=symbol_BN,
            weights=np.ones(symbol_BN.shape),
            distance=source_length - blanks_before_BN,
            source_length=np.full(rows, source_length),
            space=np.full(rows, self.num_kept * np.log2(self.num_symbols)),
        )
