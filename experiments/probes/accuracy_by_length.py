"""Accuracy as a function of the source's length: tokens of a synthetic task, words of a text.

It is teacher-forced: every target position has the right past before it. The evaluation splits of a synthetic task have
every length equally often.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from data.task import Task
from data.tasks.translation import Translation
from experiments.probes.measurement import Measurement
from training.evaluation import quality, scoring
from training.run.restore import Restored


def measure(
    run: Restored, *, splits: Sequence[str] = ("test",), width: int = 0, limit: int = 0
) -> Iterator[Measurement]:
    """`token_accuracy`, `exact_match` and `loss` within ranges of `width` lengths, at their middle (`place`).

    Of several splits, such as `test` and `test_long`, each has its own ranges, from its shortest length on; `part`
    names the split, `answers` counts examples. Width 0 lets `training/evaluation/quality.py` choose. `limit` takes the
    first so many examples of each. Chance is yielded where the task states it. Raises ValueError for a task without a
    source.
    """
    spec, task = run.task.spec, run.task
    if spec.source == "none":
        raise ValueError(f"accuracy_by_length: {run.config.task} has no source that could be long; use another probe")
    score = scoring.scorer(run.model, spec)
    for split in splits:
        answers, examples = quality.gather(score(run.batches(split, limit=limit)))
        for row in quality.by_source_length(answers, examples, lengths(task, split, examples), width, None):
            place = (row["low"] + row["high"]) / 2
            for name in ("token_accuracy", "exact_match", "loss"):
                yield Measurement(name, row[name], place, split, row["num_examples"])
    for name, level in task.chance.items():
        yield Measurement(f"chance_{name}", level)


def lengths(task: Task, split: str, examples: quality.Examples) -> np.ndarray:
    """(E,) words of each source where it is text, else its tokens."""
    if not isinstance(task, Translation):
        return examples.source_length
    lines = task.source_text(split)
    return np.array([len(lines[i].split()) for i in examples.number])
