"""One device, eight, or two processes: the same losses and the same parameters within rounding."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from tests.training.processes import command, rows, run, start, summary, write_text
from tests.training.runs import trained
from training.machine import peers
from training.machine.mesh import start_processes

EVERY = (
    "--config.steps=8",
    "--config.every.log=1",
    "--config.every.eval=8",
    "--config.every.save=8",
    "--config.data.num_buckets=1",  # a shape costs each process two programs
)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return write_text(tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="module", params=["rnn", "transformer_decoder"])
def one_device(request, tmp_path_factory, text):
    workdir = tmp_path_factory.mktemp("runs") / "one"
    trained(command(workdir, text, *EVERY, model=request.param))
    return request.param, workdir


@pytest.mark.parametrize(
    ("flags", "environment", "said"),
    [
        ((None, 2, 0), {}, r"--num_processes = 2 needs --coordinator=HOST:PORT"),
        (("here:1", None, None), {}, r"--coordinator = here:1 needs --num_processes and --process_id"),
        (("here", 2, 0), {}, "--coordinator = 'here' is no HOST:PORT; give the address of process 0"),
        (("", None, None), {}, "--coordinator = '' is no HOST:PORT"),
        ((None, 2, 0), {"JAX_COORDINATOR_ADDRESS": "here:port"}, "JAX_COORDINATOR_ADDRESS = 'here:port' is no HOST"),
        ((None, None, None), {"SLURM_STEP_NUM_TASKS": "a", "SLURM_PROCID": "0"}, "SLURM_STEP_NUM_TASKS = 'a' is not a"),
        (("here:1", 2, 2), {}, r"--process_id = 2 is not in \[0, 2\); count from 0"),
        (("here:1", None, None), {"JAX_NUM_PROCESSES": "two", "JAX_PROCESS_ID": "0"}, "JAX_NUM_PROCESSES = 'two' is"),
    ],
)
def test_processes_that_cannot_find_each_other_are_refused(monkeypatch, flags, environment, said):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=said):
        start_processes(*flags)


def losses(workdir):
    return np.array([(row["loss"], row["gradient_norm"]) for row in rows(workdir, "train")])


def assert_same(workdir, one):
    assert losses(workdir).shape == (8, 2)
    np.testing.assert_allclose(losses(workdir), losses(one), rtol=2e-5)
    assert summary(workdir)["tokens_seen"] == summary(one)["tokens_seen"]
    assert summary(workdir)["final"]["loss"] == pytest.approx(summary(one)["final"]["loss"], rel=2e-5)


def test_eight_devices(one_device, text):
    model, one = one_device
    workdir = one.parent / "eight"
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=8"
    run(command(workdir, text, *EVERY, model=model), XLA_FLAGS=flags)
    assert summary(workdir)["device"]["count"] == 8
    assert_same(workdir, one)


def free_port() -> int:
    """Of none that the system gives to whoever asks for any, so that it is free a moment later too."""
    while True:
        with contextlib.suppress(OSError), socket.socket() as s:
            s.bind(("", port := random.SystemRandom().randrange(12_000, 32_000)))
            return port


def start_two(address, how, words):
    """Two processes that make one run, started by flags or by the environment."""
    processes = []
    for i in range(2):
        flags, env = [f"--coordinator={address}", "--num_processes=2", f"--process_id={i}"], {}
        if how == "environment":
            flags, env = [], {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": str(i)}
        processes.append(start([*words, *flags], **env))
    return processes


def test_two_processes(one_device, text):
    model, one = one_device
    how = "environment" if model == "rnn" else "flags"  # one way each of being started
    workdir, address = one.parent / f"two-{how}", f"127.0.0.1:{free_port()}"
    processes = start_two(address, how, command(workdir, text, *EVERY, model=model))
    for process in processes:
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output
    assert summary(workdir)["device"] | {"machine": ""} == summary(one)["device"] | {
        "machine": "",
        "count": 2,
        "processes": 2,
    }
    assert_same(workdir, one)


def training(workdir, text):
    """Two processes that train on and on, once they do."""
    seldom = ("--config.every.eval=100000", "--config.every.save=100000")
    endless = command(workdir, text, *EVERY, "--config.steps=100000", *seldom)
    processes = start_two(f"127.0.0.1:{free_port()}", "flags", endless)
    while not (workdir / "metrics.jsonl").exists() or not rows(workdir, "train"):
        assert all(process.poll() is None for process in processes)
        time.sleep(0.05)
    return processes


@pytest.mark.parametrize("victim", [0, 1])
def test_a_process_that_dies_ends_the_other_in_one_line(tmp_path, text, victim):
    """The first is the coordinator, whose loss JAX's C++ code tells in twenty lines before it aborts."""
    processes = training(tmp_path / "killed", text)
    dead, left = processes[victim], processes[1 - victim]
    dead.kill()
    output, _ = left.communicate(timeout=300)
    dead.communicate()
    assert left.returncode not in (0, None), output
    said = [line for line in output.splitlines() if not line.startswith(("[Gloo]", "compiling", "rnn on", "step "))]
    assert said == [f"error: {peers.LOST}"]


