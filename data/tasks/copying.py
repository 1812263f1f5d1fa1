"""Delayed copy: read a block of symbols, wait, then give it back.

Hochreiter and Schmidhuber 1997; the form of Arjovsky et al. 2016 (uRNN): block, blanks, a marker, and as
many blanks as there are symbols to give. Dims: B examples, N block length, S source length, T target length.

    source      blank ... s0 s1 ... sN-1 ... blank marker     block + blanks + nothing else: S = N + num_blanks
    target_in   blank ... blank                               N of them: no answer is shown to the model
    target_out  s0 s1 ... sN-1

Ids: pad, bos, eos, blank, marker, then the symbols. Chance is 1 / num_symbols, a loss of ln num_symbols;
the papers average over the blanks as well, which makes it N ln num_symbols / (num_blanks + 2 N).
`offset` = "start" is the papers'; "anywhere" moves the block through the source, and with it the
distance, which is one for a whole example: S minus the block's offset.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from data import checks, random
from data.spec import Spec
from data.tasks.synthetic import FIRST, Examples, Synthetic

BLANK, MARKER, FIRST_SYMBOL = FIRST, FIRST + 1, FIRST + 2


class Copying(Synthetic):
    def __init__(self, config: Mapping[str, Any], tokenizer_dir: str | None = None):
        super().__init__(config)
        self.num_symbols = checks.integer(config, "num_symbols", 2)
        self.block_length = checks.integer(config, "block_length", 1)
        num_blanks = checks.integer(config, "num_blanks", 1, why="the last is the marker")
        offset = checks.choice(config, "offset", ("start", "anywhere"))
        self.num_offsets = num_blanks if offset == "anywhere" else 1
        source_length = self.block_length + num_blanks
        vocabulary = FIRST_SYMBOL + self.num_symbols
        self.spec = Spec(
            source="tokens",
            source_size=vocabulary,
            target_size=vocabulary,
            output="tokens",
            output_size=vocabulary,
            max_source_length=source_length,
            max_target_length=self.block_length,
            shared_vocabulary=True,
        )
        self.chance = {"token_accuracy": 1 / self.num_symbols, "loss": float(np.log(self.num_symbols))}
        self.distances = source_length - np.arange(self.num_offsets)[::-1]

    def draw(self, split: str, key_B: np.ndarray, index_B: np.ndarray) -> Examples:
        rows, source_length = len(key_B), self.spec.max_source_length
        offset_B = self.place(split, key_B, 1, index_B, self.num_offsets)
        symbol_BN = FIRST_SYMBOL + random.integers(key_B, 2, self.block_length, self.num_symbols)
        source_BS = np.full((rows, source_length), BLANK)
        source_BS[:, -1] = MARKER
        np.put_along_axis(source_BS, offset_B[:, None] + np.arange(self.block_length), symbol_BN, axis=1)
        return Examples(
            source_BS,
            target_in=np.full_like(symbol_BN, BLANK),
            target_out=symbol_BN,
            weights=np.ones(symbol_BN.shape),
            distance=np.broadcast_to(source_length - offset_B[:, None], symbol_BN.shape).copy(),
            source_length=np.full(rows, source_length),
            space=np.full(rows, self.block_length * np.log2(self.num_symbols)),
        )
