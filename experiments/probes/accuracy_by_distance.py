"""Accuracy as a function of how many tokens back the answer lies, at fixed length.

The evaluation splits of a synthetic task have every distance equally often. Neighbouring distances are grouped until
each group has enough answers (`training/evaluation/quality.py`).
"""

from collections.abc import Iterator

from experiments.probes.measurement import Measurement
from training.evaluation import quality, scoring
from training.run.restore import Restored


def measure(run: Restored, *, split: str = "test", limit: int = 0) -> Iterator[Measurement]:
    """`token_accuracy` and `loss` at each distance (`place`), and chance where the task states it.

    For real-valued answers, `token_accuracy` is the share whose error is below 0.04. `limit` takes the first so many
    examples. Raises ValueError for a task whose answers have no distance.
    """
    score = scoring.scorer(run.model, run.task.spec)
    answers, _ = quality.gather(score(run.batches(split, limit=limit)))
    rows = quality.by_distance(answers)
    if not rows:
        raise ValueError(f"accuracy_by_distance: the answers of {run.config.task} have no distance; use another probe")
    for row in rows:
        place = (row["low"] + row["high"]) / 2
        for name in ("token_accuracy", "loss"):
            yield Measurement(name, row[name], place, answers=row["num_answers"])
    for name, level in run.task.chance.items():
        yield Measurement(f"chance_{name}", level)
