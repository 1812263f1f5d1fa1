"""What teacher forcing hides: accuracy by position when the model is fed the right past, and when it is fed its own.

Dims: B batch, T target length.
"""

from collections.abc import Iterator

import numpy as np

from experiments.probes.measurement import Measurement
from training.evaluation import scoring
from training.evaluation.generate import Generator
from training.run.restore import Restored


def measure(run: Restored, *, split: str = "val", limit: int = 512) -> Iterator[Measurement]:
    """`teacher_forced` and `free_running` (greedy) accuracy at each target position (`place`, from 0).

    An output is right at a position where it has the target's token there. Raises ValueError for a task whose outputs
    are not fed back, or a model that does not decode.
    """
    spec = run.task.spec
    if not spec.free_running or spec.source == "none":
        raise ValueError(f"exposure: outputs of {run.config.task} are not fed back; use another probe")
    if not run.model.decodes:
        raise ValueError(f"exposure: {run.config.model.name} does not decode; use another probe")
    batches = list(run.batches(split, limit=limit))
    tokens = Generator(run.model, spec).split(batches)

    longest = max(batch["target_in"].shape[1] for batch in batches)
    right = {name: np.zeros(longest) for name in ("teacher_forced", "free_running")}
    asked = np.zeros(longest)
    for batch, scores in scoring.scorer(run.model, spec)(batches):
        counted_BT = batch["target_weights"] > 0
        T = counted_BT.shape[1]
        asked[:T] += counted_BT.sum(0)
        right["teacher_forced"][:T] += (scores["correct"].astype(bool) & counted_BT).sum(0)
        for row, index in enumerate(batch["index"]):
            if index >= 0:
                given = tokens[int(index)][:T]
                same = given == batch["target_out"][row][: len(given)]
                right["free_running"][: len(given)] += same & counted_BT[row][: len(given)]
    for name, counts in right.items():
        for place in np.flatnonzero(asked):
            yield Measurement(name, float(counts[place] / asked[place]), float(place), answers=float(asked[place]))
