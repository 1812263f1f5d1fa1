"""What a run will take, by what recorded ones took: its cell first, then its architecture, then any."""

import json
import types
from pathlib import Path

import pytest

from experiments.engine import estimate, schedule
from experiments.engine.results import Record
from experiments.engine.schedule import REPORT, TUNE
from experiments.questions.question import Run, over_seeds

FORWARD = 1e5
ASKED = types.SimpleNamespace(VERSION=1, PROBES=())


def due(system: str, model: str, **overrides):
    run = Run(f"configs/recall.py:{model}", {"system": system}, overrides=overrides)
    return [schedule.assumed(ASKED, one) for one in over_seeds(run, 2)]


def record(
    due, seconds: float, role: str = REPORT, steps: int = 0, compiling: float = 0.0, platform: str = "cpu"
) -> Record:
    """As a finished run is recorded: its model does `FORWARD` FLOPs for each of a million tokens."""
    config = json.dumps({"steps": steps or due.config.steps, "model.name": due.config.model.name})
    measured = {"training_seconds": seconds, "flops_per_token": FORWARD, "tokens_seen": 1e6}
    measured |= {"compile_seconds": compiling}
    rows = [{"measure": name, "value": value, "probe": "run"} for name, value in measured.items()]
    said = {"role": role, "config": config, "device": f"1 x a processor ({platform}, x86_64)"}
    return Record(due.key, [row | said for row in rows], Path("rows.json"))


def learned(*records: Record) -> estimate.Clock:
    clock = estimate.Clock()
    for one in records:
        clock.learn(one)
    return clock


def test_a_cell_takes_what_its_seeds_took():
    first, second = due("a", "gru")
    clock = learned(record(first, 50.0))
    assert clock.seconds(second) == 50.0 and clock.basis == "by recorded runs"
    assert clock.total([first, second]) == pytest.approx(100.0)


def test_a_first_run_takes_what_committed_ones_of_its_kind_and_size_did(monkeypatch):
    (first, _) = due("a", "gru")
    work = estimate.cost(first.config).flops / first.config.steps
    speed, rest = estimate.assumed("gru", work)
    assert estimate.Clock().seconds(first) == estimate.cost(first.config).flops / speed + rest and 1 < rest < 60
    assert "by committed runs of such architectures" in estimate.Clock().basis
    alike = [estimate.Rate("gru_decoder", work * n, s, s / 2) for n, s in ((0.9, 7.0), (1.2, 9.0), (1.0, 8.0))]
    others = [estimate.Rate("gru", 100 * work, 2e6)] * 9 + [estimate.Rate("transformer", work, 1e6)] * 9
    monkeypatch.setattr(estimate, "NEAREST", 3)
    monkeypatch.setattr(estimate, "committed", lambda: (*others, *alike))
    assert estimate.assumed("gru_attention", work) == (8.0, 4.0)
    assert estimate.assumed("lstm", 100 * work) == (2e6, 0.0)
    clock = estimate.Clock()
    clock.seconds(first)
    assert clock.basis == f"{estimate.BY_COMMITTED} CPU"
    clock.seconds(due("a", "lstm")[0])
    assert clock.basis.endswith("CPU (none of lstm, which may take several times as long)")
    monkeypatch.setattr(estimate, "committed", lambda: ())
    assert estimate.assumed("gru", work) == (estimate.ASSUMED, 0.0)


def test_runs_on_one_platform_tell_nothing_of_another(monkeypatch):
    """The committed tables have runs on CPUs and a GPU, none on a TPU."""
    monkeypatch.setattr(estimate, "committed", estimate.committed.__wrapped__)  # read anew
    on_cpu = estimate.committed()
    monkeypatch.setattr(estimate.jax, "default_backend", lambda: "gpu")
    on_gpu = estimate.committed()
    assert on_cpu and on_gpu and not set(on_cpu) & set(on_gpu)
    assert learned(record(due("a", "gru")[0], 50.0)).basis == f"{estimate.BY_COMMITTED} GPU"
    assert learned(record(due("a", "gru")[0], 50.0, platform="gpu")).basis == "by recorded runs"
    monkeypatch.setattr(estimate.jax, "default_backend", lambda: "tpu")
    assert estimate.committed() == () and "assuming 20 TFLOP/s" in estimate.Clock().basis
    assert learned(record(due("a", "gru")[0], 50.0)).basis == estimate.BY_GUESS
    assert estimate.assumed("gru", 1e9) == (1e9 / 2e-3, 60.0) and estimate.assumed("gru", 1e12) == (2e13, 60.0)


def test_the_committed_tables_tell_of_every_kind():
    kinds = {rate.model.partition("_")[0] for rate in estimate.committed()}
    assert kinds == {"rnn", "lstm", "gru", "transformer", "decoder", "conv", "min", "linear", "mlstm"}
    assert all(1e8 < rate.speed < 1e12 and rate.work > 0 for rate in estimate.committed())


def test_another_cell_takes_what_its_architecture_did_per_flop_or_any():
    (first, _), (longer, _), (rnn, _) = due("a", "gru"), due("b", "gru", steps=1200), due("c", "rnn")
    clock = learned(record(first, 50.0))
    for one in (longer, rnn):
        assert clock.seconds(one) == pytest.approx(50.0 * estimate.cost(one.config).flops / (3 * FORWARD * 1e6))
    slower = learned(record(first, 50.0), record(rnn, 100.0))
    (another, _) = due("d", "rnn", steps=1200)
    assert slower.seconds(another) == pytest.approx(2 * clock.seconds(another))


def test_trials_and_runs_of_a_cell_tell_of_each_other_by_their_steps():
    (run, _) = due("a", "gru")
    clock = learned(record(run, 20.0, TUNE, steps=200))
    assert clock.seconds(run) == 60.0  # of 600 steps
    clock.learn(record(run, 40.0, REPORT, steps=300))
    assert clock.seconds(run) == 80.0  # runs of the same role, where there are any


def test_what_does_not_grow_with_the_steps_counts_once():
    (first, _), (longer, _) = due("a", "gru"), due("b", "gru", steps=1200)
    clock = learned(record(first, 0.1, steps=6, compiling=30.0))  # a start of a few steps
    assert clock.seconds(first) == pytest.approx(10.0 + 30.0)
    work = estimate.cost(longer.config).flops / (3 * FORWARD * 1e6)
    assert clock.seconds(longer) == pytest.approx(0.1 * work + 30.0)


def test_what_is_recorded_is_known_without_reading_its_text(monkeypatch):
    def refuse(_):
        raise AssertionError("the text of a recorded run was asked for")

    monkeypatch.setattr(estimate, "cost", refuse)
    first, second = due("a", "gru")
    assert learned(record(first, 50.0)).total([first, second]) == 100.0


def test_training_costs_what_its_own_lengths_do():
    short, long = (Run("configs/parity.py:gru_decoder", {}, overrides={"data.long_length": n}) for n in (0, 500))
    costs = [estimate.cost(schedule.assumed(ASKED, run).config).flops for run in (short, long)]
    assert costs[0] == costs[1] > 0


def test_what_measures_time_takes_as_long_as_others_did_however_much_work_it_is():
    clock = estimate.Clock(timed=True)
    (first, _), (longer, _) = due("a", "gru"), due("b", "gru", steps=1200)
    assert clock.seconds(longer) == estimate.ASSUMED_SECONDS and "s per run" in clock.basis
    clock.learn(record(first, 50.0))
    assert clock.seconds(longer) == 50.0
