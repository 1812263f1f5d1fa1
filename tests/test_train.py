"""`train.train` in this process: what a run learns, writes and calls."""

import errno
import json
import shutil
import sys

import jax
import numpy as np
import pytest

import models
import train
from tests.training import runs
from tests.training.processes import rows, run, summary, write_text
from training.machine import profiling
from training.run.restore import WHICH, restore
from training.run.run_folder import record
from training.step import params

SUMMARY = {
    "final",
    "best",
    "num_params",
    "num_params_non_embedding",
    "params_sha256",
    "tokens_seen",
    "target_tokens_per_second",
    "median_step_seconds",
    "compile_seconds",
    "start_to_first_step_seconds",
    "peak_memory_bytes",
    "padding_share",
    "commit",
    "versions",
    "device",
}


@pytest.fixture(scope="module", autouse=True)
def compiled_in_haste():
    with runs.compiled_in_haste():
        yield


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """A model that learns to copy, with a moving average, and with two probes looking on."""
    workdir, seen = tmp_path_factory.mktemp("runs") / "learned", []

    def probe(model, task, step):
        seen.append((type(model), type(task).__name__, step))
        return {"probed": 0.5 + step}

    values = {"steps": 120, "every__log": 20, "every__eval": 60, "every__save": 40, "optimizer__learning_rate": 0.02}
    config = runs.config("copying", "gru", optimizer__ema_decay=0.9, keep=2, **values)
    found = train.train(config, workdir, probes=[probe, lambda *_: {"also": 1.0}])
    return workdir, found, seen


def test_loss_goes_down(learned):
    workdir, found, _ = learned
    losses = [row["loss"] for row in rows(workdir, "train")]
    assert losses[-1] < 0.7 * losses[0]
    assert found["final"]["loss"] < rows(workdir, "val")[0]["loss"]


def test_summary_has_every_key(learned):
    workdir, found, _ = learned
    assert found.keys() >= SUMMARY
    assert summary(workdir) == json.loads(json.dumps(found))
    assert found["best"]["metric"] == "loss" and found["best"]["step"] == 120 == found["final"]["step"]
    assert found["num_params"] > found["num_params_non_embedding"] > 0
    seconds = {name: found[f"{name}_seconds"] for name in ("training", "compile", "eval", "save")}
    assert min(seconds.values()) > 0
    assert found["peak_memory_bytes"] > 1e8


def test_rows_are_written_at_every_interval(learned):
    workdir, _, _ = learned
    train_rows = rows(workdir, "train")
    assert [row["step"] for row in train_rows] == [20, 40, 60, 80, 100, 120]
    assert [row["step"] for row in rows(workdir, "val")] == [60, 120]
    for row in train_rows:
        assert {"loss", "perplexity", "token_accuracy", "learning_rate", "gradient_norm", "update_ratio"} <= row.keys()
        assert {"target_tokens_per_second", "step_seconds", "padding_share"} <= row.keys()
        assert any(name.startswith("gradient_norm/") for name in row) and row["update_ratio"] > 0


def test_memory_and_what_was_not_training_are_logged_apart(learned):
    *_, last = rows(learned[0], "train")
    assert last["device_memory_bytes"] > 0
    assert min(last[f"{activity}_seconds"] for activity in ("compile", "eval", "save")) > 0
    assert last["mirror_seconds"] == 0  # none is asked for


def test_probes_are_called_at_every_evaluation(learned):
    workdir, found, seen = learned
    assert seen == [(models.MODELS["gru"], "Copying", 60), (models.MODELS["gru"], "Copying", 120)]
    assert [row["probed"] for row in rows(workdir, "val")] == [60.5, 120.5]
    assert found["final"]["also"] == 1.0


def test_newest_and_best_checkpoints_are_kept(learned):
    workdir = learned[0]
    assert sorted(p.name for p in (workdir / "checkpoints").iterdir() if p.name.isdigit()) == ["120", "80"]
    assert [p.name for p in (workdir / "best").iterdir() if p.name.isdigit()] == ["120"]


def test_moving_average_is_what_is_evaluated(learned):
    workdir, found, _ = learned
    digests = {which: params.sha256(params.flatten(restore(workdir, which).model)) for which in WHICH}
    assert digests["best"] == digests["last"] != found["params_sha256"]  # step 120 is both


