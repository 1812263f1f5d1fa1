"""What the synthetic tasks share: endless training, held-out examples, filler rows, padding.

Dims: B examples, S source length, T target length, W width of features, C candidates.

A task draws examples from keys (`data/random.py`); this base turns them into batches. Every example
belongs to one split by a hash of its source: a draw that belongs to another split is drawn again, so
that no training seed ever shows an evaluation example.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from data import checks, random
from data.batch import Batch
from data.spec import Spec

PAD, BOS, EOS, FIRST = 0, 1, 2, 3  # special ids, then the first symbol of a task
SHARES = 16  # of all contents, one share is kept for val and one for test
MOST_TURNS = 64  # examples that share a layout in evaluation
LOOKED_AT = 2**24  # symbols of a split, to see whether training shows them too
SMALLEST_SPACE = 12.0  # bits; fewer contents than 2**12 cannot be shared out, and may appear in every split


class Examples(NamedTuple):
    """What a task draws, at its split's longest shape."""

    source: np.ndarray  # (B, S) ids or (B, S, W) float32
    target_in: np.ndarray  # (B, T)
    target_out: np.ndarray  # (B, T)
    weights: np.ndarray  # (B, T)
    distance: np.ndarray  # (B, T)
    source_length: np.ndarray  # (B,)
    space: np.ndarray  # (B,) log2 of how many contents the source was drawn from


class Synthetic:
    """Base of the synthetic tasks. A subclass sets `spec`, `chance`, `distances` and gives `draw`."""

    splits: tuple[str, ...] = ("train", "val", "test")
    spec: Spec
    chance: Mapping[str, float]
    distances: np.ndarray  # (N,) the distances that evaluation measures, each equally often; may be empty

    def __init__(self, config: Mapping[str, Any]):
        self._sizes = {
            split: checks.integer(config, "val_examples" if split == "val" else "test_examples", 1)
            for split in self.splits
            if split != "train"
        }

    def draw(self, split: str, key_B: np.ndarray, index_B: np.ndarray) -> Examples:
        """One example from each key. In evaluation the index alone decides the distance of the answers."""
        raise NotImplementedError

    def content_hash(self, *splits: str) -> dict[str, str]:
        return {}

    def num_examples(self, split: str) -> int | None:
        self._known(split)
        return self._sizes.get(split)

    def lengths(self, split: str) -> np.ndarray | None:
        return None

    def overlap(self, split: str) -> float:
        """Share of an evaluation split, or of its first LOOKED_AT symbols, from spaces too small to hold anything out:
        training shows them too."""
        length = self.spec.max_source_length + self.spec.max_target_length
        small, size = 0, min(self._sizes[self._known(split)], LOOKED_AT // length)
        for first in range(0, size, 256):
            index_B = np.arange(first, min(first + 256, size))
            small += (self.draw(split, random.keys(0, 0, index_B), index_B).space < SMALLEST_SPACE).sum()
        return float(small / size)

    @cached_property
    def notes(self) -> list[str]:
        """A line for each evaluation split that shares contents with training; drawn when first asked for."""
        shares = {split: self.overlap(split) for split in self._sizes}
        return [
            f"{split}: {share:.1%} of the examples are of so few kinds that none is held out; training may show them"
            for split, share in shares.items()
            if share > 0
        ]

    def batch(self, split: str, seed: int, index_B: np.ndarray, shape: tuple[int, int]) -> Batch:
        """The examples `index_B`, padded to `shape` (S, T). Raises ValueError where they do not fit."""
        self._known(split)
        index_B = np.asarray(index_B)
        real_B = index_B >= 0
        examples = self._admissible(split, seed if split == "train" else 0, index_B[real_B])
        longest = (int(examples.source_length.max(initial=0)), examples.target_in.shape[1])
        if longest[0] > shape[0] or longest[1] > shape[1]:
            raise ValueError(f"shape = {shape} is too small for {split}; use at least {longest}")
        rows, (source_length, target_length) = len(index_B), shape
        real = self.spec.output == "real"
        features = examples.source.shape[2:]
        batch = Batch(
            source=np.zeros((rows, source_length, *features), np.float32 if features else np.int32),
            source_mask=np.zeros((rows, source_length), bool),
            target_in=np.zeros((rows, target_length), np.int32),
            target_out=np.zeros((rows, target_length), np.float32 if real else np.int32),
            target_weights=np.zeros((rows, target_length), np.float32),
            distance=np.full((rows, target_length), -1, np.int32),
            index=np.where(real_B, index_B, -1).astype(np.int32),
        )
        width = min(examples.source.shape[1], source_length)
        batch["source"][real_B, :width] = examples.source[:, :width]
        batch["source_mask"][real_B] = np.arange(source_length) < examples.source_length[:, None]
        target = slice(0, longest[1])
        batch["target_in"][real_B, target] = examples.target_in
        batch["target_out"][real_B, target] = examples.target_out
        batch["target_weights"][real_B, target] = examples.weights
        batch["distance"][real_B, target] = np.where(examples.weights > 0, examples.distance, -1)
        return batch

    def place(self, split: str, key_B: np.ndarray, draw: int, index_B: np.ndarray, high: int) -> np.ndarray:
        """(B,) numbers in [0, high): random in training, dealt out evenly by index in evaluation."""
        if split == "train":
            return random.integers(key_B, draw, 1, high)[:, 0]
        return random.even(index_B, high)

    def layout(
        self, even: bool, split: str, key_B: np.ndarray, index_B: np.ndarray, places: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """(keys (B,), turns (B, 1)) that say where an example puts things on a circle of `places`.

        Where it is to be even, as many examples in a row as there are places share a key and are turned
        by one place each, so that every place comes up equally often.
        """
        if not even:
            return key_B, np.zeros((len(key_B), 1), np.int64)
        turns = min(places, MOST_TURNS)
        layout_B = random.keys(1, self.splits.index(split), index_B // turns)
        return layout_B, (index_B % turns * places // turns)[:, None]

    def _known(self, split: str) -> str:
        if split not in self.splits:
            raise ValueError(f"split = {split!r} is not a split of this task; choose from {', '.join(self.splits)}")
        return split

    def _admissible(self, split: str, seed: int, index_B: np.ndarray) -> Examples:
        """The first draw of each index whose content belongs to the split."""
        key_B = random.keys(seed, self.splits.index(split), index_B)
        examples = self.draw(split, key_B, index_B)
        pending = np.flatnonzero(~_belongs(split, examples))
        candidates = 2 if split == "train" else SHARES
        attempt = 0
        while pending.size:
            attempt += 1
            key_C = random.bits(key_B[pending], -attempt, candidates).ravel()
            drawn = self.draw(split, key_C, np.repeat(index_B[pending], candidates))
            fits_BC = _belongs(split, drawn).reshape(-1, candidates)
            found = np.flatnonzero(fits_BC.any(axis=1))
            chosen = found * candidates + fits_BC[found].argmax(axis=1)
            for kept, new in zip(examples, drawn, strict=True):
                kept[pending[found]] = new[chosen]
            pending = np.delete(pending, found)
        return examples


def _belongs(split: str, examples: Examples) -> np.ndarray:
    """(B,) bool: val owns share 0, the test splits share 1, training the rest; small spaces belong to all."""
    share_B = random.content_hash(examples.source) % np.uint64(SHARES)
    mine_B = share_B > 1 if split == "train" else share_B == (0 if split == "val" else 1)
    return mine_B | (examples.space < SMALLEST_SPACE)
