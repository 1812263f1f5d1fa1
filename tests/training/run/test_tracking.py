"""metrics.jsonl is the record, whatever was killed; wandb mirrors it offline without an account, or is left alone."""

import json
import sys

import pytest

from tests.training.runs import wandb_record
from training.command import cli
from training.mirrors.wandb_account import has_wandb_credentials
from training.mirrors.writer import Samples
from training.run.display import describe
from training.run.tracking import Tracker, open_metrics

ROW = {"loss": 1.25, "nll": 1.25, "learning_rate": 0.001, "target_tokens_per_second": 12345.6, "padding_share": 0.05}


def config(mode="disabled"):
    c = cli.load("configs/recall.py:gru")
    c.wandb.mode = mode
    return c


@pytest.fixture
def stranger(tmp_path, monkeypatch):
    """Someone without an account and without a network."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    for name in ("WANDB_API_KEY", "WANDB_MODE", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_rows_go_to_metrics_and_to_stderr(tmp_path, capsys):
    with Tracker(tmp_path, config(), first_step=0) as tracker:
        assert not tracker.mirrored
        tracker.advance(50)
        tracker.write("train", 50, ROW)
        assert lines(tmp_path / "metrics.jsonl") == [{"kind": "train", "step": 50, **ROW}]  # at once, not at the end
        tracker.say("a remark")
    printed = capsys.readouterr()
    assert "step 50/600 train  loss 1.25  learning_rate 0.001" in printed.err and "a remark" in printed.err
    assert printed.out == ""


def test_every_compilation_has_a_line(tmp_path, capsys):
    with Tracker(tmp_path, config(), first_step=0) as tracker:
        for activity in ("compile", "eval", "compile", "eval", ""):
            tracker.doing(activity)
    assert capsys.readouterr().err == "compiling program 1\ncompiling program 2\n"


def test_other_processes_write_nothing(tmp_path, capsys):
    with Tracker(tmp_path, config("offline"), first_step=0, active=False) as tracker:
        tracker.write("train", 50, ROW)
        tracker.advance(50)
        tracker.say("a remark")
        tracker.doing("compile")
        tracker.summarise({})
        assert not tracker.mirrored
    assert list(tmp_path.iterdir()) == [] and capsys.readouterr().err == ""


def test_rows_beyond_the_resumed_step_go(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps({"kind": "train", "step": step}) + "\n" for step in (10, 20, 30, 40)))
    open_metrics(path, first_step=20).close()
    assert [row["step"] for row in lines(path)] == [10, 20]


@pytest.mark.parametrize("cut", ['{"kind": "train", "st', "{", ""])
def test_a_cut_last_line_is_tolerated(tmp_path, cut):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"kind": "train", "step": 10}\n' + cut)
    with open_metrics(path, first_step=100) as file:
        file.write('{"kind": "train", "step": 20}\n')
    assert [row["step"] for row in lines(path)] == [10, 20]


def test_description_shows_the_few_numbers_a_log_wants():
    line = describe("train", 50, 600, ROW | {"gradient_norm/encoder": 9.0, "update_ratio": 9.0})
    assert line == (
        "step 50/600 train  loss 1.25  learning_rate 0.001  target_tokens_per_second 12,346  padding_share 0.05"
    )
    assert describe("val", 50, 600, {"loss": 2.0, "exact_match": 0.5}) == "step 50/600 val  loss 2  exact_match 0.5"


def test_a_terminal_gets_a_bar_instead_of_training_lines(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    with Tracker(tmp_path, config(), first_step=100) as tracker:
        tracker.advance(150)
        tracker.write("train", 150, ROW)
        tracker.write("val", 150, {"loss": 2.0})
    printed = capsys.readouterr().err
    assert "recall:gru" in printed and "150/600" in printed
    assert "step 150/600 val  loss 2" in printed and "step 150/600 train" not in printed
    assert len(lines(tmp_path / "metrics.jsonl")) == 2


def test_wandb_writes_an_offline_run_without_account_or_network(stranger):
    assert not has_wandb_credentials()
    workdir = stranger / "run"
    workdir.mkdir()
    with Tracker(workdir, config("auto"), first_step=0) as tracker:
        assert tracker.mirrored
        tracker.write("train", 50, ROW)
        tracker.show(50, lambda: Samples(["source", "target", "output"], [["a", "b", "c"]], {}))
        tracker.summarise({"final": {"loss": 1.0}})
    group, name, number = b"recall", b"gru-seed0", (workdir / "wandb_id").read_bytes()
    record = wandb_record(workdir, b"train/loss", b"samples", group, name, number)
    assert b"val/loss" not in record
    (table,) = (workdir / "wandb").rglob("*.table.json")
    assert json.loads(table.read_text())["data"] == [["a", "b", "c"]]


def test_wandb_disabled_is_not_imported(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "wandb", None)  # makes `import wandb` an ImportError
    with Tracker(tmp_path, config("disabled"), first_step=0) as tracker:
        tracker.write("train", 50, ROW)
    assert "not installed" not in capsys.readouterr().err
    with Tracker(tmp_path, config("offline"), first_step=50) as tracker:  # whereas this one asks for it
        assert not tracker.mirrored
    assert "wandb is not installed" in capsys.readouterr().err
    assert len(lines(tmp_path / "metrics.jsonl")) == 1


@pytest.mark.parametrize("where", ["environment", "netrc"])
def test_credentials_are_found(stranger, monkeypatch, where):
    if where == "environment":
        monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    else:
        (stranger / "home").mkdir()
        netrc = stranger / "home" / ".netrc"
        netrc.write_text("machine api.wandb.ai login user password secret\n")
        netrc.chmod(0o600)
        assert not has_wandb_credentials()  # of another server than the one that is asked for
        monkeypatch.delenv("WANDB_BASE_URL")
    assert has_wandb_credentials()
