"""The benchmark: every program does the same work, times are taken in turn, mistakes are said."""

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest

from benchmarks import bench, ours, turns
from benchmarks.cases import CASES, Case, batch, flops
from benchmarks.peers import flax_programs
from benchmarks.same_work import check_same_work
from benchmarks.turns import Contender, Measured, Running, ratio_interval

SMALL: dict[str, Any] = {"batch": 4, "length": 5, "hidden": 8}
TINY = {case.model: dataclasses.replace(case, **SMALL, devices=1) for case in CASES.values()}
TINY["transformer"] = dataclasses.replace(TINY["transformer"], vocab=11, mlp=16, heads=2, layers=2)
TINY["gru_attention"] = dataclasses.replace(TINY["gru_attention"], vocab=11)
needs_peers = pytest.mark.skipif(not turns.has_peers(), reason="needs torch beside us: run `make peers`")


@pytest.fixture(params=sorted(TINY))
def case(request) -> Case:
    return TINY[request.param]


def test_flax_does_the_same_work(case, tmp_path):
    mine = ours.build(case, tmp_path / "weights.npz")
    with np.load(tmp_path / "weights.npz") as weights:
        theirs = flax_programs.build(case, dict(weights), sharded=True)
    check_same_work(case.name, "flax", said(mine), said(theirs), bench.missing_params(case, Contender("flax")))
    before = theirs.loss()
    for program in (mine, theirs):
        program.step()
        program.wait()
    assert theirs.loss() == before  # the loss of the weights that were given


def said(program):
    return {"num_params": program.num_params, "loss": program.loss()}


@needs_peers
def test_torch_does_the_same_work(case, tmp_path):
    weights = tmp_path / "weights.npz"
    mine = said(ours.build(case, weights))
    with Running(Contender("torch", "tuned"), case, weights) as torch:
        check_same_work(case.name, "torch", mine, torch.ask("describe"))
        assert torch.ask("step 2")["seconds"] > 0


def test_other_work_is_refused():
    names, mine = ("rnn_tiny", "torch default"), {"num_params": 100.0, "loss": 2.0}
    check_same_work(*names, mine, {"num_params": 100.0, "loss": 2.00001})
    check_same_work(*names, mine, {"num_params": 98.0, "loss": 2.0}, missing=2)
    with pytest.raises(RuntimeError, match="rnn_tiny: torch default has 101 parameters, ours 100"):
        check_same_work(*names, mine, {"num_params": 101, "loss": 2.0})
    with pytest.raises(RuntimeError, match="has a loss of 2.1"):
        check_same_work(*names, mine, {"num_params": 100, "loss": 2.1})


def test_a_program_in_a_process_of_its_own(tmp_path):
    measured, freed = bench.measure(TINY["gru"], [bench.OURS, bench.FREED], seconds=0)
    assert (measured.name, freed.name) == ("ours", "ours, pages freed") and len(measured.seconds) == 10
    assert all(seconds > 0 for seconds in measured.seconds) and measured.peak_memory_bytes > 10**7
    broken = dataclasses.replace(TINY["gru"], model="grue")
    with pytest.raises(RuntimeError, match="ours: .*grue"), Running(bench.OURS, broken, tmp_path / "w") as running:
        running.ask("describe")


@pytest.mark.parametrize("model", ["rnn", "gru", "lstm", "gru_attention", "transformer"])
def test_flops_agree_with_the_compiler(model):
    """At length 1, since the compiler counts the body of a loop once; wide, so that matmuls are nearly all."""
    case = dataclasses.replace(TINY[model], batch=64, length=1, hidden=256, dropout=0.0)
    case = dataclasses.replace(case, vocab=300 if case.vocab else 0, mlp=512, heads=2)
    config = ours.config_of(case)
    weights, loss, _, arrays = (ours.build_stack if case.is_stack else ours.build_model)(case, config)
    counted = jax.jit(loss).lower(weights, arrays).compile().cost_analysis()["flops"]
    assert flops(case) / 3 == pytest.approx(counted, rel=0.05)


def test_batches_are_the_same_for_everyone(case):
    one, other = batch(case), batch(case)
    assert all((one[name] == other[name]).all() for name in one)
    assert all(array.shape[:2] == (case.batch, case.length) for array in one.values())


def test_ratio_of_medians_and_its_interval():
    rng = np.random.default_rng(0)
    slow_spells = 1 + rng.exponential(1.0, 200)  # of the machine, which both sit through
    mine, theirs = 1.0 * slow_spells, 2.0 * slow_spells * rng.normal(1, 0.02, 200)
    ratio, low, high = ratio_interval(mine, theirs)
    assert low < 2.0 < high and ratio == pytest.approx(2.0, rel=0.03) and high - low < 0.1
    same, low, high = ratio_interval(mine, mine)
    assert same == low == high == 1.0


def test_table_and_json_hold_every_program(capsys, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)  # as in a pipe
    measured = [Measured("ours", 10, 1.0, 2**20, [0.1] * 9), Measured("torch default", 10, 1.0, 2**21, [0.25] * 9)]
    found = bench.as_json(TINY["rnn"], measured, peak=1e9)
    assert found["programs"][1]["ratio"] == pytest.approx(2.5)
    bench.print_tables([found])
    printed = capsys.readouterr().out
    assert "torch default" in printed and "2.50 (2.50 to 2.50)" in printed and "2 MiB" in printed
    assert "…" not in printed


def test_mistakes_end_in_one_line(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(turns, "PEERS", tmp_path)
    monkeypatch.delenv(turns.PYTHON, raising=False)
    for words, expected in ((["gru_129"], "CASE = gru_129 is not a case"), (["--peers"], "run `make peers` once")):
        with pytest.raises(SystemExit) as ended:
            bench.main(words)
        assert ended.value.code == 2 and expected in capsys.readouterr().err