def test_a_finished_run_is_finished(learned):
    workdir, found, seen = learned
    calls = len(seen)
    values = {"steps": 120, "every__log": 20, "every__eval": 60, "every__save": 40, "optimizer__learning_rate": 0.02}
    again = train.train(runs.config("copying", "gru", optimizer__ema_decay=0.9, keep=2, **values), workdir)
    assert again == found  # its times and its memory too
    assert len(rows(workdir, "train")) == 6 and len(seen) == calls


def test_early_stopping(tmp_path):
    """Nothing is learned at this rate, so that the first evaluation stays the best."""
    still = {"optimizer__learning_rate": 1e-30, "early_stopping__patience": 2, "steps": 100, "every__eval": 2}
    found = train.train(runs.config("parity", "rnn", **still, every__save=100), tmp_path / "run")
    assert found["best"]["step"] == 2 and found["final"]["step"] == 6
    again = train.train(runs.config("parity", "rnn", **still, every__save=100), tmp_path / "run")
    assert again["final"] == found["final"]


KINDS = {
    "adding": "gru_decoder",
    "copying": "rnn",
    "parity": "rnn_decoder",
    "recall": "transformer_decoder",
    "reverse": "rnn_attention",
    "selective_copying": "lstm_decoder",
    "temporal_order": "gru",
}
"""Tasks of every kind of source, answer and target, with an architecture that compiles soon."""


@pytest.mark.parametrize(("task", "name"), KINDS.items())
def test_every_kind_of_task_trains_in_bfloat16(tmp_path, task, name):
    found = train.train(runs.config(task, name, steps=2, model__dtype="bfloat16"), tmp_path / "run")
    assert np.isfinite(found["final"]["loss"])
    assert ("perplexity" in found["final"]) == (task != "adding")
    (first,) = rows(tmp_path / "run", "train")
    assert first["gradient_norm"] > 0 and first["update_ratio"] > 0


def test_seeds_and_rates_share_what_is_compiled(tmp_path, caplog):
    with jax.log_compiles():
        for seed, rate in ((1, 1e-3), (2, 2e-3)):
            caplog.clear()
            config = runs.config("parity", "lstm", steps=2, seed=seed, optimizer__learning_rate=rate)
            train.train(config, tmp_path / str(seed))
            for program in ("train_step", "eval_step"):
                assert (f"compilation of jit({program})" in caplog.text) == (seed == 1)


