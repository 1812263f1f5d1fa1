"""--mix: the mean of two models' probabilities, by hand, and the mistakes that are one line."""

import json
import math
import shutil

import numpy as np
import pytest

import eval
import train
from tests.training import runs
from training.evaluation import mixing, quality, scoring
from training.run.restore import restore


@pytest.fixture(scope="module", autouse=True)
def compiled_in_haste():
    with runs.compiled_in_haste():
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A counted run, a neural one, and one of bytes."""
    folder = tmp_path_factory.mktemp("mixed")
    text = runs.write_language(folder / "text")
    counted = {"steps": 1, "model__order": 3}
    train.train(runs.language_config(text, "ngram", **counted), folder / "ngram")
    train.train(runs.language_config(text, steps=4, optimizer__learning_rate=0.05), folder / "gru")
    train.train(runs.language_config(text, "ngram", **counted, data__tokenizer__name="byte"), folder / "bytes")
    return folder


def mixed(folder, of, given, name):
    eval.main([f"--workdir={folder / of}", f"--mix={folder / given}"])
    other, _, weight = name.partition("-")
    (path,) = (folder / of / "eval").glob(f"val-mix-{other}-????????-{weight}.json")
    return json.loads(path.read_text())


def nll(folder, name):
    run = restore(folder / name)
    return quality.gather(scoring.scorer(run.model, run.task.spec)(run.batches("val")))[0].nll.astype(np.float64)


def test_it_is_the_mean_of_both_models_probabilities(folder):
    found, first, second = mixed(folder, "ngram", "gru:0.25", "gru-0.25"), nll(folder, "ngram"), nll(folder, "gru")
    assert found["loss"] == pytest.approx(-np.log(0.75 * np.exp(-first) + 0.25 * np.exp(-second)).mean(), rel=1e-5)
    mix = found["mix"]
    assert mix["weight"] == 0.25 and mix["tuned_on"] is None and mix["with"] == str(folder / "gru")
    assert (mix["loss_of_this"], mix["loss_of_other"]) == pytest.approx((first.mean(), second.mean()), rel=1e-5)
    eval.main([f"--workdir={folder / 'gru'}"])
    alone = json.loads((folder / "gru" / "eval" / "val.json").read_text())
    assert mix["bits_per_byte_of_other"] == pytest.approx(alone["bits_per_byte"], rel=1e-5) and alone["mix"] == {}
    other_way = mixed(folder, "gru", "ngram:0.75", "ngram-0.75")
    for name in ("loss", "token_accuracy", "bits_per_byte"):
        assert other_way[name] == pytest.approx(found[name], rel=1e-5)


def test_the_weight_is_the_best_on_val(folder, capsys):
    found, first, second = mixed(folder, "gru", "ngram", "ngram-auto"), nll(folder, "gru"), nll(folder, "ngram")
    losses = [-np.log((1 - w) * np.exp(-first) + w * np.exp(-second)).mean() for w in np.linspace(0, 1, 201)]
    mix = found["mix"]
    assert mix["weight"] == pytest.approx(np.argmin(losses) / 200, abs=0.006) and mix["tuned_on"] == "val"
    assert found["loss"] <= min(mix["loss_of_this"], mix["loss_of_other"]) + 1e-5
    said = capsys.readouterr().out
    assert f"bits per byte of other   {mix['bits_per_byte_of_other']:.4g}" in said


def test_the_best_weight_of_two_that_know_different_things():
    """Of 4 tokens the second knows 3, so that is its weight; what both know alike says nothing."""
    first, second = np.array([1, 1e-9, 1e-9, 1e-9, 0.5]), np.array([1e-9, 1, 1, 1, 0.5])
    assert mixing.best_weight(first, second) == 0.75
    assert mixing.best_weight(first, first / 2) == 0 and mixing.best_weight(first / 2, first) == 1


@pytest.mark.parametrize(("weight", "of"), [("0", "gru"), ("1", "ngram")])
def test_a_weight_of_nothing_or_all_is_one_model(folder, weight, of):
    assert mixed(folder, "gru", f"ngram:{weight}", f"ngram-{weight}")["loss"] == pytest.approx(nll(folder, of).mean())


@pytest.mark.parametrize(
    ("given", "expected"),
    [("runs/a", ("runs/a", None)), ("runs/a:auto", ("runs/a", None)), ("c:/a:.5", ("c:/a", 0.5)), ("a:1", ("a", 1.0))],
)
def test_run_and_weight(given, expected):
    path, weight = mixing.parse(given)
    assert (path.as_posix(), weight) == expected


def test_mistakes_are_one_line(folder, capsys, tmp_path):
    train.train(runs.config("recall", "gru", steps=1), tmp_path / "recall")
    shutil.copytree(folder / "gru", tmp_path / "unfinished", ignore=shutil.ignore_patterns("best"))
    for of, given, said in [
        ("gru", "ngram:1.5", "the weight 1.5 is not from 0 to 1"),
        ("gru", "ngram:nan", "the weight nan is not from 0 to 1"),
        ("gru", "ngram:half", "the weight half is not from 0 to 1; use one that is, or auto"),
        ("gru", "absent:0.5", "absent holds no run"),
        ("gru", "bytes:0.5", "its tokenizer (byte, 260 tokens) is not this run's (char, "),
        ("gru", f"{tmp_path}/recall:0.5", "gru on recall is no language model"),
        (f"{tmp_path}/recall", "ngram:0.5", "gru on recall is no language model"),
        ("gru", f"{tmp_path}/unfinished", "holds no checkpoint"),
    ]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            eval.main([f"--workdir={folder / of}", f"--mix={folder / given}"])
        printed = capsys.readouterr().err
        assert ended.value.code == 2 and printed.count("\n") == 1, printed
        assert said in printed and "--mix" in printed or "checkpoint" in printed, printed
    assert math.isfinite(nll(folder, "bytes").mean())
