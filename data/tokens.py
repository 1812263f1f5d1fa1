"""Many token sequences as one flat array, from which padded batches are cut without a Python loop.

Dims: N sequences, B rows of a batch, L padded length.
"""

from collections.abc import Sequence

import numpy as np


class FlatTokens:
    """N sequences end to end; 16 bits per token where the vocabulary allows."""

    def __init__(self, flat: np.ndarray, offsets: np.ndarray):
        self.flat, self.offsets = flat, offsets

    @staticmethod
    def join(sequences: Sequence[np.ndarray], vocab_size: int) -> "FlatTokens":
        offsets = np.zeros(len(sequences) + 1, np.int64)
        np.cumsum([len(sequence) for sequence in sequences], out=offsets[1:])
        flat = np.concatenate([np.zeros(0, np.int32), *sequences])
        return FlatTokens(flat.astype(np.uint16 if vocab_size <= 1 << 16 else np.int32), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """(N,) int64."""
        return np.diff(self.offsets)

    def select(self, kept: np.ndarray) -> "FlatTokens":
        """The sequences whose (N,) bool is True."""
        lengths = self.lengths
        return FlatTokens(
            self.flat[np.repeat(kept, lengths)], np.concatenate([[0], np.cumsum(lengths[kept])]).astype(np.int64)
        )

    def padded(self, index_B: np.ndarray, length: int, pad: int) -> tuple[np.ndarray, np.ndarray]:
        """int32 tokens (B, length) padded on the right, and their bool mask; index -1 gives an empty row.

        Raises ValueError where a sequence is longer than `length`: it would lose its end.
        """
        starts_B = self.offsets[index_B]
        lengths_B = np.where(index_B >= 0, self.offsets[index_B + 1] - starts_B, 0)
        if lengths_B.max(initial=0) > length:
            raise ValueError(f"a sequence of {lengths_B.max()} tokens does not fit a batch of length {length}")
        mask_BL = np.arange(length) < lengths_B[:, None]
        tokens_BL = np.full(mask_BL.shape, pad, np.int32)
        tokens_BL[mask_BL] = self.flat[(starts_B[:, None] + np.arange(length))[mask_BL]]
        return tokens_BL, mask_BL
