"""Noisy recall: keys and their values come again and again, with noise between them; tell the value of each known key.

Poli et al. 2024 (MAD), in-context recall and its noisy form, in the frame of `data/tasks/repeated_keys.py`. Dims:
B examples, P places for a pair, K keys.

A sequence of `length` tokens is `length` / 2 places. Each holds a key and its value or, with probability `noise`, two
noise tokens; the last asks for a key that has been there. Each example gives every key a value of its own, drawn
uniformly, so that several keys may have the same. Without noise it is the paper's in-context recall.

Ids: pad, bos, eos, then the keys, the values, the noise. Chance is 1 / num_values.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from data import checks, random
from data.spec import Spec
from data.tasks.repeated_keys import cut
from data.tasks.synthetic import FIRST, Examples, Synthetic


class NoisyRecall(Synthetic):
    def __init__(self, config: Mapping[str, Any], tokenizer_dir: str | None = None):
        super().__init__(config)
        self.num_keys = checks.integer(config, "num_keys", 2)
        self.num_values = checks.integer(config, "num_values", 2)
        self.num_noise = checks.integer(config, "num_noise", 1)
        self.noise = float(config["noise"])
        if not 0 <= self.noise < 1:
            raise ValueError(f"data.noise = {self.noise} is no share of places; use 0 or more, below 1")
        self.length = checks.integer(config, "length", 4, why="a pair, then its key again")
        if self.length % 2:
            raise ValueError(f"data.length = {self.length} is odd; use {self.length + 1}: pairs of two tokens")
        self.source_length = checks.integer(config, "source_length", 1, self.length - 2, "data.length less a pair")
        vocabulary = FIRST + self.num_keys + self.num_values + self.num_noise
        self.spec = Spec(
            source="tokens",
            source_size=vocabulary,
            target_size=vocabulary,
            output="tokens",
            output_size=vocabulary,
            max_source_length=self.source_length,
            max_target_length=self.length - 1 - self.source_length,
            shared_vocabulary=True,
        )
        self.chance = {"token_accuracy": 1 / self.num_values, "loss": float(np.log(self.num_values))}
        self.distances = np.zeros(0, np.int64)  # near repetitions are likelier than far ones

    def draw(self, split: str, key_B: np.ndarray, index_B: np.ndarray) -> Examples:
        rows, places = len(key_B), self.length // 2
        pair_BP = random.uniform(key_B, 1, places) >= self.noise
        np.put_along_axis(pair_BP, random.integers(key_B, 2, 1, places - 1), True, axis=1)  # there is one at least
        which_BP = random.integers(key_B, 3, places, self.num_keys)
        value_BK = random.integers(key_B, 4, self.num_keys, self.num_values)
        noise_BN = FIRST + self.num_keys + self.num_values + random.integers(key_B, 5, self.length, self.num_noise)

        last_BK = np.full((rows, self.num_keys), -1)  # the place where each key was last
        given_BN = np.full((rows, self.length), -1)
        for place in range(places):
            if place == places - 1:
                pair_BP[:, place] = True
                which_BP[:, place] = np.where(last_BK >= 0, random.uniform(key_B, 6, self.num_keys), -1).argmax(axis=1)
            which_B1, there_B = which_BP[:, place, None], pair_BP[:, place]
            before_B = np.take_along_axis(last_BK, which_B1, axis=1)[:, 0]
            given_BN[:, 2 * place + 1] = np.where(there_B & (before_B >= 0), 2 * before_B + 1, -1)
            np.put_along_axis(last_BK, which_B1, np.where(there_B, place, before_B)[:, None], axis=1)

        token_BN = noise_BN
        token_BN[:, ::2] = np.where(pair_BP, FIRST + which_BP, noise_BN[:, ::2])
        value_BP = FIRST + self.num_keys + np.take_along_axis(value_BK, which_BP, axis=1)
        token_BN[:, 1::2] = np.where(pair_BP, value_BP, noise_BN[:, 1::2])
        return cut(token_BN, given_BN, self.source_length, self.source_length // 2 * np.log2(self.num_keys))
