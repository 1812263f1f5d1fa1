"""Compression: read random symbols, then give back the symbol of every place, asked for in random order.

Poli et al. 2024 (MAD): there the last token's vector alone is decoded, by place. Here the bottleneck is the
architecture's: with one fixed context vector (`rnn`, `lstm`, `gru`) it is the same question, and what attends to the
source has none. The paper has 12,800 training examples; here every one is new. Dims: B examples, N symbols,
S = N + 1 source length, T = N target length.

    source      s0 s1 ... sN-1 end
    target_in   p7 p0 ...                 places, each once
    target_out  s7 s0 ...

Ids: pad, bos, eos, end, then the symbols, then the places. Chance is 1 / num_symbols. Answer t, of place p, lies
N + 1 + t - p back; distances near N + 1 are likeliest.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from data import checks, random
from data.spec import Spec
from data.tasks.synthetic import FIRST, Examples, Synthetic

END, FIRST_SYMBOL = FIRST, FIRST + 1


class Compression(Synthetic):
    def __init__(self, config: Mapping[str, Any], tokenizer_dir: str | None = None):
        super().__init__(config)
        self.num_symbols = checks.integer(config, "num_symbols", 2)
        self.length = checks.integer(config, "length", 2, why="a symbol and the end")
        vocabulary = FIRST_SYMBOL + self.num_symbols + self.length - 1
        self.spec = Spec(
            source="tokens",
            source_size=vocabulary,
            target_size=vocabulary,
            output="tokens",
            output_size=vocabulary,
            max_source_length=self.length,
            max_target_length=self.length - 1,
            shared_vocabulary=True,
        )
        self.chance = {"token_accuracy": 1 / self.num_symbols, "loss": float(np.log(self.num_symbols))}
        self.distances = np.zeros(0, np.int64)  # they are not dealt out evenly

    def draw(self, split: str, key_B: np.ndarray, index_B: np.ndarray) -> Examples:
        rows, symbols = len(key_B), self.length - 1
        symbol_BN = FIRST_SYMBOL + random.integers(key_B, 1, symbols, self.num_symbols)
        place_BN = random.permutations(key_B, 2, symbols)
        return Examples(
            np.concatenate([symbol_BN, np.full((rows, 1), END)], axis=1),
            target_in=FIRST_SYMBOL + self.num_symbols + place_BN,
            target_out=np.take_along_axis(symbol_BN, place_BN, axis=1),
            weights=np.ones(symbol_BN.shape),
            distance=self.length + np.arange(symbols) - place_BN,
            source_length=np.full(rows, self.length),
            space=np.full(rows, symbols * np.log2(self.num_symbols)),
        )
