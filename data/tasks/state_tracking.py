"""State tracking: words of a group, each element a move; say where one stands after every move.

Merrill et al. 2024 ("The Illusion of State"), section 5. Tracking S5 or A5, which are not solvable, is complete for
NC1: fixed-depth Transformers and linear state-space models cannot do it at every length (unless TC0 = NC1), while a
recurrent network can. S3 is the smallest group in which the order of moves matters.

Dims: B examples, N = S + T elements of a word, G elements of the group.

    source      w1 ... wS                     the first elements
    target_in   wS+1 wS+2 ... wN              the others
    target_out  p(S+1) p(S+2) ... p(N)        pn = w1 w2 ... wn, the product so far

The paper asks for a product at every element, here at those of the target. With `min_source_length` below
`source_length`, sources of training have from the one to the other, so that some first answers are easy; evaluation
always has source_length. An element is a permutation; in a product the left one is applied first. Groups: S3, S5 (all
permutations of 3, of 5), A5 (the 60 even ones of 5), Z60 (the 60 rotations of 60, which a sum modulo 60 tracks).

Ids: pad, bos, eos, then the elements, the identity first. Every element is as likely as another, so chance is 1 / G.
Every move counts, so there is no distance. `long_length` above `target_length` adds the split `test_long`, whose
targets have that length.
"""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from data import checks, random
from data.spec import Spec
from data.tasks.synthetic import FIRST, Examples, Synthetic


def permutations(group: str) -> np.ndarray:
    """(G, n) the elements of a group named by letter and n, each as where it takes 0 to n - 1; the identity first."""
    kind, n = group[0], int(group[1:])
    if kind == "Z":
        return (np.arange(n)[:, None] + np.arange(n)) % n
    every_GN = np.array(list(itertools.permutations(range(n))))
    inversions_G = (np.triu(every_GN[:, :, None] > every_GN[:, None, :])).sum(axis=(1, 2))
    return every_GN[inversions_G % 2 == 0] if kind == "A" else every_GN


def product_table(element_GN: np.ndarray) -> np.ndarray:
    """(G, G) the number of the product of two elements, by their numbers; the first is applied first."""
    number = {tuple(element): i for i, element in enumerate(element_GN.tolist())}
    return np.array([[number[tuple(second[first].tolist())] for second in element_GN] for first in element_GN])


class StateTracking(Synthetic):
    def __init__(self, config: Mapping[str, Any], tokenizer_dir: str | None = None):
        self.source_length = checks.integer(config, "source_length", 1)
        self.min_source_length = checks.integer(
            config, "min_source_length", 1, self.source_length, "data.source_length"
        )
        self.target_length = checks.integer(config, "target_length", 1)
        self.long_length = checks.integer(config, "long_length", 0)
        if 0 < self.long_length <= self.target_length:
            raise ValueError(
                f"data.long_length = {self.long_length} is no longer than data.target_length = {self.target_length}; "
                "use more, or 0 for none"
            )
        if self.long_length:
            self.splits = ("train", "val", "test", "test_long")
        super().__init__(config)
        self.table_GG = product_table(permutations(checks.choice(config, "group", ("S3", "S5", "A5", "Z60"))))
        order = len(self.table_GG)
        self.spec = Spec(
            source="tokens",
            source_size=FIRST + order,
            target_size=FIRST + order,
            output="tokens",
            output_size=FIRST + order,
            max_source_length=self.source_length,
            max_target_length=max(self.target_length, self.long_length),
            shared_vocabulary=True,
            trained=(self.source_length, self.target_length),
        )
        self.chance = {"token_accuracy": 1 / order, "loss": float(np.log(order))}
        self.distances = np.zeros(0, np.int64)

    def _target_length(self, split: str) -> int:
        return self.long_length if split == "test_long" else self.target_length

    def lengths(self, split: str) -> np.ndarray | None:
        target_length = self._target_length(split)
        if target_length == self.spec.max_target_length:
            return None
        return np.array([[self.source_length, target_length]], np.int32)

    def draw(self, split: str, key_B: np.ndarray, index_B: np.ndarray) -> Examples:
        rows, source_length, target_length = len(key_B), self.source_length, self._target_length(split)
        length_B = np.full(rows, source_length)
        if split == "train":
            varied = source_length - self.min_source_length + 1
            length_B = self.min_source_length + random.integers(key_B, 2, 1, varied)[:, 0]
        element_BN = random.integers(key_B, 1, source_length + target_length, len(self.table_GG))
        product_BN = element_BN.copy()
        for n in range(1, product_BN.shape[1]):
            product_BN[:, n] = self.table_GG[product_BN[:, n - 1], element_BN[:, n]]
        target_BT = length_B[:, None] + np.arange(target_length)
        return Examples(
            np.where(np.arange(source_length) < length_B[:, None], FIRST + element_BN[:, :source_length], 0),
            target_in=FIRST + np.take_along_axis(element_BN, target_BT, axis=1),
            target_out=FIRST + np.take_along_axis(product_BN, target_BT, axis=1),
            weights=np.ones((rows, target_length)),
            distance=np.full((rows, target_length), -1),
            source_length=length_B,
            space=length_B * np.log2(len(self.table_GG)),
        )
