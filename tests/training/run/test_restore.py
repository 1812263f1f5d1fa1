"""A run read back from its folder: the best, the last and the average, here or elsewhere."""

import gc
import json
import re
import shutil

import numpy as np
import pytest
from ml_collections import ConfigDict

import train
from configs import common
from data import pipeline
from data.whole_file import write_json
from models.options import flat, nested
from tests.training import runs
from tests.training.processes import ROOT, write_text
from training.command import cli
from training.evaluation import scoring
from training.machine import mesh
from training.run.checkpoint import CheckpointError, Checkpoints
from training.run.restore import WHICH, read_config, restore
from training.step import params
from training.step.train_step import initial_state


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on text whose last of three checkpoints, at a rate that grows and destroys, is not its best."""
    folder = tmp_path_factory.mktemp("restore")
    grows = {"schedule__warmup_steps": 6, "optimizer__learning_rate": 0.5, "optimizer__b1": 0.0}
    every = {"every__save": 2, "every__eval": 2, "data__num_buckets": 1, "keep_pages": False}
    config = runs.text_config(write_text(folder / "text"), "rnn", steps=6, **grows, **every)
    with runs.compiled_in_haste():
        return folder / "run", train.train(config, folder / "run")


def kept(workdir, step):
    run = restore(workdir)
    template = initial_state(params.flatten(run.model), run.config.optimizer)
    return Checkpoints(workdir / "checkpoints", keep=None).restore(step, template)[0]["params"]


def assert_equal(model, expected, **tolerance):
    found = params.flatten(model)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, **({"rtol": 0} | tolerance))


def test_last_are_the_final_parameters(trained):
    workdir, summary = trained
    run = restore(workdir, "last")
    assert run.step == 6
    assert params.sha256(params.flatten(run.model)) == summary["params_sha256"]


def test_best_gives_its_validation_loss_again(trained):
    workdir, summary = trained
    run = restore(workdir, "best")
    assert run.step == summary["best"]["step"] < 6
    devices = mesh.make()
    eval_step = scoring.EvalStep(params.Skeleton(run.model), run.task.spec, devices)
    batches = pipeline.eval_batches(run.task, "val", pipeline.Batching.of(run.config))
    found = scoring.evaluate(eval_step, params.flatten(run.model), batches, perplexity=True)
    assert found["loss"] == pytest.approx(summary["best"]["loss"], rel=1e-6)
    assert found["loss"] < summary["final"]["loss"]


def test_average_is_the_mean_of_the_checkpoints_kept(trained):
    workdir, _ = trained
    parts = [kept(workdir, step) for step in (2, 4, 6)]
    mean = {name: (parts[0][name] + parts[1][name] + parts[2][name]) / 3 for name in parts[0]}
    run = restore(workdir, "average")
    assert run.step == 6
    assert_equal(run.model, mean, rtol=1e-5, atol=1e-6)
    with pytest.raises(AssertionError):
        assert_equal(run.model, parts[2], rtol=1e-5, atol=1e-6)


def test_a_run_that_was_moved_is_restored_with_its_tokenizer(trained, tmp_path):
    workdir, _ = trained
    here = restore(workdir)
    moved, text = tmp_path / "elsewhere" / "run", tmp_path / "text"
    shutil.copytree(workdir, moved)
    text.mkdir()
    for name in ("train", "val"):  # other text: a tokenizer made anew would be another one
        for suffix in ("de", "en"):
            (text / f"{name}.{suffix}").write_text("xyz\n")
    run = restore(moved, data_dir=str(text))
    assert_equal(run.model, params.flatten(here.model))
    line = "eins zwei fünf"
    np.testing.assert_array_equal(run.task.encode_source([line])[0], here.task.encode_source([line])[0])
    assert run.task.target_text("val") == ["xyz"]


def test_reading_changes_nothing_in_the_folder(trained):
    workdir, _ = trained
    before = {path: path.stat().st_mtime_ns for path in workdir.rglob("*")}
    for which in WHICH:
        restore(workdir, which)
    assert {path: path.stat().st_mtime_ns for path in workdir.rglob("*")} == before


def test_config_comes_back_as_it_was(trained):
    workdir, _ = trained
    config = read_config(workdir)
    assert config.to_dict() == json.loads((workdir / "config.json").read_text())["config"]
    assert config.data.tokenizer.name == "char" and config.optimizer.learning_rate == 0.5


LATER = (
    "data.tokenizer.normalization",
    "keep_pages",
    "loss_positions",
    "profile",
    "model.remat",
    "model.variational_dropout",
)


def test_a_run_begun_before_there_were_some_keys_is_the_same_model(trained, tmp_path, monkeypatch):
    workdir, _ = trained
    base = common.base
    monkeypatch.setattr(common, "base", lambda *names: ConfigDict(base(*names).to_dict() | {"keep_pages": False}))
    old = shutil.copytree(workdir, tmp_path / "old")
    recorded = json.loads((old / "config.json").read_text())
    plain = flat(recorded["config"])
    recorded["config"] = nested({key: plain[key] for key in plain if key not in LATER} | {"replicas": 1})
    write_json(old / "config.json", recorded)
    now, then = read_config(workdir), read_config(old)
    assert (now.keep_pages, then.keep_pages) == (False, True)  # on for all before the key, whatever the default is
    assert {key: flat(then)[key] for key in plain} == plain | {"keep_pages": True}
    batch = next(iter(pipeline.eval_batches(restore(workdir).task, "val", pipeline.Batching.of(now))))
    arrays = [batch[name] for name in ("source", "source_mask", "target_in")]
    logits = [restore(folder, "last").model(*arrays).logits for folder in (workdir, old)]
    np.testing.assert_array_equal(*logits)


def test_what_differs_from_todays_default_is_what_runs_had_then(tmp_path):
    for task, model in (("multi30k_joined", "transformer"), ("recall", "gru")):
        config = cli.load(f"{ROOT}/configs/{task}.py:{model}").to_dict()
        del config["keep_pages"], config["cpu_devices"]
        config["data"].pop("test_range", None)
        config["data"].get("tokenizer", {}).pop("normalization", None)
        config["model"].pop("fused_attention", None)
        (tmp_path / "config.json").write_text(json.dumps({"config": config}))
        old = read_config(tmp_path)
        assert (old.keep_pages, old.cpu_devices) == (True, 1)
        assert old.data.get("test_range") == (0 if task == "multi30k_joined" else None)
        if task == "multi30k_joined":
            assert old.data.tokenizer.normalization == "nmt_nfkc"
        assert old.model.get("fused_attention") == ("never" if model == "transformer" else None)


def test_what_is_not_there_is_said_in_one_line(trained, tmp_path):
    workdir, _ = trained
    with pytest.raises(FileNotFoundError, match=r"--workdir = .*absent holds no run"):
        restore(tmp_path / "absent")
    with pytest.raises(ValueError, match=r"--checkpoint = 'newest' is not known; choose from best, last, average"):
        restore(workdir, "newest")
    with pytest.raises(FileNotFoundError, match=r"data\.dir = .*nowhere is not a folder"):
        restore(workdir, data_dir=str(tmp_path / "nowhere")).task.num_examples("val")
    begun = tmp_path / "begun"
    begun.mkdir()
    shutil.copy(workdir / "config.json", begun)
    shutil.copytree(workdir / "tokenizer", begun / "tokenizer")
    for which in WHICH:
        with pytest.raises(FileNotFoundError, match="begun/.* holds no checkpoint yet"):
            restore(begun, which)
    assert sorted(p.name for p in begun.iterdir()) == ["config.json", "tokenizer"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_broken_best_names_its_path(trained, tmp_path):
    workdir, summary = trained
    shutil.copytree(workdir, tmp_path / "run")
    for path in (tmp_path / "run" / "best").rglob("d/*"):
        path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(CheckpointError, match=rf"best/{summary['best']['step']}: .*; try --checkpoint=last"):
        restore(tmp_path / "run")
    gc.collect()  # a failed read leaves coroutines of Orbax behind that nobody waits for


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("steps", "x", "steps = 'x' is not a whole number"),
        ("seed", "a", "seed = 'a' is not a whole number"),
        ("cpu_devices", "two", "cpu_devices = 'two' is not a whole number"),
        ("optimizer", None, "optimizer = None is no group of keys"),
        ("wandb", 3, "wandb = 3 is no group of keys"),
        ("data.dir", 5, "data.dir = 5 is not text"),
        ("data.tokenizer", None, "data.tokenizer = None is no group of keys"),
        ("optimizer.name", "nope", "optimizer.name = 'nope' is not known"),
        ("model.hidden_size", None, "model.hidden_size = None is not a whole number"),
        ("task", ["recall"], "holds no config of a run"),
        ("model.name", [1], "holds no config of a run"),
    ],
)
def test_a_config_with_values_of_other_kinds_is_one_line(trained, tmp_path, key, value, said):
    workdir = shutil.copytree(trained[0], tmp_path / "run")
    record = json.loads((workdir / "config.json").read_text())
    given = {k: v for k, v in flat(record["config"]).items() if not k.startswith(f"{key}.")}
    write_json(workdir / "config.json", record | {"config": nested(given | {key: value})})
    with pytest.raises(ValueError, match=re.escape(said)):
        restore(workdir)
