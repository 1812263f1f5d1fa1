"""`python -m benchmarks.memory_figure`: which programs no other beats, what is drawn, what is refused."""

import json

import pytest

from benchmarks import memory_figure
from training.command import cli


def measured(program: str, mib: float, ms: float) -> dict:
    seconds = {f"{name}_seconds": factor * ms / 1e3 for name, factor in (("p10", 0.9), ("median", 1), ("p90", 1.1))}
    return {"program": program, "peak_memory_bytes": mib * 2**20} | seconds


CASES = {
    "memory_gru": {"programs": [measured("ours", 500, 20), measured("slower", 600, 30), measured("larger", 700, 10)]},
    "memory_rnn": {"programs": [measured("ours", 50, 2), {"program": "counts alone"}]},
}


@pytest.fixture
def path(tmp_path):
    (tmp_path / "memory.json").write_text(json.dumps({"cases": CASES}))
    return tmp_path / "memory.json"


def test_a_program_is_on_the_line_unless_another_beats_it_in_both(path):
    frame = memory_figure.points(path, {"cases": CASES}).set_index(["case", "program"])
    assert frame["best"].to_dict() == {
        ("gru", "ours"): True,
        ("gru", "slower"): False,
        ("gru", "larger"): True,
        ("rnn", "ours"): True,
    }
    assert frame.loc[("gru", "slower"), ["MiB", "ms", "low", "high"]].tolist() == pytest.approx([600, 30, 27, 33])


def test_a_panel_a_case_and_every_program_in_the_legend(path, tmp_path):
    assert memory_figure.main([str(path), str(tmp_path / "memory.svg")]) == 0
    drawn = (tmp_path / "memory.svg").read_text()
    for text in ("gru", "rnn", "ours", "slower", "larger", "peak memory, MiB", "ms per step"):
        assert f">{text}<" in drawn


@pytest.mark.parametrize("text", ['{"cases": {}}', "[1]", "no JSON", None])
def test_a_file_without_times_ends_in_one_line(text, tmp_path, capsys):
    path = tmp_path / "memory.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SystemExit) as ended, cli.user_errors():
        memory_figure.main([str(path), str(tmp_path / "memory.svg")])
    said = capsys.readouterr().err
    assert ended.value.code == 2 and str(path) in said and said.count("\n") == 1
    assert not (tmp_path / "memory.svg").exists()
