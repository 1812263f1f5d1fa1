"""The table of fairness: what each cell of the grid was given, and how its training went."""

import json
import math
from collections.abc import Mapping
from typing import Any

from experiments.analysis.fairness import budget as of_cell
from experiments.analysis.frames import DataFrame
from experiments.analysis.table import axes_of
from experiments.analysis.words import NONE, number

SIZE = "num_params_non_embedding"
CONVERGED = 0.01  # of the best validation loss that the last quarter of the steps may still have gained


def fairness(everything: DataFrame, budgets: Mapping[str, int]) -> list[dict[str, str]]:
    """One row per cell of the grid, in the table's order: the cell's axes, then numbers as text. Columns without a
    number are left out. `everything` includes the trials; `budgets` are the question's at this scale.

    If a probe measures several systems in one run, each is a `part`, and only its size is known.
    """
    axes, reports = axes_of(everything), everything.query("role == 'report'")
    rows = []
    for run, of_run in reports.groupby("run", sort=False):
        trials = everything.query(f"role == 'tune' and run == {run!r}")
        parts = of_run[of_run["measure"] == SIZE]["part"].unique()
        for part in [part for part in parts if part] or [""]:
            mine = of_run[of_run["part"] == part]
            cell = {axis: _word(mine[axis].iloc[0]) for axis in axes} | ({"part": part} if part else {})
            rows.append(cell | _numbers(mine, trials, of_cell(budgets, cell.values())))
    known = [name for name in (rows[0] if rows else ()) if any(row.get(name, NONE) != NONE for row in rows)]
    return [{name: row[name] for name in known} for row in rows]


def _numbers(mine: DataFrame, trials: DataFrame, budget: int | None) -> dict[str, str]:
    """Means over seeds, except the late gain, which is of the worst seed."""
    measured = mine.groupby("measure")["value"]
    mean, worst = measured.mean(), measured.max()
    tried, chosen = sorted(trials["tuned"].unique()), mine["tuned"].iloc[0]
    edge = " (edge)" if len(tried) > 1 and chosen in (tried[0], tried[-1]) else ""
    config = json.loads(mine["config"].iloc[0] or "{}")
    seconds = mean.get("training_seconds", math.nan) + mean.get("compile_seconds", math.nan)
    left = math.nan if budget is None else budget - mean.get(SIZE, math.nan)
    return {
        "seeds": str(mine["seed"].nunique()),
        "parameters": number(mean.get("num_params")),
        "without embeddings": number(mean.get(SIZE)),
        "left of the budget": number(left),
        "FLOPs per token": number(mean.get("flops_per_token")),
        "state or cache, bytes": number(mean.get("state_bytes")),
        "updates": number(config.get("steps")),
        "tuning trials": str(len(tried)) if len(tried) else NONE,
        "learning rate": number(config.get("optimizer.learning_rate"), ".3g") + edge,
        "late gain (converged)": _late_gain(worst.get("late_gain", math.nan), worst.get("best_loss", math.nan)),
        "minutes per run": number(seconds / 60, ".2g"),
    }


def _late_gain(gain: float, best_loss: float) -> str:
    if math.isnan(gain):
        return "none left (yes)" if best_loss == 0 else NONE
    percent = f"{100 * gain:.0f}" if gain >= 0.1 else f"{100 * gain:.2g}"
    return f"{percent} % ({'yes' if gain < CONVERGED or best_loss == 0 else 'no'})"


def _word(value: Any) -> str:
    """Whole numbers without a point."""
    return f"{value:g}" if isinstance(value, float) else str(value)
