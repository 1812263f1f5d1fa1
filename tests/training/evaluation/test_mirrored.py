"""What eval.py finds is in the offline run that `wandb sync` sends, beside what training logged."""

import json

import pytest

import eval
import train
from tests.training import processes, runs, wandb_files
from training.evaluation import mirrored


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.delenv("WANDB_MODE", raising=False)


def test_text_is_decoded_while_training_and_scored_at_the_end(tmp_path, capsys):
    values = {"steps": 4, "every__eval": 2, "every__decode": 2, "decode_examples": 8, "best__metric": "bleu"}
    config = runs.text_config(processes.write_text(tmp_path / "text"), wandb__mode="offline", **values)
    workdir = tmp_path / "run"
    summary = train.train(config, workdir)
    rows = processes.rows(workdir, "val")
    assert [row["step"] for row in rows] == [2, 4] and all({"bleu", "chrf"} <= row.keys() for row in rows)
    assert summary["best"]["metric"] == "bleu" and summary["best"]["bleu"] == max(row["bleu"] for row in rows)
    eval.main([f"--workdir={workdir}", "--split=test", "--beam_size=1"])
    found = json.loads((workdir / "eval" / "test-greedy.json").read_text())
    sent = wandb_files.read(workdir)
    assert set(sent.ids) == {(workdir / "wandb_id").read_text()} and len(sent.ids) == 2
    assert sent.summary["eval/test-greedy/bleu"] == found["bleu"]
    assert sent.summary["eval/test-greedy/signature"] == found["signature"] and "BLEU" in found["signature"]
    assert any("val/bleu" in row for row in sent.history)
    name = "eval/test-greedy/by_source_length/bleu_lowercase"
    points = [(row["source_length"], row[name]) for row in sent.history if name in row]
    assert points == [((r["low"] + r["high"]) / 2, r["bleu_lowercase"]) for r in found["by_source_length"]]
    tables = [json.loads(file.read_text()) for file in sent.files if "by_source_length" in str(file)]
    assert tables and tables[0]["columns"][:2] == ["source_length", "bleu_lowercase"]


def test_accuracy_by_distance_is_mirrored(tmp_path):
    workdir = tmp_path / "run"
    train.train(runs.config("recall", "gru", steps=2, wandb__mode="offline"), workdir)
    eval.main([f"--workdir={workdir}", "--split=test"])
    found = json.loads((workdir / "eval" / "test.json").read_text())
    name = "eval/test/by_distance/token_accuracy"
    sent = wandb_files.read(workdir)
    points = [row for row in sent.history if name in row]
    assert sent.summary["step"] == 2  # of the run, whatever is added to it later
    assert [row[name] for row in points] == [row["token_accuracy"] for row in found["by_distance"]] != []
    assert all("distance" in row and "eval/test/by_distance/chance.token_accuracy" in row for row in points)


@pytest.mark.parametrize(
    ("task", "values", "message"),
    [
        ("recall", {"every__decode": 4}, "recall are no text to compare; use 0"),
        ("translate", {"every__decode": 3}, "no multiple of every.eval = 4"),
        ("translate", {"best__metric": "chrf"}, "use every.decode = 4"),
    ],
)
def test_what_cannot_be_decoded_is_refused(tmp_path, task, values, message):
    from training.command.validate import validate

    folder = processes.write_text(tmp_path / "text")
    config = runs.text_config(folder, **values) if task == "translate" else runs.config(task, "gru", **values)
    with pytest.raises(ValueError, match=message):
        validate(config)
        train.train(config, tmp_path / "run")


def test_rows_are_placed_in_the_middle_of_their_bins():
    (row,) = mirrored.rows([{"low": 1, "high": 4, "loss": 1.0, "token_accuracy": 0.5}], "x", {"blind": 0.1})
    assert list(row.items())[:2] == [("x", 2.5), ("token_accuracy", 0.5)] and row["chance.blind"] == 0.1
