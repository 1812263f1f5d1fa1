"""Curves of training, from what a run records."""

import json

import pandas as pd

from experiments.analysis import training_curves
from experiments.analysis.palette import Look
from experiments.engine import record

LOOKS = {"8": Look("transformer"), "32": Look("transformer", 1)}


def recorded(tmp_path) -> list:
    """What `record` says of a run that evaluated at 10 and 20 updates."""
    rows = [
        {"kind": "val", "step": 10, "loss": 2.0},
        {"kind": "train", "step": 15},
        {"kind": "val", "step": 20, "loss": 1.0},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    names = ("num_params", "num_params_non_embedding", "tokens_seen", "target_tokens_per_second")
    seconds = (f"{activity}_seconds" for activity in ("training", "compile", "eval", "save"))
    return list(record.of_training(tmp_path, dict.fromkeys((*names, *seconds), 1.0) | {"best": {}, "final": {}}))


def table(found: list) -> pd.DataFrame:
    cells = [("recall", 8, "none"), ("recall", 32, "none"), ("recall", 8, "doubled steps"), ("recall", 4, "none")]
    return pd.DataFrame(
        {"task": task, "heads": heads, "control": control, "seed": seed, **one._asdict()}
        for task, heads, control in cells
        for seed in (0, 1)
        for one in found
    )


def test_every_evaluation_is_recorded(tmp_path):
    curve = {one.place: one.value for one in recorded(tmp_path) if one.measure == training_curves.LOSS}
    assert curve == {10: 2.0, 20: 1.0}


def test_a_curve_for_each_series_that_is_drawn_and_none_of_controls(tmp_path):
    (panel,) = training_curves.panels(table(recorded(tmp_path)), "heads", LOOKS, by="task")
    drawn = [row for rows in panel.to_dict()["datasets"].values() for row in rows if "seed" in row]
    assert {(row["series"], row["x"], row["seed"], row["y"]) for row in drawn} == {
        (heads, x, seed, y) for heads in LOOKS for x, y in ((10, 2.0), (20, 1.0)) for seed in (0, 1)
    }


def test_none_where_runs_have_no_curve(tmp_path):
    found = [one for one in recorded(tmp_path) if one.place != 20]
    assert not training_curves.panels(table(found), "heads", LOOKS)
