"""`python -m benchmarks`: what is chosen, what is refused, how it goes on, and the table."""

import json

import pytest

from benchmarks import __main__ as command
from benchmarks import contender, suites
from benchmarks.compare import Comparison
from tests.benchmarks import tiny

ROW = {
    "program": "ours",
    "num_params": 10,
    "loss": 1.0,
    "rounds": 9,
    "median_seconds": 0.1,
    "p10_seconds": 0.09,
    "p90_seconds": 0.11,
    "ratio": 1.0,
    "ratio_low": 1.0,
    "ratio_high": 1.0,
    "per_second": 1400.0,
    "flops_per_second": 1e9,
    "dtype": "float32",
    "peak_memory_bytes": 2**21,
    "besides": {},
}


def found(*programs: dict, **failed: str) -> dict:
    return {"unit": "tokens", "programs": [ROW | one for one in programs], "failed": failed}


@pytest.fixture
def results(monkeypatch):
    """What each case is said to have measured, by name."""
    known = {"matmul_float32": found({"flops_per_second": 4e9})}
    monkeypatch.setattr(Comparison, "measure", lambda self: known[self.name])
    monkeypatch.setattr(suites, "agreement", lambda: Comparison("agreement", "?", [], on_gpu=True))
    monkeypatch.delenv("COLUMNS", raising=False)  # as in a pipe
    return known


def test_one_table_of_all_that_was_measured(results, capsys):
    slower = {"program": "torch default", "ratio": 2.5, "ratio_low": 2.4, "ratio_high": 2.6, "besides": {"BLEU": 40.15}}
    results["gru_128"] = found({}, slower, flax="it died")
    assert command.main(["gru_128"]) == 1
    printed = capsys.readouterr().out
    for expected in ("100 ms (90 to 110)", "2.50 (2.40 to 2.60)", "1,400 tokens", "25%", "2 MiB", "BLEU 40.15"):
        assert expected in printed
    assert "FAILED: it died" in printed and "MFU" not in printed and "…" not in printed


def test_what_was_measured_is_not_measured_again(results, capsys, tmp_path, monkeypatch):
    results["gru_128"] = found({})
    words = ["gru_128", f"--json={tmp_path / 'speed.json'}"]
    assert command.main(words) == 0
    written = json.loads((tmp_path / "speed.json").read_text())
    assert list(written["cases"]) == ["matmul_float32", "gru_128"] and written["device"]["platform"] == "cpu"
    assert written["cases"]["gru_128"]["programs"][0]["matmul_share"] == pytest.approx(0.25)
    results.clear()
    assert command.main(words) == 0 and "gru_128" in capsys.readouterr().out
    monkeypatch.setattr(command.provenance, "commit", lambda: "another")
    with pytest.raises(ValueError, match="holds results of another commit; give another"):
        command.main(words)


@pytest.mark.parametrize("content", ["", "[", "[]", "\x00", '{"cases": []}', '{"cases": {"gru_128": {}}}'])
def test_a_file_that_holds_no_results_is_one_line(results, tmp_path, content):
    path = tmp_path / "speed.json"
    results["gru_128"] = found({})
    assert command.main(["gru_128", f"--json={path}"]) == 0
    whole = json.loads(path.read_text())
    path.write_text(json.dumps(whole | json.loads(content)) if content.startswith("{") else content)
    with pytest.raises(ValueError, match=r"speed\.json .*remove it, or give another") as error:
        command.main(["gru_128", f"--json={path}"])
    assert "\n" not in str(error.value)


def test_it_stops_for_want_of_time_and_where_a_device_disagrees(results, capsys, tmp_path):
    results["agreement"] = found({})
    words = ["agreement", "transformer_big_128", "--tiny", f"--json={tmp_path / 'gpu.json'}"]
    assert command.main([*words, "--minutes=0.5"]) == 3
    assert "stopped before transformer_big_128 for want of time" in capsys.readouterr().err
    results["transformer_big_128"] = found({})
    assert command.main(words) == 0
    results["agreement"] = found(lstm="it disagrees")
    assert command.main(words[:-1]) == 1
    assert "not every architecture agrees" in capsys.readouterr().err


def test_the_plan_names_every_program_and_each_case_fits_into_the_minutes_of_the_how_to(capsys):
    assert command.main(["gpu", "text", "start", "pipeline", "mixers", "core", "memory", "--peers", "--dry-run"]) == 0
    printed = capsys.readouterr().out
    known = suites.known(**tiny.CHOICE)
    for suite in ("gpu", "text", "start", "pipeline", "mixers", "core", "memory"):
        for one in known[suite]:
            assert f"{one.name}: " in printed and (one.minutes < 9 or one.name == "to_loss")  # which no GPU runs
            assert all(f"  {ours.name}: " in printed for ours in one.contenders)
    for expected in ("data.max_length=512", "GLIBC_TUNABLES=glibc.malloc.hugetlb=1", "in all about"):
        assert expected in printed


def test_in_little_cudnn_is_left_out_and_sizes_are_small():
    names = [ours.name for ours in tiny.case("lstm_128_256_float32").contenders]
    assert names == ["ours", "torch, cuDNN"]
    values = tiny.case("transformer_big_512").contenders[0].values
    assert values["model.hidden_size"] == 16 and values["batch_size"] == 2 and values["model.dtype"] == "bfloat16"
    assert tiny.case("gru_128", tiny=False, seconds=2.5).seconds == 2.5


def test_text_is_measured_where_there_is_some(tmp_path):
    joint = tiny.case("multi30k", tiny=False, data=tmp_path)
    named = ["ours", "joeynmt default", "joeynmt tuned", "ours, 2 devices"]
    assert [ours.name for ours in joint.contenders if "tcmalloc" not in ours.name] == named


def test_mistakes_end_in_one_line(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(contender, "PEERS_PYTHON", str(tmp_path / "python"))
    for words, expected in (
        (["gru_129"], "CASE = gru_129 is not a case; choose from"),
        (["gru_128", "--peers"], "--peers needs .venv-peers; run `make peers` once"),
        (["multi30k"], "CASE = multi30k needs --data; None is not a folder"),
        (["beam5", f"--data={tmp_path}"], "CASE = beam5 needs --run"),
        (["gru_tiny", "--run=/nowhere"], "--run = /nowhere does nothing for gru_tiny; leave it out"),
        (["text", f"--data={tmp_path}/none"], "none is not a folder"),
        (["gru_128", "--seconds=-1"], "--seconds = -1.0 is not a length of time; use a number above 0"),
        (["gru_128", "--seconds=inf"], "--seconds = inf is not a length of time"),
        (["gru_128", "--minutes=nan"], "--minutes = nan is not a length of time; use a number above 0"),
        (["gpu"], "there is no GPU, JAX computes on cpu; use --dry-run or --tiny"),
    ):
        with pytest.raises(SystemExit) as ended:
            command.main(words)
        said = capsys.readouterr().err
        assert ended.value.code == 2 and expected in said and said.count("\n") == 1
