"""The measurements for a GPU: the plan, every part in little on this machine, and what is refused."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from benchmarks import agreement, gpu, gpu_parts, ours, turns
from benchmarks.cases import Case, batch, flops
from benchmarks.chips import PEAKS, vendor_peak
from benchmarks.gpu_parts import PARTS, Entry, Part


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """The results of --tiny, from processes of its own."""
    path = tmp_path_factory.mktemp("gpu") / "tiny.json"
    patch = pytest.MonkeyPatch()
    patch.setattr(turns, "has_peers", lambda: False)  # test_bench.py has torch's programs
    assert gpu.main(["--tiny", f"--json={path}"]) == 0
    yield path
    patch.undo()


def test_every_part_in_little(measured):
    found = json.loads(measured.read_text())
    assert found["tiny"] and found["device"]["platform"] == "cpu" and not found["torch"]
    parts = found["parts"]
    assert list(parts) == [
        "agreement",
        "matmul",
        "transformer_big_128",
        "lstm_128_256_float32",
        "surface_32",
    ]
    assert parts["agreement"]["agrees"]
    assert set(parts["agreement"]["comparisons"]) == {
        f"{name}/{dtype}" for name in ("lstm", "transformer") for dtype in ("float32", "bfloat16")
    }
    rate = parts["matmul"]["bfloat16_flops_per_second"]
    for name in ("transformer_big_128", "lstm_128_256_float32", "surface_32"):
        assert parts[name]["failed"] == {} and parts[name]["programs"]
        for program in parts[name]["programs"]:
            assert program["rounds"] == 10 - gpu.WARM_UP and program["peak_memory_bytes"] > 10**7
            assert program["flops_per_second"] == pytest.approx(program["flops"] / program["median_seconds"])
            if program["dtype"] == "bfloat16":
                assert program["mfu"] is None  # no vendor's peak is known of this machine
                assert program["matmul_share"] == pytest.approx(program["flops_per_second"] / rate)
            else:
                assert "matmul_share" not in program
    big = parts["transformer_big_128"]["programs"]
    assert [program["program"] for program in big] == ["ours", "ours, attention not fused"]
    assert big[0]["loss"] == big[1]["loss"] and big[0]["ratio"] == 1.0


def test_what_was_measured_is_not_measured_again(measured, monkeypatch, capsys):
    before = measured.read_text()
    monkeypatch.setattr(gpu, "units", lambda *_: [(name, 0.0, pytest.fail) for name in json.loads(before)["parts"]])
    assert gpu.main(["--tiny", f"--json={measured}"]) == 0
    assert measured.read_text() == before and "transformer/bfloat16: agrees" in capsys.readouterr().out
    other = json.loads(before) | {"commit": "another"}
    measured.write_text(json.dumps(other))
    assert gpu.main(["--tiny", f"--json={measured}"]) == 2
    assert "holds results of another commit; give another" in capsys.readouterr().err
    measured.write_text(before)


def test_it_stops_for_want_of_time_and_where_a_device_disagrees(tmp_path, monkeypatch, capsys):
    units = [("agreement", 1.0, lambda: {"comparisons": {}, "agrees": True}), ("long", 1e4, pytest.fail)]
    monkeypatch.setattr(gpu, "units", lambda *_: units)
    words = ["--tiny", "--minutes=1", f"--json={tmp_path / 'gpu.json'}"]
    assert gpu.main(words) == 3
    assert "stopped before long for want of time" in capsys.readouterr().err
    units[0] = ("agreement", 1.0, lambda: {"comparisons": {}, "agrees": False})
    assert gpu.main([*words[:2], f"--json={tmp_path / 'other.json'}"]) == 1
    assert "not every architecture agrees" in capsys.readouterr().err


def test_without_a_gpu_it_says_so(capsys):
    assert gpu.main(["--json=unused.json"]) == 2
    error = capsys.readouterr().err
    assert error == "error: there is no GPU, JAX computes on cpu; use --dry-run or --tiny\n"


def test_the_plan_names_every_program_and_no_part_takes_ten_minutes(capsys):
    assert gpu.main(["--dry-run"]) == 0
    printed = capsys.readouterr().out
    for part in PARTS:
        assert f"{part.name}: " in printed and part.estimated_seconds < 600
        assert all(entry.label in printed for entry in part.entries)
    assert gpu.AGREEMENT_SECONDS < 600
    big = next(part for part in PARTS if part.name == "transformer_big_128")
    assert f"{big.flops / 1e12:.3f} TFLOP a step" in printed
    assert {case.length for part in PARTS if not part.same_work for case in [part.entries[0].case]} >= {32, 4096}


def test_language_models_on_the_surface_are_equally_large():
    part = next(part for part in PARTS if part.name == "surface_128")
    sizes = set()
    for entry in part.entries:
        case = dataclasses.replace(entry.case, backend="")
        model = jax.eval_shape(lambda case=case: ours.build_model(case, ours.config_of(case))[0])
        sizes.add(sum(p.size for name, p in model.items() if "table" not in name and "head" not in name))
    assert max(sizes) / min(sizes) < 1.02


@pytest.mark.parametrize("model", ["transformer_decoder", "lstm_decoder"])
def test_flops_of_language_models_agree_with_the_compiler(model):
    """At length 1, since the compiler counts the body of a loop once; wide, so that matmuls are nearly all."""
    case = Case("one", model, 64, 1, 256, 2, mlp=512, heads=2, vocab=300, devices=1)
    weights, loss, _, arrays = ours.build_model(case, ours.config_of(case))
    assert arrays["source"].shape == (64, 0) == batch(case)["source"].shape
    counted = jax.jit(loss).lower(weights, arrays).compile().cost_analysis()["flops"]
    assert flops(case) / 3 == pytest.approx(counted, rel=0.05)


def test_other_work_than_the_firsts_is_refused():
    part = PARTS[0]
    said = {"num_params": 10.0, "loss": 8.0}
    gpu.check_same_work(part, part.entries[1], said, said | {"loss": 8.1})  # bfloat16
    with pytest.raises(RuntimeError, match="has 11.0 parameters, the first 10.0"):
        gpu.check_same_work(part, part.entries[1], said, said | {"num_params": 11.0})
    with pytest.raises(RuntimeError, match="has a loss of 8.5"):
        gpu.check_same_work(part, part.entries[1], said, said | {"loss": 8.5})


def test_a_program_that_fails_is_noted_and_the_others_go_on():
    case = dataclasses.replace(gpu_parts.tiny(PARTS)[1].entries[0].case)
    broken = dataclasses.replace(case, backend="cudnn")  # needs a GPU
    part = Part("some", "?", (Entry("ours", gpu_parts.OURS, case), Entry("broken", gpu_parts.OURS, broken)), 0.0)
    result = gpu.measure(part)
    assert [program["program"] for program in result["programs"]] == ["ours"]
    assert "model.backend = 'cudnn' cannot run: it needs an NVIDIA GPU" in result["failed"]["broken"]


def test_shares_are_of_the_vendors_peak_and_of_the_measured_rate():
    result = {"programs": [{"dtype": "bfloat16", "flops_per_second": 4e14}, {"dtype": "float32"}]}
    gpu.add_shares(result, vendor_peak("NVIDIA H200"), 8e14)
    assert result["programs"][0]["matmul_share"] == pytest.approx(0.5)
    assert result["programs"][0]["mfu"] == pytest.approx(4e14 / 989.5e12)
    assert result["programs"][1] == {"dtype": "float32"}


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
    one = {"loss": np.float32(4.0), "gradient": random.normal(size=1000).astype(np.float32)}
    assert agreement.compare(one, one, "float32")["agrees"]
    noisy = one["gradient"] + 0.02 * random.normal(size=1000)
    assert agreement.compare(one | {"gradient": noisy}, one, "bfloat16")["agrees"]
    assert not agreement.compare(one | {"gradient": noisy}, one, "float32")["agrees"]
    assert not agreement.compare(one | {"gradient": 1.5 * one["gradient"]}, one, "bfloat16")["agrees"]
    assert not agreement.compare(one | {"loss": np.float32(4.2)}, one, "bfloat16")["agrees"]
