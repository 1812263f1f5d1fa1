"""What every task offers: `TASKS[name](config.data, ...)` in `data/__init__.py` returns one.

A task makes the batch that a plan asks for; the plan (`data/plan.py`) says which examples go together
and in which shape, and the pipeline (`data/pipeline.py`) runs the two ahead of the step.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from data.batch import Batch
from data.spec import Spec


class Task(Protocol):
    spec: Spec
    chance: Mapping[str, float]
    """Metrics of the best answer without looking at the source, over exactly the weighted positions:
    `token_accuracy`, or `loss` for real outputs. Empty for text."""

    @property
    def splits(self) -> tuple[str, ...]:
        """`train`, `val`, and names that begin with `test`."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """What a user should know of the data so far, a line each: pairs left out, answers seen in training."""
        ...

    def content_hash(self, *splits: str) -> dict[str, str]:
        """Split -> hash of its text, of these splits and every one that has been read; empty where the config says
        all, as of synthetic tasks."""
        ...

    def num_examples(self, split: str) -> int | None:
        """Examples in the split; None where it is endless (training of synthetic tasks)."""
        ...

    def lengths(self, split: str) -> np.ndarray | None:
        """(N, 2) int32 lengths of source and target_in; None: every example has the spec's longest.

        A split that is padded to one shape below the spec's longest gives one row, that shape.
        """
        ...

    def batch(self, split: str, seed: int, index_B: np.ndarray, shape: tuple[int, int]) -> Batch:
        """The examples `index_B` padded to `shape` (S, T), a pure function of its arguments.

        Index -1 gives an empty row. Evaluation splits ignore `seed`.
        """
        ...