@pytest.mark.parametrize(
    ("report", "said"),
    [
        ("E1 agent.cc:289] Polled an error from coordination service (x)", peers.LOST),
        ("W1 sync.cc:147] Failed to retrieve preemption notice from coordination service: UNAVAILABLE: x", peers.LOST),
        ("F1 client.h:80] ... JAX distributed service detected fatal errors ... DEADLINE_EXCEEDED", peers.NEVER),
    ],
)
def test_what_is_no_report_passes_the_filter(report, said):
    lines = f"[Gloo] connected\n{report}\n*** Check failure\n"
    done = subprocess.run([sys.executable, peers.__file__], input=lines, capture_output=True, text=True, timeout=60)
    assert done.stderr == f"[Gloo] connected\nerror: {said}\n" and not done.stdout


def test_sigterm_to_one_process_stops_both_at_the_same_step(tmp_path, text):
    workdir = tmp_path / "run"
    processes = training(workdir, text)
    processes[1].send_signal(signal.SIGTERM)
    for process in processes:
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 143, output
    saved = max(int(path.name) for path in (workdir / "checkpoints").iterdir() if path.name.isdigit())
    assert saved == rows(workdir, "train")[-1]["step"]


SHARED_STEP = """
import jax
from tests.training import runs
import data, models
from data import pipeline
from training.machine import mesh
from training.machine.clock import Clock
from training.step.train_step import Recipe
from training.trainer import Trainer

config = runs.config("recall", name, cpu_devices=2)
task = data.build(config.task, config.data)
model = models.build(name, config.model, task.spec, jax.random.key(0))
trainer = Trainer(model, task.spec, Recipe.of(config), mesh.make(), Clock({}))
trainer.step(0, next(pipeline.train_batches(task, pipeline.Batching.of(config))))
(program,) = trainer._whole_step._programs.values()
print(program.result().as_text(), end="\f")
"""


SHARING = ("lstm_attention", "rnn_decoder")


@pytest.fixture(scope="module")
def shared_steps():
    """The text of each program, optimised in earnest, but for LLVM's part, by one process that has two devices."""
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=2"
    environment = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "false", "XLA_FLAGS": flags}
    words = [sys.executable, "-c", f"for name in {SHARING}:" + textwrap.indent(SHARED_STEP, "    ")]
    return dict(zip(SHARING, run(words, **environment).split("\f")[:-1], strict=True))


@pytest.mark.parametrize("model", SHARING)
def test_devices_keep_to_their_rows(model, shared_steps):
    """A step gathers nothing, and adds gradients up once, not at every step of a scan."""
    program = shared_steps[model]
    assert "all-gather(" not in program and "all-to-all(" not in program
    sums = [line for line in program.splitlines() if " all-reduce(" in line]
    assert sums and not any("while/body" in line for line in sums)
