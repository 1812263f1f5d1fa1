"""A run that is counted is a run like any other: its folder, the same command twice, what ends it, and eval.py."""

import json
import math

import numpy as np
import pytest

import eval
import train
from models.ngram import NGram
from tests.training import processes, runs
from training.evaluation.generate import Beam, Generator, Sample
from training.run.restore import restore


@pytest.fixture(scope="module", autouse=True)
def compiled_in_haste():
    with runs.compiled_in_haste():
        yield


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return runs.write_language(tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="module")
def finished(text, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("counted") / "run"
    return workdir, train.train(config(text), workdir)


def config(text, **values):
    return runs.language_config(text, "ngram", **{"steps": 1, "model__order": 3} | values)


def test_the_folder_is_that_of_a_run(finished):
    workdir, summary = finished
    assert json.loads((workdir / "summary.json").read_text()) == json.loads(json.dumps(summary))
    (counted,), (scored,) = (processes.rows(workdir, kind) for kind in ("train", "val"))
    assert counted["loss"] < scored["loss"] < math.log(restore(workdir).task.spec.output_size)
    assert summary["final"]["loss"] == summary["best"]["loss"] == scored["loss"] and scored["step"] == 1
    assert summary["tokens_seen"] == len(restore(workdir).task.tokens("train"))
    assert summary["num_params"] > 4 * summary["tokens_seen"] / 10  # its arrays are those of what was counted


def test_the_same_command_again_leaves_a_finished_run_as_it_is(finished, text, capsys):
    workdir, summary = finished
    before = {
        path: path.stat().st_mtime_ns for path in workdir.rglob("*") if path.is_file() and ".lock" not in path.name
    }
    assert train.train(config(text), workdir)["params_sha256"] == summary["params_sha256"]
    assert "is finished; its summary stays as it is" in capsys.readouterr().err
    assert before == {path: path.stat().st_mtime_ns for path in before}
    with pytest.raises(ValueError, match=r"another config: model\.order = 2 \(was 3\)"):
        train.train(config(text, model__order=2), workdir)


def stop(*arguments):
    raise KeyboardInterrupt


@pytest.mark.parametrize("at", ["counting", "evaluation", "the checkpoint"])
def test_a_run_that_is_stopped_counts_again(finished, text, tmp_path, monkeypatch, at):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        if at == "counting":
            patch.setattr(NGram, "count", stop)
        if at == "the checkpoint":
            patch.setattr("training.counting.run_report.summarise", stop)
        train.train(config(text), tmp_path, probes=[stop] if at == "evaluation" else [])
    assert not (tmp_path / "summary.json").exists()
    summary = train.train(config(text), tmp_path)
    assert summary["params_sha256"] == finished[1]["params_sha256"] and summary["final"] == finished[1]["final"]
    assert [len(processes.rows(tmp_path, kind)) for kind in ("train", "val")] == [1, 1]


@pytest.mark.parametrize("which", ["best", "last", "average"])
def test_every_checkpoint_is_what_was_counted(finished, which):
    workdir, summary = finished
    run = restore(workdir, which)
    counted = NGram(run.config.model, run.task.spec, None)
    counted.count(run.task.tokens("train"))
    for name in ("token", "log_prob", "log_backoff", "first"):
        ours, expected = getattr(run.model, name)[...], getattr(counted, name)[...]
        assert ours.dtype == expected.dtype
        np.testing.assert_array_equal(ours, expected)


def test_eval_gives_the_measures_of_a_language_model(finished):
    workdir, summary = finished
    eval.main([f"--workdir={workdir}"])
    found = json.loads((workdir / "eval" / "val.json").read_text())
    assert found["loss"] == pytest.approx(summary["best"]["loss"], rel=1e-5)
    assert 0 < found["bits_per_byte"] < found["loss"] / math.log(2)  # some characters have two bytes
    assert [(row["low"], row["high"]) for row in found["by_position"]] == [(0, 0), (1, 1), (2, 3), (4, 7), (8, 15)]
    assert sum(row["num_answers"] for row in found["by_position"]) == restore(workdir).task.num_tokens("val")
    assert found["by_position"][0]["loss"] > found["by_position"][-1]["loss"]  # of one token and of two


@pytest.mark.parametrize("decoding", [Sample(), Beam(3)])
def test_it_writes_text(finished, decoding):
    run = restore(finished[0])
    prompt = run.task.encode_target(["A child"])
    written = Generator(run.model, run.task.spec, decoding).continuations(prompt, 12)
    assert run.task.decode_target(written.tokens[0]) and np.isfinite(written.scores).all()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--config.steps=5"], "steps does nothing: ngram is trained by counting, once; leave it out"),
        (["--config.optimizer.learning_rate=1"], "optimizer.learning_rate does nothing"),
        (["--config.model.order=7"], "model.order = 7 is out of range; use 1 to 6"),
        (["--config.model.hidden_size=8"], "ngram has no hidden_size"),
    ],
)
def test_what_does_nothing_is_refused(text, tmp_path, capsys, words, said):
    where = ["--config=configs/shakespeare.py:ngram", f"--workdir={tmp_path}/run", f"--config.data.dir={text}"]
    printed = runs.here(["python", "train.py", *where, *words], capsys, status=2)
    assert printed.count("\n") == 1 and said in printed and not (tmp_path / "run").exists()


def test_a_task_with_a_source_is_refused(tmp_path, capsys):
    words = ["--config=configs/recall.py:ngram", f"--workdir={tmp_path}/run"]
    printed = runs.here(["python", "train.py", *words], capsys, status=2)
    assert printed.count("\n") == 1 and "model = 'ngram' is of running text and the task has a source" in printed
