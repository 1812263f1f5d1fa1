"""A folder that cannot be written to is said to be so before anything is run."""

import pytest

from experiments import figure, report, run
from training.command import cli


def test_a_folder_that_can_be_made(tmp_path, monkeypatch):
    cli.check_folder("--runs", tmp_path / "a" / "b")
    monkeypatch.chdir(tmp_path)
    cli.check_folder("--runs", cli.Path("runs"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", ["--runs", "--results"])
def test_below_a_file(option, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(SystemExit) as stopped:
        run.main(["long_range", "--scale=smoke", f"{option}={tmp_path}/file/x"])
    said = capsys.readouterr().err
    assert stopped.value.code == 2 and said.count("\n") == 1
    assert f"{option} = {tmp_path}/file/x cannot be written to (Not a directory); give another folder" in said
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_of_the_programs_that_draw(tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    for main, argv, said in (
        (report.main, [f"--out={tmp_path}/file/page.html"], "--out = "),
        (figure.main, ["parity", f"--results={tmp_path}/file/x"], "cannot be written to"),
        (
            figure.main,
            ["parity", "--scale=smoke", f"--results={tmp_path}/nowhere"],
            "parity/smoke/table.parquet is not there",
        ),
    ):
        with pytest.raises(SystemExit) as stopped:
            main(argv)
        error = capsys.readouterr().err
        assert stopped.value.code == 2 and said in error and error.count("\n") == 1


def test_of_a_run(tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(SystemExit) as stopped:
        cli.parse(["--config=configs/recall.py:gru", f"--workdir={tmp_path}/file/x"])
    said = capsys.readouterr().err
    assert stopped.value.code == 2 and "--workdir = " in said and said.count("\n") == 1
