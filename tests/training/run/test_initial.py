"""A run that begins with another's weights: what is taken, what is not and why. Resuming takes nothing anew."""

import json
import shutil

import numpy as np
import pytest

from tests.training import runs
from train import train
from training.run import initial

SHAPES = {"inputs/target/table": (4, 2), "encoder/kernel": (2, 2), "head/bias": (5,)}
WEIGHTS = {name: np.ones(shape, np.float32) for name, shape in SHAPES.items()}


def zeros(**shapes):
    return {name: np.zeros(shape, np.float32) for name, shape in (SHAPES | shapes).items()}


def source(tmp_path, **weights):
    return initial.Source(tmp_path / "other", "best", 7, "gru", {**WEIGHTS, **weights})


def tokenizer(folder, digest):
    (folder / "tokenizer").mkdir(parents=True)
    described = {"name": "unigram", "vocab_size": 9, "normalization": "identity", "sha256": digest}
    (folder / "tokenizer" / "text.json").write_text(json.dumps(described))
    (folder / "tokenizer" / "text.model").write_text(digest)


def test_what_has_name_and_shape_is_taken_and_the_rest_is_said(tmp_path):
    own = zeros(**{"encoder/kernel": (2, 3), "head/kernel": (2, 5)})
    del own["head/bias"]
    start = initial.start(source(tmp_path), tmp_path, own)
    np.testing.assert_array_equal(start.weights["inputs/target/table"], WEIGHTS["inputs/target/table"])
    assert not start.weights["encoder/kernel"].any() and start.weights.keys() == own.keys()
    assert start.lines == [
        f"started from {tmp_path / 'other'} (gru, best checkpoint, step 7): 1 of 3 arrays, 8 of 24 parameters",
        "not loaded: encoder/kernel: its shape is (2, 2) and not (2, 3)",
        "not loaded: head/kernel: it has none of this name",
        "it has besides: head/bias",
    ]
    assert (start.record["step"], start.record["loaded"]) == (7, ["inputs/target/table"])


def test_tables_of_tokens_need_the_same_tokenizer(tmp_path):
    own = zeros()
    tokenizer(tmp_path / "other", "a")
    (tmp_path / "other" / "tokenizer" / ".text-x.json").write_text("{")  # of a write that was killed
    wanted = {"name": "unigram", "vocab_size": 9, "normalization": "identity"}
    initial.take_tokenizer(tmp_path / "other", tmp_path / "alike", wanted)
    assert len(initial.start(source(tmp_path), tmp_path / "alike", own).record["loaded"]) == 3
    initial.take_tokenizer(tmp_path / "other", tmp_path / "unlike", wanted | {"vocab_size": 8})
    assert not (tmp_path / "unlike").exists()
    start = initial.start(source(tmp_path), tmp_path / "unlike", own)
    assert start.record["loaded"] == ["encoder/kernel"]
    assert start.record["not_loaded"][0] == "head/bias: its tokenizer is another"


@pytest.mark.parametrize("there", [{}, {"config.json": "{"}])
def test_an_odd_folder_is_one_line(tmp_path, there):
    for name, content in there.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=f"init_from = {tmp_path}") as error:
        initial.read(tmp_path)
    assert "\n" not in str(error.value)


def test_nothing_that_fits_is_one_line(tmp_path):
    with pytest.raises(ValueError, match="none of the 3 arrays of gru has the name and shape of one here .such as"):
        initial.start(source(tmp_path), tmp_path, {"decoder/kernel": np.zeros(2, np.float32)})


def test_weights_that_changed_before_the_first_checkpoint_are_refused(tmp_path):
    own = zeros()
    initial.note(tmp_path, initial.start(source(tmp_path), tmp_path, own).record)
    initial.start(source(tmp_path), tmp_path, own)
    with pytest.raises(ValueError, match="checkpoint is another than when this run began"):
        initial.start(source(tmp_path, **{"head/bias": np.zeros(5, np.float32)}), tmp_path, own)


def test_a_run_starts_from_another_and_goes_on_without_it(tmp_path, capsys):
    other, whole, cut = tmp_path / "other", tmp_path / "whole", tmp_path / "cut"
    settings = {"steps": 4, "every__save": 2, "every__eval": 2}
    with runs.compiled_in_haste():
        train(runs.config("even_pairs", "transformer_encoder", **settings), other)
        config = runs.config("parity", "transformer_encoder", init_from=str(other), **settings)
        summary = train(config, whole)
    said = capsys.readouterr().err
    assert "parameters" in said and "started from" in said and "not loaded" not in said  # even the two classes' layer
    noted = json.loads((whole / "init_from.json").read_text())
    assert noted["checkpoint"] == "best" and noted["step"] in (2, 4) and not noted["not_loaded"]
    shutil.rmtree(other)
    shutil.copytree(whole, cut)
    shutil.rmtree(cut / "checkpoints" / "4")
    (cut / "summary.json").unlink()
    with runs.compiled_in_haste():
        assert train(config, cut)["params_sha256"] == summary["params_sha256"]
    assert "started from" not in capsys.readouterr().err
    shutil.rmtree(cut / "checkpoints")
    (cut / "summary.json").unlink()
    with pytest.raises(ValueError, match="holds no run"):
        train(config, cut)
