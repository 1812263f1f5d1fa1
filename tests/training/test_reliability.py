"""What goes wrong underneath loses no finished work: real processes, killed, stopped and starved."""

import json
import random
import re
import shutil
import signal
import time

import numpy as np
import pytest

from tests.training.processes import command, rows, run, start, summary, write_text
from tests.training.runs import here, trained
from training.command import validate
from training.machine import programs, signals
from training.run.ledger import Ledger


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return write_text(tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, text):
    """A run that was never killed."""
    workdir = tmp_path_factory.mktemp("runs") / "undisturbed"
    trained(command(workdir, text))
    return workdir


@pytest.fixture(scope="module")
def killed(undisturbed, text):
    """A run that was killed once it had saved twice. Tests copy it."""
    workdir = sibling(undisturbed, "killed_at_6")
    process = start(command(workdir, text))
    wait_until(lambda: (workdir / "checkpoints" / "6").is_dir(), process)
    kill(process)
    return workdir


@pytest.fixture(scope="module")
def six_steps(undisturbed, text):
    """A finished run of six steps. Tests copy it."""
    workdir = sibling(undisturbed, "six")
    trained(command(workdir, text, "--config.steps=6"))
    return workdir


def sibling(undisturbed, name):
    return undisturbed.parent / name


def steps_done(workdir):
    return [row["step"] for row in rows(workdir, "train")] if (workdir / "metrics.jsonl").exists() else []


def wait_until(condition, process, seconds=600):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, f"ended before it could be killed:\n{process.communicate()[0]}"
        assert time.monotonic() < deadline, "nothing to kill came up"
        time.sleep(0.002)


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_killed_run_ends_with_the_same_parameters(undisturbed, text, capsys):
    workdir = sibling(undisturbed, "killed")
    words = command(workdir, text)
    saves = workdir / "checkpoints"

    process = start(words)  # in the middle of a save: Orbax is still under a temporary name
    wait_until(lambda: saves.is_dir() and any("tmp" in p.name for p in saves.iterdir()), process)
    kill(process)

    rng = random.Random(1)
    for after in (4, 12):  # and at random moments after some step, before an evaluation
        process = start(words)
        wait_until(lambda after=after: any(step >= after for step in steps_done(workdir)), process)
        time.sleep(rng.random() * 0.02)
        kill(process)
    assert not (workdir / "summary.json").exists()

    output = here(words, capsys)
    assert "resuming after step" in output
    assert summary(workdir)["params_sha256"] == summary(undisturbed)["params_sha256"]
    assert summary(workdir)["tokens_seen"] == summary(undisturbed)["tokens_seen"]
    logged = [(row["step"], row["loss"]) for row in rows(workdir, "train")]
    assert logged == [(row["step"], row["loss"]) for row in rows(undisturbed, "train")]


def test_another_seed_ends_with_other_parameters(undisturbed, text, capsys):
    workdir = sibling(undisturbed, "seed")
    here(command(workdir, text, "--config.seed=1"), capsys)
    assert summary(workdir)["params_sha256"] != summary(undisturbed)["params_sha256"]


def test_numbers_do_not_depend_on_which_thread_compiles(undisturbed, text, monkeypatch):
    """A thread compiles ahead where it can; here nothing is ahead of its use."""
    monkeypatch.setattr(programs, "can_be_ahead", lambda: False)
    workdir = sibling(undisturbed, "not_ahead")
    trained(command(workdir, text))
    assert summary(workdir)["params_sha256"] == summary(undisturbed)["params_sha256"]
    assert 0 < summary(workdir)["longest_compile_seconds"] < summary(workdir)["compile_seconds"]


def assert_stopped(workdir, output):
    assert "the same command goes on" in output
    assert not (workdir / "summary.json").exists()
    saved = max(int(path.name) for path in (workdir / "checkpoints").iterdir() if path.name.isdigit())
    assert f"stopped at step {saved} as asked" in output


def test_a_stopped_run_saves_and_says_how_to_go_on(undisturbed, text):
    """An unfinished run has a status that ends a shell's loop and keeps `train && eval` from going on."""
    workdir = sibling(undisturbed, "stopped")
    process = start(command(workdir, text))
    wait_until(lambda: any(step >= 4 for step in steps_done(workdir)), process)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 143, output
    assert_stopped(workdir, output)
    trained(command(workdir, text))  # what is saved goes on, whoever asked
    assert summary(workdir)["params_sha256"] == summary(undisturbed)["params_sha256"]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_other_signals_stop_a_run_in_the_same_way(undisturbed, text, capsys, monkeypatch, number, status):
    """In this process, which sends itself the signal as it writes its first row."""
    workdir, row = sibling(undisturbed, f"stopped{status}"), Ledger.row

    def asked(ledger, *given, **more):
        signal.raise_signal(number)
        return row(ledger, *given, **more)

    monkeypatch.setattr(Ledger, "row", asked)
    monkeypatch.setattr(signals.StopRequest, "received", None)
    assert_stopped(workdir, here(command(workdir, text), capsys, status))
    assert len(steps_done(workdir)) == 1


