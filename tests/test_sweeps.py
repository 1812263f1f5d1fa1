"""A sweep of wandb's own: what its agent would run, run as it stands, with the variables that an agent sets."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.training import wandb_files

ROOT = Path(__file__).parent.parent
SWEEPS = sorted((ROOT / "configs" / "sweeps").glob("*.yaml"))
QUICK = {"config.steps": 2, "config.schedule.warmup_steps": 0, "config.eval_examples": 8, "config.batch_size": 4}
QUICK |= {"config.model.num_layers": 1}


def agents_command(sweep: dict, values: dict) -> list[str]:
    """As wandb's `Agent._command_run` puts it together."""
    from wandb.sdk.launch.sweeps import utils as sweeps  # here: two seconds of every process that collects tests

    command = {"program": sweep["program"], "args": {name: {"value": value} for name, value in values.items()}}
    filled = sweeps.create_sweep_command_args(command) | {"env": ["/usr/bin/env"], "program": [sweep["program"]]}
    words: list[str] = []
    for word in sweeps.create_sweep_command(list(sweep["command"])):
        words += filled.get(word[2:-1], []) if word.startswith("${") and word.endswith("}") else [word]
    return words


def test_there_are_sweeps():
    assert [path.name for path in SWEEPS] == ["heads.yaml"]


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_the_command_of_an_agent_runs_as_it_stands(path, tmp_path):
    sweep = yaml.safe_load(path.read_text())
    values = {name: one["values"][-1] for name, one in sweep["parameters"].items()}
    for name in os.listdir(ROOT):  # runs/ is made where the command is run
        if name not in ("runs", ".git"):
            (tmp_path / name).symlink_to(ROOT / name)
    parameters = tmp_path / "config-r4nd0m1d.yaml"
    parameters.write_text(yaml.safe_dump({"wandb_version": 1, **{k: {"value": v} for k, v in values.items()}}))
    agents = {"WANDB_RUN_ID": "r4nd0m1d", "WANDB_SWEEP_ID": "sw33p", "WANDB_SWEEP_PARAM_PATH": str(parameters)}
    agents |= {"WANDB_PROJECT": sweep["project"], "WANDB_ENTITY": "me", "WANDB_MODE": "offline"}
    words = agents_command(sweep, values) + [f"--{name}={value}" for name, value in QUICK.items()]
    workdir = tmp_path / "runs" / "sweeps" / "r4nd0m1d"
    # What this process began with wandb before is not the run's: its service would write for it, and is gone by then.
    agents = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")} | agents
    made = subprocess.run(words, cwd=tmp_path, env=agents, capture_output=True, text=True, timeout=300)
    assert made.returncode == 0, made.stderr
    sent = wandb_files.read(workdir)
    config = json.loads((workdir / "config.json").read_text())["config"]
    assert (config["model"]["num_heads"], config["seed"]) == tuple(values.values())
    assert set(sent.ids) == {"r4nd0m1d"}, made.stderr  # where the agent looks for it
    assert any(sweep["metric"]["name"] in row for row in sent.history)
    assert sent.sweeps == {"sw33p"}
