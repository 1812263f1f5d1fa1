"""Comparisons: equal work is checked, times are taken in turn, what fails is noted, and a GPU's results are judged."""

import dataclasses

import numpy as np
import pytest

from benchmarks import agreement, compare
from benchmarks.chips import PEAKS, vendor_peak
from benchmarks.contender import Running
from benchmarks.turns import ratio_interval
from tests.benchmarks import tiny


def test_other_work_is_refused():
    strict, loose = tiny.case("rnn_tiny"), tiny.case("transformer_big_128")
    said = {"num_params": 100, "loss": 2.0}
    strict.check_same_work(said, said | {"loss": 2.00001})
    loose.check_same_work(said, said | {"loss": 2.01})  # bfloat16
    with pytest.raises(RuntimeError, match="it has 101 parameters, the first 100"):
        strict.check_same_work(said, said | {"num_params": 101})
    with pytest.raises(RuntimeError, match="it has a loss of 2.010000, the first 2.000000"):
        strict.check_same_work(said, said | {"loss": 2.01})


def test_programs_live_together_and_one_that_fails_is_noted():
    one = tiny.case("gru_tiny", peers=False)
    broken = one.contenders[0].but("broken", model__backend="cudnn")  # needs a GPU, and an LSTM
    broken = dataclasses.replace(broken, config="configs/reverse.py:lstm")
    elsewhere = one.contenders[0].within("elsewhere", JAX_PLATFORMS="abacus")
    found = dataclasses.replace(one, contenders=[one.contenders[0], broken, elsewhere]).measure()
    (ours,) = found["programs"]
    assert ours["program"] == "ours" and ours["rounds"] == 10 and ours["ratio"] == 1.0
    assert ours["p10_seconds"] <= ours["median_seconds"] <= ours["p90_seconds"]
    tokens = 2 * 4
    assert ours["per_second"] == pytest.approx(tokens / ours["median_seconds"])
    assert ours["peak_memory_bytes"] > 10**7 and ours["flops_per_second"] > 0
    assert "model.backend = 'cudnn' cannot run: it needs an NVIDIA GPU" in found["failed"]["broken"]
    assert "JAX_PLATFORMS = 'abacus' is not to be had" in found["failed"]["elsewhere"]


def test_rates_count_what_programs_took_in(tmp_path):
    one = dataclasses.replace(tiny.case("gru_tiny"), steps=2)
    first, second = (object.__new__(Running) for _ in range(2))
    for program, seconds, tokens in ((first, 1.0, 100), (second, 2.0, 50)):
        turn = {"seconds": seconds, "tokens": tokens, "steps": 2}
        program.answers = [{"seconds": 9.0, "tokens": 1, "steps": 2}, *[turn] * 9]
        program.said = {"num_params": 1, "loss": 1.0}
        program.contender = one.contenders[0]
        program.ask = lambda command: {"peak_memory_bytes": 2.0**20}
    row = one.row(second, first, [1.0] * 9)
    assert row["ratio"] == row["ratio_low"] == row["ratio_high"] == pytest.approx(4.0)  # not 2: fewer tokens a step
    assert row["per_second"] == pytest.approx(25.0) and row["median_seconds"] == 1.0
    assert row["besides"] == {"first turn, s": 9.0, "tokens a step": pytest.approx(25.0)}


def test_ratio_of_medians_and_its_interval():
    rng = np.random.default_rng(0)
    slow_spells = 1 + rng.exponential(1.0, 200)  # of the machine, which both sit through
    mine, theirs = 1.0 * slow_spells, 2.0 * slow_spells * rng.normal(1, 0.02, 200)
    ratio, low, high = ratio_interval(mine, theirs)
    assert low < 2.0 < high and ratio == pytest.approx(2.0, rel=0.03) and high - low < 0.1
    assert ratio_interval(mine, mine) == (1.0, 1.0, 1.0)


def test_shares_are_of_the_vendors_peak_and_of_the_measured_rate():
    rows = [{"dtype": "bfloat16", "flops_per_second": 4e14}, {"dtype": "float32", "flops_per_second": 1e13}]
    cases = {"matmul_bfloat16": {"programs": [{"flops_per_second": 8e14}]}, "one": {"programs": rows}}
    compare.add_shares(cases, "one", "NVIDIA H200")
    assert rows[0]["matmul_share"] == pytest.approx(0.5) and rows[0]["mfu"] == pytest.approx(4e14 / 989.5e12)
    assert rows[1] == {"dtype": "float32", "flops_per_second": 1e13}
    del rows[0]["mfu"]
    compare.add_shares(cases, "one", "cpu")
    assert "mfu" not in rows[0]


def test_vendors_peaks_are_found_by_the_names_that_devices_give():
    expected = {
        "NVIDIA H200": 989.5e12,
        "NVIDIA H100 80GB HBM3": 989.5e12,
        "NVIDIA H100 PCIe": 756.5e12,
        "NVIDIA H100 NVL": 835.5e12,
        "NVIDIA A100-SXM4-80GB": 312e12,
        "NVIDIA L4": 121e12,
        "NVIDIA L40S": 362e12,
        "NVIDIA GeForce GTX 1080": None,
        "cpu": None,
    }
    assert {kind: vendor_peak(kind) for kind in expected} == expected
    assert all("https://" in source for _, _, source in PEAKS)


def test_results_that_lie_apart_disagree():
    random = np.random.default_rng(0)
    loss, gradient = 4.0, random.normal(size=1000).astype(np.float32)
    noisy = gradient + 0.02 * random.normal(size=1000)
    assert agreement.compare((loss, gradient), (loss, gradient), "float32")["loss error"] == 0
    assert agreement.compare((loss, noisy), (loss, gradient), "bfloat16")["gradient cosine"] > 0.99
    for found, dtype in (
        ((loss, noisy), "float32"),
        ((loss, 1.5 * gradient), "bfloat16"),
        ((4.2, gradient), "bfloat16"),
    ):
        with pytest.raises(RuntimeError, match="it disagrees with the CPU: loss error"):
            agreement.compare(found, (loss, gradient), dtype)


@pytest.mark.processes
def test_agreement_of_one_architecture_and_of_one_that_cannot_run():
    one = agreement.agreement()
    assert [ours.name for ours in one.contenders][-1] == "lstm, cuDNN" and len(one.contenders) > 10
    chosen = [ours for ours in one.contenders if ours.name in ("gru_decoder", "lstm, cuDNN")]
    found = dataclasses.replace(one, contenders=chosen).measure()
    assert [row["program"] for row in found["programs"]] == ["gru_decoder float32", "gru_decoder bfloat16"]
    exact, rounded = (row["besides"] for row in found["programs"])
    assert exact["loss error"] == 0 < rounded["loss error"] and rounded["gradient cosine"] > 0.99
    assert "it needs an NVIDIA GPU" in found["failed"]["lstm, cuDNN float32"]
