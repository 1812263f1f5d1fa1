"""A batch: one dict of numpy arrays with the same keys for every task.

Dims: B batch, S source length, T target length, W width of real-valued features.

    source          (B, S) int32 token ids, or (B, S, W) float32 features; S = 0 where there is none
    source_mask     (B, S) bool, True on real positions
    target_in       (B, T) int32, what the decoder is fed: the shifted target, or queries
    target_out      (B, T) int32 classes or token ids, or float32 where the output is real
    target_weights  (B, T) float32, 1 where loss and accuracy count, 0 on padding
    distance        (B, T) int32, how many tokens back the answer lies; -1 where there is no one answer
    index           (B,)   int32, the example's index in its split; -1 on rows that only fill the shape

Distance counts steps along the one sequence of source followed by target_in: the answer's position
is `distance` before the position whose logits must give it (0: the input at that very position).
"""

from typing import TypedDict, cast

import numpy as np


class Batch(TypedDict):
    source: np.ndarray
    source_mask: np.ndarray
    target_in: np.ndarray
    target_out: np.ndarray
    target_weights: np.ndarray
    distance: np.ndarray
    index: np.ndarray


def pad_rows(batch: Batch, multiple: int) -> Batch:
    """Appends empty rows (weights 0, index -1) until the number of rows is a multiple of `multiple`."""
    rows = len(batch["index"])
    missing = -rows % multiple
    if not missing:
        return batch
    padded = {
        name: np.concatenate([array, np.zeros((missing, *array.shape[1:]), array.dtype)])
        for name, array in cast(dict[str, np.ndarray], batch).items()
    }
    padded["index"][rows:] = -1
    padded["distance"][rows:] = -1
    return cast(Batch, padded)


def take(batch: Batch, rows: np.ndarray | slice) -> Batch:
    """Some rows of a batch."""
    return cast(Batch, {name: array[rows] for name, array in cast(dict[str, np.ndarray], batch).items()})


def filled_positions(batch: Batch) -> int:
    """The number of source and target positions that are not padding. A target ends with its last weighted position."""
    weighted_BT = batch["target_weights"] > 0
    lengths_B = np.where(weighted_BT.any(1), weighted_BT.shape[1] - weighted_BT[:, ::-1].argmax(1), 0)
    return int(batch["source_mask"].sum() + lengths_B.sum())
