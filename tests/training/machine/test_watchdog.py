"""A run that stands still says what it waits for, once; a slow one is left in peace."""

import contextlib
import re
import threading
import time

import pytest

import train
from tests.training.runs import compiled_in_haste, config
from training.evaluation import outputs
from training.machine.watchdog import Watchdog, still


class Time:
    seconds = 0.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def now():
    return Time()


@pytest.fixture
def said():
    return []


def test_a_minute_without_a_step_is_said_with_step_and_cause(now, said):
    watchdog = Watchdog(said.append, now=now)
    watchdog.advance(1840)
    now.seconds = 59
    watchdog.look()
    assert said == []
    now.seconds = 61
    watchdog.look()
    assert said == ["step 1,840: 61 s without a step, waiting for the device"]


@pytest.mark.parametrize(
    ("activity", "cause"),
    [
        ("eval", "the evaluation"),
        ("save", "the checkpoint to be written"),
        ("mirror", "wandb, T"),
        ("probing", "probing"),
    ],
)
def test_what_the_clock_knows_is_the_cause(now, said, activity, cause):
    watchdog = Watchdog(said.append, now=now)
    watchdog.doing(activity)
    now.seconds = 70
    watchdog.look()
    assert len(said) == 1 and said[0].startswith(f"step 0: 70 s without a step, waiting for {cause}")


def test_compiling_takes_its_time_and_each_program_says_so(now, said):
    watchdog = Watchdog(said.append, now=now)
    for number in (1, 2):
        watchdog.doing("compile")
        begun = int(now.seconds)
        for now.seconds in range(begun, begun + 200, 5):
            watchdog.look()
        assert said == [f"step 0: program {number} has been compiling for {seconds} s" for seconds in (60, 120)]
        said.clear()
    watchdog.doing("")  # the minute counts from here
    now.seconds += 50
    watchdog.look()
    assert said == []
    now.seconds += 20
    watchdog.look()
    assert said == ["step 0: 70 s without a step, waiting for the device"]


def test_steps_that_are_slow_by_themselves_are_said_once(now, said):
    watchdog = Watchdog(said.append, now=now)
    for done in range(1, 20):
        watchdog.advance(done)
        for _ in range(18):
            now.seconds += 5
            watchdog.look()
    assert len(said) == 1
    now.seconds += 100  # but a stand of twice the time is news
    watchdog.look()
    assert len(said) == 2


def test_a_batch_that_does_not_come_is_waited_for(now, said):
    def batches():
        yield "first"
        now.seconds += 90
        watchdog.look()
        yield "second"

    watchdog = Watchdog(said.append, now=now)
    assert list(watchdog.fed(batches())) == ["first", "second"]
    assert said == ["step 0: 90 s without a step, waiting for the next batch"]


def test_the_thread_looks_by_itself_and_ends(said):
    with Watchdog(said.append, limit=0.05):
        deadline = time.monotonic() + 20
        while not said and time.monotonic() < deadline:
            time.sleep(0.01)
    assert len(said) >= 1
    for thread in threading.enumerate():
        if thread.name == "watchdog":
            thread.join(20)
            assert not thread.is_alive()


def test_a_run_is_watched(tmp_path, monkeypatch, capsys):
    told = []

    def slow(*words):
        """Until it is told of: how long other waits were before, and what is told after them, is the machine's."""
        deadline = time.monotonic() + 120
        while "waiting for the evaluation" not in "".join(told) and time.monotonic() < deadline:
            time.sleep(0.05)
            told.append(capsys.readouterr().err)
        return {}

    monkeypatch.setattr("training.machine.watchdog.LIMIT", 0.2)
    with compiled_in_haste():
        train.train(config("recall", "gru", steps=4), tmp_path / "run", probes=[slow])
    assert re.search(r"step 4: \d+ s without a step, waiting for the evaluation", "".join(told))


def until_told(capsys):
    """What stderr holds once something is there; a machine may be slow."""
    told, deadline = "", time.monotonic() + 60
    while not told and time.monotonic() < deadline:
        time.sleep(0.01)
        told = capsys.readouterr().err
    return told


def test_what_has_no_steps_says_that_it_goes_on_and_ends_with_it(capsys):
    with still("reading", limit=0.02):
        assert until_told(capsys).startswith("reading: 0 s so far\n")
    with still("reading", limit=1000):
        pass
    for thread in threading.enumerate():
        if thread.name == "still":
            thread.join(20)
            assert not thread.is_alive()


def test_a_start_and_a_decoded_line_that_take_long_say_so(tmp_path, monkeypatch, capsys):
    told = []

    def slow(*words, **options):
        told.append(until_told(capsys))
        raise ValueError("enough")

    monkeypatch.setattr("training.machine.watchdog.LIMIT", 0.05)
    monkeypatch.setattr(train.data, "build", slow)
    with pytest.raises(ValueError, match="enough"):
        train.train(config("recall", "gru"), tmp_path / "run")
    monkeypatch.setattr(outputs, "source_batch", slow)
    with pytest.raises(ValueError, match="enough"):
        list(outputs.translate(object(), None, ["one"], 7))
    assert [line.split(":")[0] for line in told] == ["reading the data and building the model", "line 1"]


def test_what_the_end_of_a_run_waits_for_is_no_step(tmp_path, monkeypatch, capsys):
    """Programs that are compiled ahead outlast the watch over steps."""
    over = []

    class Seen(Watchdog):
        def __exit__(self, *error):
            super().__exit__(*error)
            over.append("watch")

    @contextlib.contextmanager
    def ahead(*arguments, unneeded, say):
        yield
        over.append("programs")

    monkeypatch.setattr(train, "Watchdog", Seen)
    monkeypatch.setattr(train.Trainer, "compiling_ahead", ahead)
    monkeypatch.setattr(train.signals.StopRequest, "agreed", lambda stop, at: True)
    assert train.train(config("recall", "gru"), tmp_path / "run") == {}
    assert over == ["watch", "programs"] and "stopped at step 0 as asked" in capsys.readouterr().err
