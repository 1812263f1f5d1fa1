"""What is measured on every run besides its work and state (`of_model`): its size, and how its training went."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from experiments.analysis.training_curves import LOSS
from experiments.probes.measurement import Measurement
from training.run import metrics_file

LATE = 0.75  # of the steps; after that, a run that has converged gains little
SOLVED = 0.99  # of the answers of validation; a run of two modes stays far below or passes this


def of_training(workdir: Path, summary: Mapping[str, Any]) -> Iterator[Measurement]:
    """Validation at its best, at the end and along the way, seconds by activity, and whether training had converged."""
    for name in ("num_params", "num_params_non_embedding", "tokens_seen", "target_tokens_per_second"):
        yield Measurement(name, summary[name])
    for activity in ("training", "compile", "eval", "save"):
        yield Measurement(f"{activity}_seconds", summary[f"{activity}_seconds"])
    for when in ("best", "final"):
        for name, value in summary[when].items():
            if name != "metric":
                yield Measurement(f"{when}_{name}", value)
    rows = [row for row in metrics_file.rows(workdir / "metrics.jsonl") if row["kind"] == "val"]
    curve = [(row["step"], row["loss"]) for row in rows if isinstance(row.get("loss"), float)]
    for step, loss in curve:
        yield Measurement(LOSS, loss, place=step)
    yield Measurement("late_gain", late_gain(curve))
    solved = [row["step"] for row in rows if (row.get("token_accuracy") or 0.0) >= SOLVED]
    yield Measurement("steps_to_solve", min(solved, default=math.nan))


def late_gain(validation: list[tuple[int, float]]) -> float:
    """The share by which the last quarter of the steps lowered the best validation loss. It is near 0 if training had
    converged, and nan if there was no earlier evaluation."""
    last = max((step for step, _ in validation), default=0)
    before = min((loss for step, loss in validation if step <= LATE * last), default=math.nan)
    after = min((loss for step, loss in validation), default=math.nan)
    return (before - after) / before if before else math.nan
