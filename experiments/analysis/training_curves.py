"""Curves of training: validation loss against updates, of the reported runs without controls."""

from collections.abc import Mapping, Sequence

from experiments.analysis.frames import DataFrame, LayerChart
from experiments.analysis.palette import Look

LOSS = "validation_loss"  # at `place` updates (`experiments/engine/record.py`)
NONE = "none"  # in the axis `control`, where a question has one


def panels(table: DataFrame, series: str, looks: Mapping[str, Look], by: str = "") -> Sequence[LayerChart]:
    """A curve for each value of the axis `series` that `looks` draws; a panel for each value of the axis `by`.

    Empty where the table has no curves, as for runs of one evaluation.
    """
    from experiments.analysis import charts

    rows = table[table["measure"] == LOSS].astype({series: str})
    rows = rows[rows[series].isin(looks) & (rows["control"] == NONE if "control" in rows else True)]
    drawn = []
    for value, mine in rows.groupby(by, sort=False) if by else (("", rows),):
        if mine["place"].nunique() > 1:
            title = f"Training, {value}" if by else "Training"
            axes = charts.Axes(title, "updates", "validation loss", log_y=bool((mine["value"] > 0).all()))
            drawn.append(charts.curves(charts.cells_of(mine, series), looks, axes))
    return drawn
