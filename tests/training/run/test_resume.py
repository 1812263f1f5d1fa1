"""No command destroys what another has finished: what does not fit is refused, and every file stays as it is."""

import dataclasses
import json
import re
import shutil

import jax.numpy as jnp
import pytest

import train
from tests.training.runs import compiled_in_haste, config
from training.run.checkpoint import Checkpoints, MisfitError
from training.step import params


@pytest.fixture(scope="module", autouse=True)
def in_haste():
    with compiled_in_haste():
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Eight steps, evaluated and saved after four and eight. Tests copy it."""
    workdir = tmp_path_factory.mktemp("runs") / "finished"
    train.train(config("recall", "gru"), workdir)
    return workdir


@pytest.fixture
def workdir(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


def contents(workdir):
    return {p.relative_to(workdir): p.read_bytes() for p in workdir.rglob("*") if p.is_file()}


def damage(workdir):
    for folder in (workdir / "checkpoints").iterdir():
        (folder / "meta" / "metadata").write_text("{")


def refused(workdir, said, error=ValueError, **values):
    before = contents(workdir)
    with pytest.raises(error, match=said):
        train.train(config("recall", "gru", **values), workdir, accept_changes=True)
    assert contents(workdir) == before


def test_other_shapes_leave_a_finished_run_as_it_is(workdir):
    refused(workdir, r"checkpoints/8 does not fit: .* is float32\[", MisfitError, data__num_values=16)
    refused(workdir, r"checkpoints/8 does not fit", MisfitError, data__num_values=16, steps=16)


def test_other_code_leaves_a_finished_run_as_it_is(workdir, monkeypatch):
    flatten = params.flatten
    monkeypatch.setattr("training.step.params.flatten", lambda model: {**flatten(model), "extra": jnp.zeros(3)})
    refused(workdir, r"checkpoints/8 does not fit: .*extra is missing there and float32\[3\] here", MisfitError)


def test_a_run_stopped_before_its_first_save_keeps_a_best_that_does_not_fit(workdir):
    shutil.rmtree(workdir / "checkpoints")
    (workdir / "summary.json").unlink()
    refused(workdir, r"best/\d does not fit", MisfitError, data__num_values=16)


def test_fewer_steps_than_done_are_refused(workdir):
    refused(workdir, f"steps = 5 is not more than the 8 that {re.escape(str(workdir))} has done", steps=5)


def test_steps_done_without_an_evaluation_are_refused(tmp_path, monkeypatch):
    asked = iter([False] * 3 + [True] * 9)
    monkeypatch.setattr("training.machine.signals.StopRequest.agreed", lambda self, at: next(asked))
    assert train.train(config("recall", "gru"), tmp_path / "run") == {}
    for steps in (2, 3):
        refused(tmp_path / "run", f"steps = {steps} is not more than the 3 that", steps=steps)


def test_a_finished_run_whose_checkpoints_are_all_damaged_keeps_its_results(workdir):
    damage(workdir)
    before = {name: (workdir / name).read_bytes() for name in ("summary.json", "metrics.jsonl", "config.json")}
    with pytest.warns(UserWarning, match="set aside"):
        assert train.train(config("recall", "gru"), workdir)["final"]["step"] == 8
    with pytest.raises(ValueError, match=r"no checkpoint to go on from, and .*summary.json is of a finished run"):
        train.train(config("recall", "gru", steps=16), workdir, accept_changes=True)
    assert before == {name: (workdir / name).read_bytes() for name in before}


def test_an_unfinished_run_whose_checkpoints_are_all_damaged_starts_again(workdir):
    damage(workdir)
    summary = (workdir / "summary.json").read_bytes()
    (workdir / "summary.json").unlink()
    with pytest.warns(UserWarning) as caught:
        again = train.train(config("recall", "gru"), workdir)
    assert "starting again from step 0" in str(caught[-1].message)
    assert again["params_sha256"] in summary.decode()


@pytest.mark.parametrize("content", ["", '{"final": {', "[]", "null", "{}", '{"final": [3], "best": {}}', "[" * 99_999])
def test_a_damaged_summary_is_written_anew(workdir, content):
    before = (workdir / "summary.json").read_text()
    (workdir / "summary.json").write_text(content)
    with pytest.warns(UserWarning, match=r"summary.json .*; it is written anew"):
        again = train.train(config("recall", "gru"), workdir)
    assert again["params_sha256"] in before and again["best"]["step"] in (4, 8)
    assert (workdir / "summary.json").read_text().startswith('{\n "best"')


def test_lost_rows_are_said_and_the_others_kept(workdir):
    """Of a row of training and of the last one, of validation, which is torn."""
    path = workdir / "metrics.jsonl"
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([b"\xff" * 9, *lines[1:-2], lines[-2][:-20]]))
    gone = "1 of its 4 rows of training and 1 of its 2 rows of validation are lost"
    with pytest.warns(UserWarning, match=f"metrics.jsonl: up to step 8, {gone}"):
        train.train(config("recall", "gru", steps=10), workdir, accept_changes=True)
    kept = path.read_bytes().split(b"\n")
    assert kept[: len(lines) - 3] == lines[1:-2] and json.loads(kept[-2])["step"] == 10


def test_what_another_version_counted_is_refused(workdir, monkeypatch):
    monkeypatch.setattr("training.run.resume.Ledger", dataclasses.make_dataclass("Ledger", ["seconds"]))
    refused(workdir, r"checkpoints/8 counts .*, which this code does not", MisfitError)


# A failed read leaves tasks of Orbax behind, whose loop is closed when they end.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("damaged", ["all", "meta", "arrays"])
def test_lost_best_weights_are_said_and_the_next_best_kept(workdir, damaged):
    if damaged == "all":
        shutil.rmtree(workdir / "best")
    elif damaged == "meta":
        next((workdir / "best").glob("*/meta/metadata")).write_text("{")
    else:
        for path in (workdir / "best").glob("*/state/d/*"):
            path.write_bytes(b"\0" * path.stat().st_size)
    with pytest.warns(UserWarning) as caught:
        again = train.train(config("recall", "gru", steps=10), workdir, accept_changes=True)
    said = " ".join(str(one.message) for one in caught)  # beside what Orbax leaves unfinished
    assert "best is gone, empty or damaged; the best from here on is kept instead" in said
    assert ("set aside" in said) == (damaged != "all")
    assert again["best"]["step"] == 10 and Checkpoints(workdir / "best", 1).steps() == [10]
