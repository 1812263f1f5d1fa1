"""Fuzzy recall: keys and values are several tokens each, in their order; tell the value of each key that comes again.

Poli et al. 2024 (MAD), fuzzy in-context recall, in the frame of `data/tasks/repeated_keys.py`. Dims: B examples,
P pairs, M longest motif.

A key is one to `max_key` different key tokens, a value one to `max_value` different value tokens; where a key ends is
seen only where a value begins. Each example gives every key a value of its own, of a length of its own. As in the
paper, keys of evaluation all have `max_key` tokens. The last pair asks for a key that has been there, and a sequence
has at most `length` tokens; behind its last pair it is padded.

Ids: pad, bos, eos, then the tokens of keys and those of values. Chance is 1 / num_value_tokens.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from data import checks, random
from data.spec import Spec
from data.tasks.repeated_keys import cut
from data.tasks.synthetic import FIRST, Examples, Synthetic


class FuzzyRecall(Synthetic):
    def __init__(self, config: Mapping[str, Any], tokenizer_dir: str | None = None):
        super().__init__(config)
        self.num_key_tokens = checks.integer(config, "num_key_tokens", 2)
        self.num_value_tokens = checks.integer(config, "num_value_tokens", 2)
        self.max_key = checks.integer(config, "max_key", 1, self.num_key_tokens, "data.num_key_tokens")
        self.max_value = checks.integer(config, "max_value", 1, self.num_value_tokens, "data.num_value_tokens")
        longest = self.max_key + self.max_value
        self.source_length = checks.integer(config, "source_length", 1)
        self.length = checks.integer(
            config, "length", self.source_length + 2 * longest, why="two longest pairs behind data.source_length"
        )
        vocabulary = FIRST + self.num_key_tokens + self.num_value_tokens
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
        self.chance = {"token_accuracy": 1 / self.num_value_tokens, "loss": float(np.log(self.num_value_tokens))}
        self.distances = np.zeros(0, np.int64)  # near repetitions are likelier than far ones

    def draw(self, split: str, key_B: np.ndarray, index_B: np.ndarray) -> Examples:
        room = self.length - self.max_key - self.max_value  # the last pair needs the rest
        shortest_key = 1 if split == "train" else self.max_key
        pairs = room // (shortest_key + 1) + 1
        key_size_BP = shortest_key + random.integers(key_B, 1, pairs, self.max_key - shortest_key + 1)
        each_BP = random.keys(0, 1, np.arange(pairs)) + key_B[:, None]
        key_BPM = motifs(each_BP, self.num_key_tokens, self.max_key)
        code_BP = code(key_BPM, key_size_BP, self.num_key_tokens)
        # What is drawn for a value depends on the example and the key alone, wherever in it the key stands.
        own_BP = random.keys(0, 2, code_BP) + key_B[:, None]
        value_size_BP = 1 + random.integers(own_BP.ravel(), 2, 1, self.max_value).reshape(code_BP.shape)
        value_BPM = self.num_key_tokens + motifs(own_BP, self.num_value_tokens, self.max_value)

        # The pairs that there is room for, then one of them again; the others are not used.
        count_B1 = (np.cumsum(key_size_BP + value_size_BP, axis=1) <= room).sum(axis=1, keepdims=True)
        place_P, again_B1 = np.arange(pairs), random.integers(key_B, 3, 1, count_B1)
        turn_BP = np.where(place_P == count_B1, again_B1, place_P)
        key_size_BP, value_size_BP, code_BP = (
            np.take_along_axis(array, turn_BP, axis=1) for array in (key_size_BP, value_size_BP, code_BP)
        )
        pair_BPM = np.concatenate([key_BPM, value_BPM], axis=2)
        pair_BPM = FIRST + np.take_along_axis(pair_BPM, turn_BP[:, :, None], axis=1)
        size_BP = np.where(place_P <= count_B1, key_size_BP + value_size_BP, 0)
        start_BP = np.cumsum(size_BP, axis=1) - size_BP
        back_BP = start_BP - np.take_along_axis(start_BP, last_same(code_BP), axis=1)  # 0 where the key is new

        # Token m of a pair is the key's, or behind its end the value's; what is not used goes where it is cut off.
        m = np.arange(self.max_key + self.max_value)
        of_key_BPM = m < key_size_BP[:, :, None]
        token_BPM = np.where(of_key_BPM, m, np.minimum(m + self.max_key - key_size_BP[:, :, None], m[-1]))
        token_BPM = np.take_along_axis(pair_BPM, token_BPM, axis=2)
        place_BPM = np.where(m < size_BP[:, :, None], start_BP[:, :, None] + m, self.length)
        known_BPM = ~of_key_BPM & (back_BP[:, :, None] > 0)
        given_BPM = np.where(known_BPM, place_BPM - back_BP[:, :, None], -1)
        token_BN = np.zeros((len(key_B), self.length + 1), np.int64)
        given_BN = np.full_like(token_BN, -1)
        flat = (len(key_B), pairs * len(m))
        np.put_along_axis(token_BN, place_BPM.reshape(flat), token_BPM.reshape(flat), axis=1)
        np.put_along_axis(given_BN, place_BPM.reshape(flat), given_BPM.reshape(flat), axis=1)
        space = self.source_length / len(m) * np.log2(self.num_key_tokens)  # at least
        return cut(token_BN[:, :-1], given_BN[:, :-1], self.source_length, space)


def motifs(key_BP: np.ndarray, num_tokens: int, longest: int) -> np.ndarray:
    """(B, P, longest) different tokens from 0: each the so many-th of those that are not taken yet."""
    left_M = num_tokens - np.arange(longest)
    token_BPM = random.integers(key_BP.ravel(), 1, longest, left_M).reshape(*key_BP.shape, longest)
    for m in range(1, longest):
        for taken_BP in np.moveaxis(np.sort(token_BPM[:, :, :m], axis=2), 2, 0):
            token_BPM[:, :, m] += token_BPM[:, :, m] >= taken_BP
    return token_BPM


def code(motif_BPM: np.ndarray, size_BP: np.ndarray, num_tokens: int) -> np.ndarray:
    """(B, P) a number of its own for each motif, of the first `size_BP` tokens."""
    place_M = np.arange(motif_BPM.shape[2])
    return ((motif_BPM + 1) * (num_tokens + 1) ** place_M * (place_M < size_BP[:, :, None])).sum(axis=2)


def last_same(code_BP: np.ndarray) -> np.ndarray:
    """(B, P) the last earlier place with the same number; the place itself where there is none."""
    last_BP = np.zeros_like(code_BP)
    for place in range(1, code_BP.shape[1]):
        same_BP = code_BP[:, :place] == code_BP[:, place, None]
        last_BP[:, place] = np.where(same_BP.any(axis=1), place - 1 - same_BP[:, ::-1].argmax(axis=1), place)
    return last_BP