def test_a_metric_that_the_task_lacks_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match=r"best\.metric = 'perplexity' .* use loss"):
        train.train(runs.config("adding", "rnn", best__metric="perplexity"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["decoder", "gru", "transformer"])
def test_a_run_resumes_bit_for_bit(tmp_path, name):
    """With dropout, micro-batches and a moving average. What lies there between two saves is what a crash leaves.

    Recurrent layers have dropout between two. `tests/golden` has the state and the steps of every architecture.
    """
    rates = {"model__dropout_rate": 0.3, "model__num_layers": 2 if name == "gru" else 1}
    c = runs.config(
        "reverse",
        name,
        steps=4,
        every__save=2,
        every__eval=3,
        every__log=1,
        optimizer__accumulation=2,
        optimizer__ema_decay=0.9,
        **rates,
    )

    def crash(model, task, step):
        if step == 3:
            shutil.copytree(tmp_path / "whole", tmp_path / "resumed")
        return {}

    whole = train.train(c, tmp_path / "whole", probes=[crash])
    assert not (tmp_path / "resumed" / "summary.json").exists()
    resumed = train.train(c, tmp_path / "resumed")
    steps = [json.loads(line)["step"] for line in (tmp_path / "resumed" / "metrics.jsonl").read_text().splitlines()]
    assert steps.count(2) == 1 and 4 in steps  # it went on after step 2 and did not begin again
    assert resumed["params_sha256"] == whole["params_sha256"]
    assert {k: resumed["final"][k] for k in whole["final"]} == whole["final"]


@pytest.mark.parametrize("fails", ["start_trace", "stop_trace"])
def test_a_profile_that_cannot_be_written_ends_no_run(tmp_path, capsys, monkeypatch, fails):
    """Whether it fails before its last step, or at it, or is left open at the run's end."""

    def full(*given, **more):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(jax.profiler, "start_trace", lambda folder: None)
    monkeypatch.setattr(jax.profiler, fails, full)
    monkeypatch.setattr(profiling, "AFTER", 2)
    c = runs.config("parity", "rnn", steps=8, profile=True)
    assert train.train(c, tmp_path / "run")["final"]["step"] == 8
    assert capsys.readouterr().err.count("No space left on device; the run goes on without it") == 1
    c = runs.config("parity", "rnn", steps=4, profile=True)
    assert train.train(c, tmp_path / "short")["final"]["step"] == 4


def test_a_profile_is_a_trace_of_some_steps(tmp_path, capsys):
    c = runs.config("parity", "rnn", steps=26, profile=True, every__log=26, every__eval=26, every__save=26)
    train.train(c, tmp_path / "run")
    assert f"5 steps traced into {tmp_path / 'run' / 'profile'}" in capsys.readouterr().err
    (trace,) = (tmp_path / "run" / "profile").rglob("*.xplane.pb")
    names = [
        e.name
        for plane in jax.profiler.ProfileData.from_file(str(trace)).planes
        for line in plane.lines
        for e in line.events
    ]
    assert sum("train_step" in name for name in names) >= 5


@pytest.mark.parametrize(("values", "said"), [({"tokens_per_batch": 64}, "64"), ({"data__max_length": 2}, "none")])
def test_a_plan_that_cannot_be_is_refused_before_anything_is_written(tmp_path, values, said):
    config = runs.text_config(write_text(tmp_path / "text"), **values)
    with pytest.raises(ValueError, match=said):
        train.train(config, tmp_path / "runs" / "run")
    assert not (tmp_path / "runs").exists()


def test_a_language_model_trains_on_micro_batches(tmp_path):
    config = runs.language_config(runs.write_language(tmp_path / "text"), steps=2, optimizer__accumulation=2)
    found = train.train(config, tmp_path / "run")
    assert np.isfinite(found["final"]["loss"])
    assert list((tmp_path / "run" / "tokenizer").iterdir())


def test_wandb_offline_gets_rows_samples_and_pictures(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    folder = write_text(tmp_path / "text")
    config = runs.text_config(folder, steps=2, wandb__mode="offline", data__num_buckets=1)
    train.train(config, tmp_path / "run")
    runs.wandb_record(tmp_path / "run", b"train/loss", b"val/loss", b"params_sha256")
    (offline,) = (tmp_path / "run" / "wandb").glob("offline-run-*")
    (table,) = offline.rglob("*.table.json")
    shown = json.loads(table.read_text())
    assert shown["columns"] == ["source", "target", "output"] and len(shown["data"]) == 8
    sources = [*(folder / "val.de").read_text().splitlines()]
    targets = dict(zip(sources, (folder / "val.en").read_text().splitlines(), strict=True))
    assert all(targets[source] == target for source, target, _ in shown["data"])
    assert list(offline.rglob("*.png")) and (tmp_path / "run" / "attention.png").stat().st_size > 1000


def test_wandb_gets_continuations_of_a_language_model(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    folder = runs.write_language(tmp_path / "text")
    train.train(runs.language_config(folder, steps=2, wandb__mode="offline"), tmp_path / "run")
    (table,) = next((tmp_path / "run" / "wandb").glob("offline-run-*")).rglob("*.table.json")
    whole = (folder / "input.txt").read_text()
    shown = json.loads(table.read_text())["data"]
    assert shown and all(source + target in whole for source, target, _ in shown)
    assert any(output for _, _, output in shown)


def test_a_machine_without_wandb_and_tfds_trains(tmp_path, monkeypatch):
    for absent in ("wandb", "tensorflow_datasets", "sentencepiece", "sacrebleu", "matplotlib"):
        monkeypatch.setitem(sys.modules, absent, None)
    assert train.train(runs.config("parity", "rnn", steps=2), tmp_path / "run")


def test_a_cpu_split_into_devices_resumes(tmp_path):
    """The split must be asked for before anything looks at the devices, as the check of a run that is there does."""
    config, workdir = runs.config("parity", "rnn", steps=2, cpu_devices=2), tmp_path / "run"
    workdir.mkdir()
    record(workdir, config, {})
    (tmp_path / "config.py").write_text(
        "from tests.training import runs\n\n\ndef get_config(model):\n"
        '    return runs.config("parity", model, steps=2, cpu_devices=2).unlock()\n'
    )
    words = [sys.executable, "train.py", f"--config={tmp_path / 'config.py'}:rnn", f"--workdir={workdir}"]
    assert "2 x cpu" in run(words)
    assert summary(workdir)["device"]["count"] == 2
