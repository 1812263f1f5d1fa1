"""Who measures is alone; who prepares is not; who waits to measure is let in before who comes to prepare."""

import subprocess
import sys
import threading
import time
import types

import pytest

from experiments.engine import sitting, trial
from experiments.probes import compiled, quiet
from experiments.probes.quiet import Quiet
from experiments.questions.question import Probing


class Other:
    """A process or thread of its own, by its own files."""

    def __init__(self, folder, of):
        self.inside, self.leave = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._stay, args=(getattr(Quiet(folder), of),), daemon=True)
        self._thread.start()

    def _stay(self, room):
        with room():
            self.inside.set()
            self.leave.wait(60)

    def end(self):
        self.leave.set()
        self._thread.join(60)
        assert not self._thread.is_alive()


def test_many_prepare_and_one_measures(tmp_path):
    preparing = [Other(tmp_path, "preparing") for _ in range(3)]
    assert all(one.inside.wait(60) for one in preparing)
    measuring = [Other(tmp_path, "measuring") for _ in range(2)]
    assert not any(one.inside.wait(0.2) for one in measuring)
    for one in preparing:
        one.end()
    until = time.monotonic() + 60
    while not any(one.inside.is_set() for one in measuring) and time.monotonic() < until:
        time.sleep(0.01)
    first = next(one for one in measuring if one.inside.is_set())
    (second,) = (one for one in measuring if one is not first)
    assert not second.inside.wait(0.2)
    first.end()
    assert second.inside.wait(60)
    second.end()


def test_who_waits_to_measure_goes_before_who_comes_to_prepare(tmp_path):
    preparing = Other(tmp_path, "preparing")
    assert preparing.inside.wait(60)
    measuring = Other(tmp_path, "measuring")
    time.sleep(0.2)
    late = Other(tmp_path, "preparing")
    assert not late.inside.wait(0.2) and not measuring.inside.is_set()
    preparing.end()
    assert measuring.inside.wait(60) and not late.inside.wait(0.2)
    measuring.end()
    assert late.inside.wait(60)
    late.end()


def test_who_prepares_gives_its_place_up_to_measure_and_takes_it_again(tmp_path):
    room = Quiet(tmp_path)
    with room.preparing():
        for _ in range(2):
            with room.measuring():
                other = Other(tmp_path, "preparing")
                assert not other.inside.wait(0.1)
            assert other.inside.wait(60)
            other.end()
        waiting = Other(tmp_path, "measuring")
        assert not waiting.inside.wait(0.1)
    assert waiting.inside.wait(60)
    waiting.end()


def test_a_process_that_is_killed_lets_others_in(tmp_path):
    held = "import sys, time, pathlib; from experiments.probes.quiet import Quiet\n"
    held += "with Quiet(pathlib.Path(sys.argv[1])).measuring(): print('in', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", held, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline() == b"in\n"
        waiting = Other(tmp_path, "measuring")
        assert not waiting.inside.wait(0.1)
        process.kill()
    assert waiting.inside.wait(60)
    waiting.end()


def test_an_error_gives_the_place_back(tmp_path):
    room = Quiet(tmp_path)
    for of in (room.preparing, room.measuring):
        with pytest.raises(KeyError), of():
            raise KeyError
    other = Other(tmp_path, "measuring")
    assert other.inside.wait(60)
    other.end()


def test_who_waits_says_so(tmp_path, capsys):
    with Quiet(tmp_path).measuring():
        other = Other(tmp_path, "preparing")
        assert not other.inside.wait(1)
        assert "waiting for other timed runs on this machine" in capsys.readouterr().err
    assert other.inside.wait(60)
    other.end()


@pytest.mark.parametrize(
    ("platform", "timed", "all_timed", "slots"),
    [
        ("", True, True, 1),
        ("cpu,cuda", True, True, 1),  # computes on the CPU
        ("tpu", True, True, 1),  # which takes one process
        ("cuda,cpu", True, True, 4),
        ("cuda", True, False, 1),  # what is not timed would not wait
        ("", False, False, 4),
    ],
)
def test_timed_runs_have_a_cpu_to_themselves_and_share_a_gpu_to_prepare(monkeypatch, platform, timed, all_timed, slots):
    monkeypatch.setenv("JAX_PLATFORMS", platform)
    assert sitting.at_once(types.SimpleNamespace(alone=timed, all_alone=all_timed), 4) == slots


def test_what_is_measured_is_measured_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(quiet, "HERE", Quiet(tmp_path))
    others = []

    def turn() -> float:
        others.append(Other(tmp_path, "preparing"))
        assert not others[-1].inside.wait(0.1)
        return 0.0

    compiled.measure([compiled.Called(turn, 1.0)], 0.0)
    for one in others:
        assert one.inside.wait(60)
        one.end()
    assert others


@pytest.mark.parametrize("alone", [True, False])
def test_a_timed_run_prepares_beside_others_and_not_beside_a_measurement(tmp_path, monkeypatch, alone):
    monkeypatch.setattr(quiet, "HERE", Quiet(tmp_path))
    spec = types.SimpleNamespace(probes=(Probing("exposure", alone=alone),))
    seen = []

    def body(spec) -> bool:
        other = Other(tmp_path, "measuring")
        seen.append(other)
        return not other.inside.wait(0.3)

    monkeypatch.setattr(trial, "_run", body)
    assert trial.run(spec) == alone
    assert seen[0].inside.wait(60)
    seen[0].end()
