"""The programs of a training step: all do the same work from our weights, and the work is counted right."""

import dataclasses
import json
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest

from benchmarks import ours, parts
from benchmarks.contender import Contender, Running, has_peers
from benchmarks.handover import read
from benchmarks.peers import flax_programs
from benchmarks.protocol import Program
from tests.benchmarks import tiny
from training.step import params

CASES = ("rnn_tiny", "gru_tiny", "lstm_tiny", "attention", "transformer", "language_model_256_16")
needs_peers = pytest.mark.skipif(not has_peers(), reason="needs torch beside us: run `make peers`")


def program(module: Any, contender: Contender, folder: Path) -> Program:
    return module.program(SimpleNamespace(**dataclasses.asdict(contender)), folder)


@pytest.fixture(autouse=True)
def settings_of_this_process_stay(monkeypatch):
    for module in (ours, parts, flax_programs):
        monkeypatch.setattr(module.backend, "configure", lambda *_: None)


@pytest.fixture(params=CASES)
def comparison(request):
    return tiny.case(request.param)


def begun(comparison, folder: Path) -> Program:
    """Ours, which leaves what the others begin with."""
    first = comparison.contenders[0]
    return program({"ours": ours, "parts": parts}[first.program], first, folder)


def test_flax_does_the_same_work(comparison, tmp_path):
    mine = begun(comparison, tmp_path)
    theirs = program(flax_programs, next(c for c in comparison.contenders if c.name == "flax tuned"), tmp_path)
    comparison.check_same_work(mine.describe(), theirs.describe())
    before = theirs.describe()
    for one in (mine, theirs):
        one.take(2)
    assert theirs.describe() == before  # the loss of the weights that were given


@needs_peers
def test_torch_does_the_same_work(comparison, tmp_path):
    mine = begun(comparison, tmp_path)
    torch = next(contender for contender in comparison.contenders if contender.name == "torch tuned")
    with closing(Running(torch, tmp_path)) as theirs:
        comparison.check_same_work(mine.describe(), theirs.ask("describe"))
        assert theirs.turn(2) > 0


def test_a_changed_weight_is_noticed(tmp_path):
    comparison = tiny.case("transformer")
    mine = begun(comparison, tmp_path).describe()
    weights: Any = dict(np.load(tmp_path / "weights.npz"))
    weights["decoder/layers/0/cross_attention/kv/kernel"] *= 2
    np.savez(tmp_path / "weights.npz", **weights)
    theirs = program(flax_programs, comparison.contenders[0].beside("flax"), tmp_path).describe()
    with pytest.raises(RuntimeError, match="has a loss of"):
        comparison.check_same_work(mine, theirs)


def test_what_is_handed_over(tmp_path):
    begun(tiny.case("transformer"), tmp_path)
    given = read(tmp_path)
    assert given.config.model.hidden_size == 16 and given.vocab == 16
    assert given.batch["source"].shape == (2, 4) and given.batch["target_weights"].all()
    whole = dict(np.load(tmp_path / "weights.npz"))
    columns = [given.weights[f"encoder/layers/0/attention/{part}/kernel"] for part in ("query", "key", "value")]
    np.testing.assert_array_equal(np.concatenate(columns, axis=1), whole["encoder/layers/0/attention/qkv/kernel"])


@pytest.mark.parametrize("name", ["gru_tiny", "lstm_tiny"])
def test_the_work_of_a_stack_agrees_with_the_compiler(name, tmp_path):
    """At length 1, since the compiler counts the body of a loop once; wide, so that matmuls are nearly all."""
    wide = tiny.case(name).contenders[0].but("ours", model__hidden_size=256, data__max_length=1, batch_size=64)
    said = program(parts, wide, tmp_path).describe()
    config = read(tmp_path).config.model
    config.get = vars(config).get
    model = parts.Stack(config)
    skeleton, weights = params.Skeleton(model), params.flatten(model)
    inputs = np.zeros((64, 1, 256), np.float32)
    counted = jax.jit(lambda weights: skeleton(weights)(inputs)).lower(weights).compile().cost_analysis()["flops"]
    assert said["flops"] / 3 == pytest.approx(counted, rel=0.05)


@pytest.mark.parametrize("name", ["core_4_4_512_15", "core_window"])
def test_attention_alone_follows_its_equation(name, tmp_path):
    comparison = tiny.case(name)
    mine = program(parts, comparison.contenders[-1 if name == "core_window" else 0], tmp_path)
    query, key, value, target = np.load(tmp_path / "batch.npz").values()
    weights = np.exp(query @ key.swapaxes(2, 3) / np.sqrt(query.shape[3])) * np.tri(query.shape[2])
    context = weights / weights.sum(-1, keepdims=True) @ value
    assert mine.describe()["loss"] == pytest.approx(np.square(context - target).mean(), rel=1e-5)
    assert mine.describe()["flops"] == 7 * 2 * query.size * (query.shape[2] + 1) / 2
    assert mine.take(2) == {}


@needs_peers
def test_torch_s_attention_alone_is_ours(tmp_path):
    comparison = tiny.case("core_4_4_512_15")
    mine, torch = begun(comparison, tmp_path), comparison.contenders[-1]
    with closing(Running(torch, tmp_path)) as theirs:
        comparison.check_same_work(mine.describe(), theirs.ask("describe"))
        assert theirs.turn(2) > 0


def test_a_product_says_its_work(tmp_path):
    said = program(parts, tiny.case("matmul_float32").contenders[0], tmp_path)
    assert said.describe()["flops"] == 2 * 16**3 and said.take(3) == {}


def test_a_start_is_cold_or_warm(tmp_path):
    comparison = tiny.case("start")
    start = dataclasses.replace(comparison.contenders[1], config="configs/recall.py:gru")
    with closing(Running(start, tmp_path)) as warm:
        assert warm.ask("describe") == {"num_params": 0, "loss": 0.0}
        assert 0.5 < warm.turn(1) < 120
        assert warm.ask("quit")["peak_memory_bytes"] > 10**7
    runs = list(tmp_path.glob("*/summary.json"))
    assert len(runs) == 1 and json.loads(runs[0].read_text())["start_to_first_step_seconds"] > 0.5
