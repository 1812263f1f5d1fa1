"""What a run will take, by what recorded ones took: its cell first, then its architecture, then any."""

import types

import pytest

from experiments.engine import estimate, schedule
from experiments.engine.schedule import REPORT, TUNE
from experiments.questions.question import Run, over_seeds

ASKED = types.SimpleNamespace(VERSION=1, PROBES=())


def due(system: str, model: str, **overrides):
    run = Run(f"configs/recall.py:{model}", {"system": system}, overrides=overrides)
    return [schedule.assumed(ASKED, one) for one in over_seeds(run, 2)]


def learned(*runs: tuple) -> estimate.Clock:
    """A clock that knows (run, seconds)."""
    clock = estimate.Clock()
    for one, seconds in runs:
        clock.learn(one.key.name, one.role, one.config.steps, seconds)
    clock.compare([one for one, _ in runs])
    return clock


def test_a_cell_takes_what_its_seeds_took():
    first, second = due("a", "gru")
    (longer, _), (other, _) = due("b", "gru", steps=1200), due("c", "rnn")
    assert estimate.Clock().seconds(first) == estimate.cost(first.config).flops / estimate.ASSUMED
    assert not estimate.Clock().measured
    clock = learned((first, 50.0))
    assert clock.seconds(second) == 50.0 and clock.measured
    assert clock.seconds(longer) == pytest.approx(100.0)  # twice the work of the same architecture
    ratio = estimate.cost(other.config).flops / estimate.cost(first.config).flops
    assert clock.seconds(other) == pytest.approx(50 * ratio)
    assert clock.total([first, second, longer]) == pytest.approx(200.0)


def test_trials_and_runs_of_a_cell_tell_of_each_other_by_their_steps():
    (run, _) = due("a", "gru")
    clock = estimate.Clock()
    clock.learn("a", TUNE, 200, 20.0)
    assert clock.seconds(run) == 60.0  # of 600 steps
    clock.learn("a", REPORT, 300, 40.0)
    assert clock.seconds(run) == 80.0  # runs of the same role, where there are any


def test_what_is_recorded_is_known_without_reading_its_text(monkeypatch):
    def refuse(_):
        raise AssertionError("the text of a recorded run was asked for")

    monkeypatch.setattr(estimate, "cost", refuse)
    first, second = due("a", "gru")
    assert learned((first, 50.0)).total([first, second]) == 100.0
    monkeypatch.undo()
    asked, cost = [], estimate.cost
    monkeypatch.setattr(estimate, "cost", lambda config: asked.append(config.model.name) or cost(config))
    (text, _), (rnn, _), (other, _) = due("t", "transformer"), due("r", "rnn"), due("o", "rnn", steps=1200)
    assert learned((text, 50.0), (rnn, 10.0)).seconds(other) == pytest.approx(20.0) and set(asked) == {"rnn"}


def test_training_costs_what_its_own_lengths_do():
    short, long = (Run("configs/parity.py:gru_decoder", {}, overrides={"data.long_length": n}) for n in (0, 500))
    costs = [estimate.cost(schedule.assumed(ASKED, run).config).flops for run in (short, long)]
    assert costs[0] == costs[1] > 0


def test_what_measures_time_takes_as_long_as_others_did_however_much_work_it_is():
    clock = estimate.Clock(timed=True)
    (first, _), (longer, _) = due("a", "gru"), due("b", "gru", steps=1200)
    assert clock.seconds(longer) == estimate.ASSUMED_SECONDS and "s a run" in clock.assumed
    clock.learn("a", REPORT, first.config.steps, 50.0)
    assert clock.seconds(longer) == 50.0
