"""Whole programs beside JoeyNMT, and the start of a run: equal work, honest words, mistakes in one line."""

import json
from typing import Any

import numpy as np
import pytest

from benchmarks import beam5, bench, multi30k_turns, start, turns
from benchmarks.same_work import check_same_work
from benchmarks.text_case import Files, TextCase
from benchmarks.turns import Contender, Running
from tests.training.processes import write_text

SIZES: dict[str, Any] = {
    "hidden": 16,
    "layers": 1,
    "heads": 2,
    "mlp": 16,
    "vocab": 40,
    "tokens_per_batch": 256,
    "buckets": 2,
    "devices": 1,
}
needs_peers = pytest.mark.skipif(not turns.has_peers(), reason="needs JoeyNMT beside us: run `make peers`")


@pytest.fixture(autouse=True)
def caches_of_its_own(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def case(tmp_path_factory) -> TextCase:
    return TextCase("multi30k", str(write_text(tmp_path_factory.mktemp("text"))), **SIZES)


def test_our_program_trains_validates_and_counts_what_is_no_padding(case, tmp_path):
    with Running(Contender("ours"), case, tmp_path) as ours:
        said = ours.ask("describe")
        first, second = ours.ask("step 20"), ours.ask("step 20")
        assert ours.ask("validate")["loss"] < said["loss"]
        assert ours.ask("quit")["peak_memory_bytes"] > 10**7
    assert first["compile_seconds"] > 0 and second["seconds"] > 0
    assert 0 < second["tokens"] < 20 * case.tokens_per_batch
    with np.load(Files(tmp_path).weights) as weights:
        assert sum(weights[name].size for name in weights.files) == said["num_params"]


@needs_peers
def test_joeynmt_does_the_same_work(case, tmp_path):
    """Its own reading of our text, vocabulary and weights gives our loss; then it trains."""
    with Running(Contender("ours"), case, tmp_path) as ours:
        mine = ours.ask("describe")
    with Running(Contender("joeynmt", "tuned"), case, tmp_path) as joey:
        theirs = joey.ask("describe")
        check_same_work(case.name, "joeynmt", mine, theirs)
        turn = joey.ask("step 20")
        assert turn["seconds"] > 0 and 0 < turn["tokens"] < 2 * 20 * case.tokens_per_batch
        assert joey.ask("validate")["loss"] < theirs["loss"]
        assert joey.ask("quit")["peak_memory_bytes"] > 10**7


@needs_peers
def test_a_changed_weight_is_noticed(case, tmp_path):
    with Running(Contender("ours"), case, tmp_path) as ours:
        mine = ours.ask("describe")
    path = Files(tmp_path).weights
    with np.load(path) as weights:
        changed = dict(weights)
    changed["decoder/layers/0/cross_attention/kv/kernel"] *= 2
    np.savez(path, **changed)
    with Running(Contender("joeynmt"), case, tmp_path) as joey, pytest.raises(RuntimeError, match="has a loss of"):
        check_same_work(case.name, "joeynmt", mine, joey.ask("describe"))


def test_a_run_that_joeynmt_cannot_hold_is_refused(tmp_path):
    config = {"task": "multi30k", "seed": 0, "data": {}, "model": {"name": "transformer", "positions": "rotary"}}
    (tmp_path / "config.json").write_text(json.dumps({"config": config}))
    with pytest.raises(RuntimeError, match="has model.positions = rotary"):
        beam5.case_of(tmp_path, tmp_path)


def test_tables_say_what_was_found(capsys, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)  # as in a pipe
    common = {"num_params": 10, "loss": 9.0, "peak_memory_bytes": 2**21, "ratio_low": 1.9, "ratio_high": 2.1}
    curve = [{"steps": 50, "tokens": 1, "seconds": 12.0, "loss": 3.5}]
    race = {"wanted": 3.0, "reached": False, "seconds": 12.0, "compile_seconds": 0.0, "curve": curve}
    trained = common | {
        "program": "joeynmt default",
        "ratio": 2.0,
        "target_tokens_per_second": 1400.0,
        "seconds_a_step": 0.37,
        "p10_target_tokens_per_second": 1300.0,
        "p90_target_tokens_per_second": 1500.0,
        "target_tokens_a_step": 510.0,
        "race": race,
    }
    translated = common | {
        "program": "joeynmt default",
        "ratio": 6.0,
        "median_seconds": 47.1,
        "p10_seconds": 47.0,
        "p90_seconds": 48.0,
        "sentences_per_second": 21.2,
        "first_seconds": 47.0,
        "bleu_lowercase": 40.15,
        "same_as_ours": 979,
    }
    started = {"program": "gru warm", "median_seconds": 2.9, "seconds": [2.8, 2.9, 3.0]}
    bench.print_tables(
        [
            {"case": "multi30k", "programs": [trained | {"program": "ours"}, trained]},
            {"case": "beam5", "sentences": 1000, "programs": [translated | {"program": "ours"}, translated]},
            {"case": "start", "programs": [started]},
        ]
    )
    printed = capsys.readouterr().out
    for expected in ("1,400 (1,300 to 1,500)", "2.00 (1.90 to 2.10)", "not 3 in 12 s, but 3.50", "47.1 (47.0 to 48.0)"):
        assert expected in printed
    assert "40.15" in printed and "979" in printed and "2.8" in printed
    assert "…" not in printed


def test_start_measures_a_real_run(tmp_path):
    assert 0.5 < start.seconds_to_first_step("gru", tmp_path / "run") < 120


def test_the_race_ends_at_the_loss_or_the_time(case):
    reached = multi30k_turns.race(case, Contender("ours"), loss=3.5, minutes=1.0)
    assert reached["reached"] and reached["curve"][-1]["loss"] <= 3.5
    late = multi30k_turns.race(case, Contender("ours"), loss=0.0, minutes=1e-6)
    assert not late["reached"] and len(late["curve"]) == 1


def test_mistakes_end_in_one_line(capsys, tmp_path):
    for words, expected in (
        (["multi30k"], "CASE = multi30k needs real text; give --data=FOLDER"),
        (["beam5", f"--data={tmp_path}/none"], "is no folder"),
        (["beam5", f"--data={tmp_path}", f"--run={tmp_path}"], "holds no run"),
    ):
        with pytest.raises(SystemExit) as ended:
            bench.main(words)
        said = capsys.readouterr().err
        assert ended.value.code == 2 and expected in said and said.count("\n") == 1