def test_broken_checkpoint_gives_way_to_the_one_before(undisturbed, killed, text):
    workdir = shutil.copytree(killed, sibling(undisturbed, "truncated"))
    saves = workdir / "checkpoints"
    newest = max((p for p in saves.iterdir() if p.name.isdigit()), key=lambda p: int(p.name))
    for path in newest.rglob("d/*"):  # the arrays; Orbax writes small ones twice
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    output = run(command(workdir, text))
    assert f"checkpoints/{newest.name}" in output and "trying the one before" in output
    assert summary(workdir)["params_sha256"] == summary(undisturbed)["params_sha256"]


def test_changed_config_is_refused_by_name(undisturbed, text, capsys):
    before = (undisturbed / "config.json").read_text()
    output = here(command(undisturbed, text, "--config.model.dropout_rate=0.2"), capsys, status=2)
    assert "model.dropout_rate = 0.2 (was 0.1)" in output and "--accept_changes" in output
    assert "Traceback" not in output
    assert (undisturbed / "config.json").read_text() == before


def test_changed_config_is_taken_when_told(undisturbed, six_steps, text, capsys):
    workdir = shutil.copytree(six_steps, sibling(undisturbed, "longer"))
    here(command(workdir, text, "--config.steps=9", "--accept_changes"), capsys)
    assert summary(workdir)["final"]["step"] == 9


def test_non_finite_loss_stops_and_keeps_the_last_good_checkpoint(undisturbed, six_steps, text, capsys, monkeypatch):
    workdir = shutil.copytree(six_steps, sibling(undisturbed, "diverged"))
    assert (workdir / "summary.json").exists()
    wild = ("--config.optimizer.learning_rate=1e30", "--config.optimizer.clip_norm=0.0", "--accept_changes")
    # So high a rate is refused; lifting that bound is the surest way to a loss that is not a number.
    monkeypatch.setattr(validate, "MOST", {})
    output = here(command(workdir, text, *wild), capsys, status=1)
    assert re.search(r"error: .* at step [78]\b", output) and "Traceback" not in output
    assert sorted(p.name for p in (workdir / "checkpoints").iterdir() if p.name.isdigit()) == ["3", "6"]
    assert not (workdir / "summary.json").exists()


def test_change_that_the_checkpoints_cannot_follow_is_refused(undisturbed, text, capsys):
    output = here(command(undisturbed, text, "--config.model.hidden_size=8", "--accept_changes"), capsys, status=2)
    assert "model.hidden_size = 8 (was 16) does not fit the checkpoints" in output
    assert (undisturbed / "checkpoints" / "24").is_dir()


def test_full_disk_names_the_path_and_keeps_earlier_checkpoints(undisturbed, killed, text):
    workdir = shutil.copytree(killed, sibling(undisturbed, "full"))
    kept = sorted(p.name for p in (workdir / "checkpoints").iterdir() if p.name.isdigit())
    # A limit on file size is the full disk that a test can have: every larger write fails.
    limited = ["bash", "-c", 'ulimit -f 4; trap "" XFSZ; exec "$@"', "bash", *command(workdir, text)]
    output = run(limited, status=1)
    # Orbax's threads may print more, before and after.
    assert re.search(rf"error: {workdir}/checkpoints/\d+: the checkpoint could not be written", output), output
    assert kept == sorted(p.name for p in (workdir / "checkpoints").iterdir() if p.name.isdigit())
    trained(command(workdir, text))
    assert summary(workdir)["params_sha256"] == summary(undisturbed)["params_sha256"]


def test_two_runs_never_share_a_folder(undisturbed, text, capsys):
    workdir = sibling(undisturbed, "shared")
    process = start(command(workdir, text, "--config.steps=100000"))
    wait_until(lambda: steps_done(workdir) != [], process)
    output = here(command(workdir, text, "--config.steps=100000"), capsys, status=2)
    kill(process)
    assert "in use by another process" in output


def test_summary_has_every_key(undisturbed):
    found = summary(undisturbed)
    assert {"final", "best", "num_params", "num_params_non_embedding", "params_sha256", "tokens_seen"} <= found.keys()
    assert {
        "target_tokens_per_second",
        "median_step_seconds",
        "compile_seconds",
        "start_to_first_step_seconds",
    } <= found.keys()
    assert {"peak_memory_bytes", "padding_share", "commit", "versions", "device"} <= found.keys()
    assert found["best"]["metric"] == "loss" and found["best"]["loss"] <= found["final"]["loss"]
    assert np.isfinite(found["final"]["loss"]) and found["final"]["step"] == 24


def test_config_is_recorded_with_its_origin(undisturbed):
    recorded = json.loads((undisturbed / "config.json").read_text())
    assert recorded["config"]["model"]["name"] == "rnn"
    assert recorded["commit"] and recorded["versions"]["jax"] and recorded["device"]["count"] == 1
