"""Memorization: give the value of each key from memory; what belongs to what is learned and nowhere to be read.

Poli et al. 2024 (MAD). Dims: B examples, N tokens of the sequence, S source length, T target length.

    sequence    k7 insert k2 insert ...      keys, drawn with repetition
    source      its first S tokens
    target_in   the tokens from S on
    target_out  - v7 - v2 ...                weighted at `insert`

One map from keys to values, no two of which are the same, holds for every example, split and seed. So evaluation asks
for what training has taught, in sequences that it has not shown. The source tells nothing that helps; it is there
since some architectures need one (the paper asks for all keys of a sequence, here the target's). The paper has 12,800
training examples; here every one is new.

Ids: pad, bos, eos, insert, then the keys, the values. Chance is 1 / num_keys: as many values are in use. The answer is
in no token, so there is no distance.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from data import checks, random
from data.spec import Spec
from data.tasks.synthetic import FIRST, Examples, Synthetic

INSERT, FIRST_KEY = FIRST, FIRST + 1


class Memorization(Synthetic):
    def __init__(self, config: Mapping[str, Any], tokenizer_dir: str | None = None):
        super().__init__(config)
        self.num_keys = checks.integer(config, "num_keys", 2)
        self.num_values = checks.integer(config, "num_values", self.num_keys, why="one for each of data.num_keys")
        self.length = checks.integer(config, "length", 4, why="two keys and two to insert")
        self.source_length = checks.integer(config, "source_length", 2, self.length - 2, "data.length less a key's two")
        for key in ("length", "source_length"):
            if config[key] % 2:
                raise ValueError(f"data.{key} = {config[key]} is odd; use {config[key] - 1}: a key and what to insert")
        vocabulary = FIRST_KEY + self.num_keys + self.num_values
        self.spec = Spec(
            source="tokens",
            source_size=vocabulary,
            target_size=vocabulary,
            output="tokens",
            output_size=vocabulary,
            max_source_length=self.source_length,
            max_target_length=self.length - self.source_length,
            shared_vocabulary=True,
        )
        self.value_K = random.distinct(random.keys(0, 0, np.zeros(1)), 1, self.num_keys, self.num_values)[0]
        self.chance = {"token_accuracy": 1 / self.num_keys, "loss": float(np.log(self.num_keys))}
        self.distances = np.zeros(0, np.int64)

    def draw(self, split: str, key_B: np.ndarray, index_B: np.ndarray) -> Examples:
        rows, source_length = len(key_B), self.source_length
        which_BN = random.integers(key_B, 1, self.length // 2, self.num_keys)
        token_BN = np.full((rows, self.length), INSERT)
        token_BN[:, ::2] = FIRST_KEY + which_BN
        target_out_BT = np.zeros((rows, self.length - source_length), np.int64)
        target_out_BT[:, 1::2] = FIRST_KEY + self.num_keys + self.value_K[which_BN[:, source_length // 2 :]]
        return Examples(
            token_BN[:, :source_length].copy(),
            target_in=token_BN[:, source_length:].copy(),
            target_out=target_out_BT,
            weights=(target_out_BT > 0).astype(np.float32),
            distance=np.full_like(target_out_BT, -1),
            source_length=np.full(rows, source_length),
            space=np.full(rows, source_length // 2 * np.log2(self.num_keys)),
        )
