"""Associative recall: read key-value pairs, then give the value of each queried key.

Multi-query associative recall (MQAR; Arora et al. 2023, "Zoology", section 4 and its repository).
Dims: B examples, K pairs, Q queries, S source length, T target length, G gaps.

    source      blank  k3 v3  blank blank  k1 v1  ...     pairs in slots of two tokens
    target_in   k1 k3 ...                                 queries; blanks between them where T > Q
    target_out  v1 v3 ...                                 weighted at the queries

Ids: pad, bos, eos, blank, then the keys, then the values; source and target share them. Neither keys
nor values repeat within an example. Chance without the source is 1 / num_values; a model that knows
which values occurred, but not which key had which, reaches 1 / num_pairs.

With `target_length` = `num_queries` the queries stand close together and the pairs lie anywhere in the
source. With a longer target, as in Zoology, queries stand in slots of two tokens, the g-th of them with
probability in proportion to (g + 1) ** (query_power - 1); val and test do as the paper does, and the
split `test_even` spreads the queries, so that distances are even.

With `min_pairs` below `num_pairs`, training examples have from min_pairs to num_pairs pairs, and with fewer
pairs than queries ask for some again. Easy examples are what gets a small model off the plateau at
1 / num_pairs (Arora et al. 2024, "Based", train on mixed sizes as well). Evaluation always has num_pairs.

Evaluation with even distances scores the queries at distances that every query or every pair can have,
since only there is one distance as frequent as another.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from data import checks, random
from data.spec import Spec
from data.tasks.synthetic import FIRST, Examples, Synthetic

BLANK, FIRST_KEY = FIRST, FIRST + 1


class Recall(Synthetic):
    def __init__(self, config: Mapping[str, Any], tokenizer_dir: str | None = None):
        self.num_pairs = checks.integer(config, "num_pairs", 1)
        self.num_queries = checks.integer(config, "num_queries", 1, self.num_pairs, "data.num_pairs")
        self.min_pairs = checks.integer(config, "min_pairs", 1, self.num_pairs, "data.num_pairs")
        self.num_keys = checks.integer(config, "num_keys", self.num_pairs, why="one for each of data.num_pairs")
        self.num_values = checks.integer(config, "num_values", self.num_pairs, why="one for each of data.num_pairs")
        source_length = checks.integer(config, "source_length", 2 * self.num_pairs, why="two for each data.num_pairs")
        target_length = checks.integer(config, "target_length", self.num_queries, why="data.num_queries")
        self.close = target_length == self.num_queries
        if not self.close and target_length < 2 * self.num_queries:
            raise ValueError(
                f"data.target_length = {target_length} leaves no slot of two for each query; "
                f"use data.num_queries = {self.num_queries}, or at least {2 * self.num_queries}"
            )
        self.power = float(config["query_power"])
        if not 0 < self.power <= 1:
            raise ValueError(f"data.query_power = {self.power} is not a Zoology exponent; use above 0, at most 1")
        if not self.close:
            self.splits = ("train", "val", "test", "test_even")
        super().__init__(config)
        self.num_slots, self.num_gaps = source_length // 2, target_length // 2
        vocabulary = FIRST_KEY + self.num_keys + self.num_values
        self.spec = Spec(
            source="tokens",
            source_size=vocabulary,
            target_size=vocabulary,
            output="tokens",
            output_size=vocabulary,
            max_source_length=source_length,
            max_target_length=target_length,
            shared_vocabulary=True,
        )
        self.chance = {
            "token_accuracy": 1 / self.num_values,
            "loss": float(np.log(self.num_values)),
            "token_accuracy_in_context": 1 / self.num_pairs,
        }
        last_query = self.num_queries - 1 if self.close else 2 * self.num_gaps - 2
        self.nearest, self.furthest = sorted((source_length - 1, source_length + last_query - 2 * self.num_slots + 1))
        step = 1 if self.close and self.num_queries > 1 else 2  # two pairs are two apart, and so are two gaps
        self.distances = np.arange(self.nearest, self.furthest + 1, step)
        i = np.arange(self.num_pairs)
        self.space_K = np.log2((self.num_keys - i) * (self.num_values - i)).cumsum()

    def _gaps(self) -> np.ndarray:
        return 2 * np.arange(self.num_gaps)

    def draw(self, split: str, key_B: np.ndarray, index_B: np.ndarray) -> Examples:
        source_length, target_length = self.spec.max_source_length, self.spec.max_target_length
        rows = len(key_B)
        even = split != "train" if self.close else split == "test_even"
        layout_B, turn_B1 = self.layout(even, split, key_B, index_B, self.num_slots if self.close else self.num_gaps)

        slot_BK = random.distinct(layout_B, 1, self.num_pairs, self.num_slots)
        if self.close:
            slot_BK = (slot_BK + turn_B1) % self.num_slots
            query_BQ = np.broadcast_to(np.arange(self.num_queries), (rows, self.num_queries))
        else:
            # The order in which exponential clocks ring is a draw without replacement by weight.
            rate_G = 1.0 if even else np.arange(1, self.num_gaps + 1) ** (self.power - 1)
            ring_BG = -np.log1p(-random.uniform(layout_B, 2, self.num_gaps)) / rate_G
            gap_BQ = np.argsort(ring_BG, axis=1)[:, : self.num_queries]
            query_BQ = self._gaps()[(gap_BQ + turn_B1) % self.num_gaps]
        symbol_BK = FIRST_KEY + random.distinct(key_B, 3, self.num_pairs, self.num_keys)
        value_BK = FIRST_KEY + self.num_keys + random.distinct(key_B, 4, self.num_pairs, self.num_values)

        pairs_B1 = np.full((rows, 1), self.num_pairs)
        if split == "train":
            pairs_B1 = self.min_pairs + random.integers(key_B, 5, 1, self.num_pairs - self.min_pairs + 1)
        there_BK = np.arange(self.num_pairs) < pairs_B1
        asked_BQ = np.arange(self.num_queries) % pairs_B1

        source_BS = np.full((rows, source_length), BLANK)
        np.put_along_axis(source_BS, 2 * slot_BK, np.where(there_BK, symbol_BK, BLANK), axis=1)
        np.put_along_axis(source_BS, 2 * slot_BK + 1, np.where(there_BK, value_BK, BLANK), axis=1)
        target_in_BT = np.full((rows, target_length), BLANK)
        np.put_along_axis(target_in_BT, query_BQ, np.take_along_axis(symbol_BK, asked_BQ, axis=1), axis=1)
        target_out_BT = np.zeros((rows, target_length), np.int64)
        np.put_along_axis(target_out_BT, query_BQ, np.take_along_axis(value_BK, asked_BQ, axis=1), axis=1)

        distance_BQ = source_length + query_BQ - (2 * np.take_along_axis(slot_BK, asked_BQ, axis=1) + 1)
        measured_BQ = (distance_BQ >= self.nearest) & (distance_BQ <= self.furthest) if even else 1.0
        weights_BT, distance_BT = np.zeros((rows, target_length)), np.full((rows, target_length), -1)
        np.put_along_axis(weights_BT, query_BQ, np.broadcast_to(measured_BQ, query_BQ.shape), axis=1)
        np.put_along_axis(distance_BT, query_BQ, distance_BQ, axis=1)
        return Examples(
            source_BS,
            target_in_BT,
            target_out_BT,
            weights_BT,
            distance_BT,
            source_length=np.full(rows, source_length),
            space=self.space_K[pairs_B1[:, 0] - 1],
        )
