"""What ends before anything of ours could handle it is one line, or none."""

import errno
import subprocess
import sys
from types import SimpleNamespace

import pytest
from jax._src import config

from tests.training.processes import ROOT
from training.machine import last_words, lasting_streams


@pytest.mark.parametrize(
    ("name", "value"),
    [("JAX_ENABLE_X64", "maybe"), ("JAX_NUM_PROCESSES", "two"), ("JAX_MIN_SECS", "soon")],
)
def test_a_variable_that_jax_cannot_read_is_named(monkeypatch, capsys, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError) as error:
        (config.bool_env if value == "maybe" else config.int_env)(name, 0)
    with pytest.raises(SystemExit) as stopped:
        last_words.say(ValueError, error.value, error.tb)
    said = capsys.readouterr().err
    assert stopped.value.code == 2 and said.count("\n") == 1
    assert said.startswith(f"error: the environment has {name} = {value!r}, which JAX cannot read (")
    assert said.endswith("; correct it or unset it\n")


def test_another_error_keeps_its_traceback(monkeypatch, capsys):
    monkeypatch.setenv("JAX_ENABLE_X64", "0")
    with pytest.raises(ValueError) as error:
        int("no number")
    last_words.say(ValueError, error.value, error.tb)
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(("message", "told"), [("Event loop is closed", 0), ("another", 1)])
def test_threads_of_a_checkpoint_that_failed_say_nothing(monkeypatch, message, told):
    said = []
    monkeypatch.setattr(sys, "__unraisablehook__", said.append)
    last_words.say_of_threads(SimpleNamespace(exc_value=RuntimeError(message)))
    assert len(said) == told


@pytest.mark.processes
@pytest.mark.parametrize("program", ["train.py --help", "train.py --config=configs/recall.py:gru --help"])
def test_help_that_nobody_reads_to_its_end_is_cut_off_quietly(program):
    shell = f"{sys.executable} {program} | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", shell], cwd=ROOT, capture_output=True, timeout=120)
    assert (done.stderr, done.returncode) == (b"", 141)


def test_a_full_disk_under_standard_output_is_one_line(capsys):
    class Full:
        def write(self, text):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError) as error:
        lasting_streams.Lasting(Full(), only=errno.EIO).write("x")
    with pytest.raises(SystemExit) as stopped:
        last_words.say(error.type, error.value, error.tb)
    said = capsys.readouterr().err
    assert (stopped.value.code, said) == (1, "error: standard output could not be written (No space left on device)\n")
