"""Being asked to end, and being left by whoever reads, at any moment: real processes."""

import ast
import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.training.processes import ROOT, command, start, summary, write_text
from training.machine import signals
from training.machine.lasting_streams import Lasting

ONE_SHAPE = "--config.data.num_buckets=1"  # of batch: two programs instead of five


def wait_for_library(process, name):
    """Until a process has loaded a shared library, or a moment after that: a place in its imports."""
    deadline = time.monotonic() + 120
    while name not in Path(f"/proc/{process.pid}/maps").read_text():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)


def interrupted(process):
    """What a process says that Ctrl-C ends; None where it was over before."""
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=300)
    if process.returncode in (0, 2):
        return None
    assert process.returncode == 130
    return output


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc to find the moment")
@pytest.mark.parametrize(
    ("library", "then"), [("_multiarray_umath", 0.0), ("jaxlib", 0.0), ("jaxlib", 0.7), ("jaxlib", 2)]
)
def test_ctrl_c_while_a_run_starts_loses_nothing_and_is_one_line(tmp_path, library, then):
    endless = command(tmp_path / "runs" / "run", write_text(tmp_path / "text"), ONE_SHAPE, "--config.steps=100000")
    process = start(endless)
    wait_for_library(process, library)
    time.sleep(then)
    *before, last = interrupted(process).splitlines()
    if last == "error: stopped":  # nothing had begun, so nothing is left of it
        assert not before and not (tmp_path / "runs").exists()
    else:  # a fast machine is at its first steps by then
        assert "Traceback" not in " ".join(before)
        assert last.startswith("stopped at step ") and "the same command goes on from there" in last
        assert list((tmp_path / "runs" / "run" / "checkpoints").iterdir())


def test_the_handler_stands_before_anything_that_takes_time_is_imported():
    def imports(name):
        tree = ast.parse((ROOT / "training" / "machine" / f"{name}.py").read_text())
        return [ast.unparse(node) for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]

    assert imports("signals")[0] == "from training.machine import at_once"
    assert imports("at_once") == ["import os", "import signal", "import sys", "from types import FrameType"]


PROGRAMS = {
    "eval": ["eval.py", "--workdir=nowhere"],
    "run": ["-m", "experiments.run", "parity", "--dry-run"],
    "sweep": ["-m", "experiments.sweep", "--config=configs/recall.py:gru", "--vary=batch_size=1,2", "--dry-run"],
    "demo": ["-m", "experiments.demo", "--folder=nowhere"],
    "report": ["-m", "experiments.report", "--results=nowhere"],
    "figure": ["-m", "experiments.figure", "parity", "--results=nowhere"],
    "dashboard": ["-m", "experiments.wandb_dashboard", "--dry-run"],
    "benchmarks": ["-m", "benchmarks", "--dry-run"],
}


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc to find the moment")
@pytest.mark.parametrize("name", PROGRAMS)
def test_ctrl_c_while_a_program_is_imported_is_one_line(name):
    for _ in range(5):  # a busy machine may let the program end before this process sends the signal
        process = start([sys.executable, *PROGRAMS[name]])
        wait_for_library(process, "_multiarray_umath")
        if said := interrupted(process):
            break
    assert said == "error: stopped\n"


@pytest.mark.parametrize("reader", ["head", "nobody"])
def test_a_reader_that_leaves_costs_no_step(tmp_path, reader):
    words = command(tmp_path / "run", write_text(tmp_path / "text"), ONE_SHAPE, "--config.steps=6")
    shell = '"$@" 2>&1 | head -n 1; exit ${PIPESTATUS[0]}' if reader == "head" else '"$@" 2>&-'
    env = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "true"}
    done = subprocess.run(["bash", "-c", shell, "bash", *words], cwd=ROOT, env=env, capture_output=True, timeout=300)
    assert done.returncode == 0 and done.stdout.count(b"\n") == (reader == "head")
    assert summary(tmp_path / "run")["final"]["step"] == 6


def test_what_refuses_once_is_not_asked_again():
    read, write = os.pipe()
    stream = os.fdopen(write, "w", buffering=1)
    lasting = Lasting(stream)
    print("heard", file=lasting, flush=True)
    assert os.read(read, 100) == b"heard\n" and lasting.encoding == stream.encoding
    os.close(read)
    for _ in range(3):
        print("unheard", file=lasting, flush=True)
    stream.close()  # which writes what is left


def test_nohup_is_respected():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert signal.SIGHUP not in signals.asking()
    finally:
        signal.signal(signal.SIGHUP, before)
    assert set(signals.asking()) == {signal.SIGHUP, signal.SIGINT, signal.SIGTERM}


def test_a_program_that_only_imports_them_keeps_its_handlers():
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_who_was_not_asked_but_stopped_with_the_others_has_a_status():
    assert (signals.status(signal.SIGINT), signals.status()) == (130, 143)


class Refusing:
    """A stream that raises one error."""

    def __init__(self, number):
        self.error = OSError(number, os.strerror(number))

    def write(self, text):
        raise self.error

    def fileno(self):
        return os.open(os.devnull, os.O_WRONLY)


def test_a_terminal_that_closes_ends_nothing_but_a_reader_that_leaves_does():
    assert Lasting(Refusing(errno.EIO), only=errno.EIO).write("unheard") == 7
    with pytest.raises(OSError, match="Broken pipe"):
        Lasting(Refusing(errno.EPIPE), only=errno.EIO).write("unheard")
