"""What a task states about its arrays: all that a model may know of it."""

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class Spec:
    """Plain values; models read them through a protocol of their own and never import this."""

    source: Literal["tokens", "features", "none"]
    source_size: int  # vocabulary of the source, or width of its features; 0 where there is none
    target_size: int  # vocabulary of target_in
    output: Literal["tokens", "classes", "real"]
    output_size: int  # logits a position: target_size for tokens, number of classes, 1 for real
    max_source_length: int  # 0 where there is no source
    max_target_length: int
    loss: Literal["cross_entropy", "mse"] = "cross_entropy"
    layout: Literal["sequence", "aligned", "label"] = "sequence"
    """aligned: target position t is source position t, and S = T; label: one answer for the whole source, T = 1."""
    free_running: bool = False  # target_in is the shifted target, so outputs can be fed back
    shared_vocabulary: bool = False  # source and target ids mean the same, so embeddings may be tied
    pad: int = 0
    bos: int = 1
    eos: int | None = None  # None: every target has the same, known length
    trained: tuple[int, int] | None = None  # longest source and target in training; None: the longest of any split

    @property
    def trained_lengths(self) -> tuple[int, int]:
        """The longest source and target that training has, which a split may exceed."""
        return self.trained or (self.max_source_length, self.max_target_length)
