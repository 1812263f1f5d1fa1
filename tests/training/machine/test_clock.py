"""The clock: what a second counts under."""

import itertools
import time

import pytest

from training.machine import clock


@pytest.fixture
def now(monkeypatch):
    """A clock that stands still unless it is moved: `now(seconds)`."""
    at = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: at[0])

    def move(seconds):
        at[0] += seconds

    return move


def test_pauses_are_no_training(now):
    watch = clock.Clock({})
    now(3)
    with watch.pause("compile"):
        now(10)
    now(2)
    assert watch.lap() == 5 and watch.seconds == {"compile": 10, "training": 5}
    now(1)
    assert watch.lap() == 1 and watch.seconds == {"compile": 10, "training": 6}


def test_a_second_within_two_pauses_counts_once_and_for_the_inner(now):
    watch = clock.Clock({"eval": 1.0})
    now(1)
    with watch.pause("eval"):
        now(4)
        with watch.pause("compile"):
            now(20)
        now(2)
        with watch.pause("compile"):
            now(30)
    assert watch.lap() == 1
    assert watch.seconds == {"eval": 7.0, "compile": 50, "training": 1}


def test_who_watches_is_told_what_goes_on(now):
    watch, told = clock.Clock({}), []
    watch.listeners = [told.append]
    with watch.pause("eval"), watch.pause("compile"):
        now(1)
    assert told == ["eval", "compile", "eval", ""]


def test_an_error_ends_its_pause(now):
    watch = clock.Clock({})
    with pytest.raises(KeyError), watch.pause("save"):
        now(2)
        raise KeyError
    assert watch.lap() == 0 and watch.seconds["save"] == 2


def test_only_the_first_run_of_a_process_counts_its_imports(monkeypatch):
    monkeypatch.setattr(clock, "_runs", itertools.count())
    first, second = clock.run_start(), clock.run_start()
    assert first < second <= time.time()
