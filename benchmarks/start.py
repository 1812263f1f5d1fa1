"""Case `start`: from the start of `python train.py` to its first step, with an empty and with a filled cache.

The first command of each round finds no compiled program (cold), the second what the first left (warm). Nothing of
this depends on a peer.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from benchmarks.turns import ROOT

NAME = "start"
MODELS = ("gru_attention", "transformer")
ROUNDS = 3


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The numbers of the case. Raises RuntimeError where a run fails."""
    del options
    found: dict[str, dict[str, list[float]]] = {model: {"cold": [], "warm": []} for model in MODELS}
    for _ in range(ROUNDS):
        for model in MODELS:
            with tempfile.TemporaryDirectory() as folder:
                for state in ("cold", "warm"):
                    found[model][state].append(seconds_to_first_step(model, Path(folder) / state))
    rows = [
        {"program": f"{model} {state}", "seconds": seconds, "median_seconds": float(np.median(seconds))}
        for model, states in found.items()
        for state, seconds in states.items()
    ]
    return {"case": NAME, "programs": rows}


def seconds_to_first_step(model: str, workdir: Path) -> float:
    """Of a tiny model on associative recall, imports included; the run ends at once."""
    words = [
        sys.executable,
        "train.py",
        f"--config=configs/recall.py:{model}",
        f"--workdir={workdir}",
        "--config.steps=1",
        "--config.schedule.warmup_steps=1",
        "--config.wandb.mode=disabled",
    ]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{NAME}: {model}: {done.stderr.strip().splitlines()[-1]}")
    return json.loads((workdir / "summary.json").read_text())["start_to_first_step_seconds"]


def table(found: dict[str, Any]) -> Table:
    made = Table(title="Start of the process to the first step")
    for column in ("program", "s", "least", "most"):
        made.add_column(column, justify="left" if column == "program" else "right", no_wrap=True)
    for row in found["programs"]:
        made.add_row(
            row["program"], f"{row['median_seconds']:.1f}", f"{min(row['seconds']):.1f}", f"{max(row['seconds']):.1f}"
        )
    return made
