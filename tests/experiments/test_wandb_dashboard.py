"""The dashboard in wandb: plain data without an account, panels of what runs log, and the real package."""

import importlib.util
import json
import re
from typing import Any

import pytest

import eval
import train
from configs import common
from experiments import wandb_dashboard
from experiments.engine import mirrored_probes, schedule
from experiments.probes import gradient_by_time
from experiments.questions import QUESTIONS
from experiments.wandb_dashboard import SECTIONS, main
from models.options import flat
from tests.training import processes, runs, wandb_files
from training.mirrors.mirror import Mirror
from training.run.restore import restore


@pytest.fixture
def alone(monkeypatch, tmp_path):
    """No account, and whoever opens a connection fails."""

    def refuse(*_, **__):
        raise AssertionError("no network is needed")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def test_a_dry_run_prints_what_would_be_sent(alone, capsys):
    assert main(["--dry-run", "--scale=gpu", "--entity=me"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["project"] == "longreach" and said["entity"] == "me" and said["groupby"] == ["Group", "JobType"]
    assert [chapter["question"] for chapter in said["report"]] == list(QUESTIONS)
    assert [chapter["group"] for chapter in said["report"]] == [f"{name}-gpu" for name in QUESTIONS]
    assert all(len(panels) >= 2 for panels in said["sections"].values())


def test_without_credentials_it_is_one_line(alone, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([])
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and "no credentials" in error and "--dry-run" in error and error.count("\n") == 1


@pytest.mark.parametrize("project", ["a/b", " ", "p" * 129])
def test_a_project_that_wandb_would_refuse_is_one_line(alone, capsys, project):
    with pytest.raises(SystemExit) as stopped:
        main(["--dry-run", f"--project={project}"])
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and error.count("\n") == 1 and f"--project = {project!r} " in error


def test_without_the_package_it_is_one_line(alone, capsys, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)

    def missing(*_):
        raise ModuleNotFoundError("No module named 'wandb_workspaces'", name="wandb_workspaces")

    monkeypatch.setattr(wandb_dashboard, "send", missing)
    with pytest.raises(SystemExit) as stopped:
        main([])
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and "pip install wandb-workspaces" in error and error.count("\n") == 1


def test_runs_go_where_the_dashboard_looks():
    config = schedule.complete("configs/recall.py:gru", {})
    assert config.wandb.project == wandb_dashboard.PROJECT == common.base("recall", "gru").wandb.project


@pytest.fixture(scope="module")
def logged(tmp_path_factory) -> set[str]:
    """What two offline runs hold for `wandb sync`, when they were evaluated and probed: names of rows and summary."""
    folder = tmp_path_factory.mktemp("runs")
    text: dict[str, Any] = {
        "steps": 2,
        "every__eval": 2,
        "every__decode": 2,
        "wandb__mode": "offline",
        "best__metric": "chrf",
    }
    configs = {
        "text": runs.text_config(processes.write_text(folder / "data"), **text),
        "recall": runs.config("recall", "gru", steps=2, wandb__mode="offline"),
    }
    names = {"step"}
    for name, config in configs.items():
        train.train(config, folder / name)
        decoding = ["--beam_size=1"] if name == "text" else []  # recall is scored teacher-forced
        eval.main([f"--workdir={folder / name}", "--split=test", *decoding])
        found = [("gradient_by_time", 2, one) for one in gradient_by_time.measure(restore(folder / name), examples=8)]
        with Mirror(folder / name, config) as mirror:
            mirrored_probes.send(mirror, found)
        sent = wandb_files.read(folder / name)
        names |= {key for row in sent.history for key in row} | set(flat(sent.summary))
    return names


def test_every_panel_shows_what_runs_log(logged):
    for _, options in (panel for panels in SECTIONS.values() for panel in panels):
        named = [options.get("x", "step"), *options.get("media_keys", ()), *filter(None, [options.get("table_name")])]
        y = options.get("y", [])
        for one in [*named, *([y] if isinstance(y, str) else y)]:
            assert any(name == one or name.startswith(f"{one}/_type") for name in logged), options
        if pattern := options.get("metric_regex"):
            assert any(re.fullmatch(pattern, name) for name in logged), options


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # it declares its models in pydantic's older way
def test_the_real_package_takes_it(alone):
    if importlib.util.find_spec("wandb_workspaces") is None:
        pytest.skip("needs the optional package wandb-workspaces: pip install wandb-workspaces")
    workspace, report = wandb_dashboard.build("cpu", entity="me")
    assert {section.name: len(section.panels) for section in workspace.sections} == {
        name: len(panels) for name, panels in SECTIONS.items()
    }
    assert json.dumps(workspace._spec)  # what `save` would send
    grids = [block for block in report.blocks if type(block).__name__ == "PanelGrid"]
    assert len(grids) == len(QUESTIONS) * len(SECTIONS)
    assert 'Metric("Group")' in grids[0].runsets[0].filters.replace("'", '"') and "1000" in grids[0].runsets[0].filters
    assert grids[0].runsets[0].groupby == ["JobType", "config.wandb.name"]
    assert all(panel._to_model().config for grid in grids for panel in grid.panels)
