"""Many runs as one program: each is what it is alone, in a folder of its own, and ends on its own."""

import json
import os
import signal
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eval
import train
from tests.training import runs
from tests.training.processes import command, rows, run, start, summary, write_text
from training import replica_configs
from training.replica_trainer import make_step
from training.replicas import share_tokenizer, train_replicas
from training.run.checkpoint import CheckpointError, Checkpoints
from training.run.restore import restore
from training.step import params
from training.step.train_step import Dials

DROPOUT = {"model__dropout_rate": 0.3, "optimizer__accumulation": 2, "optimizer__ema_decay": 0.9}
STEPS = {"steps": 6, "every__log": 1, "every__eval": 3, "every__save": 2}


@pytest.fixture(scope="module", autouse=True)
def compiled_in_haste():
    with runs.compiled_in_haste():
        yield


def config(model="gru", task="reverse", **values):
    return runs.config(task, model, **{**STEPS, **values})


def numbers(workdir):
    """Every row of a run but for times and memory."""
    own = ("second", "memory")
    return [
        {name: value for name, value in row.items() if not any(word in name for word in own)}
        for kind in ("train", "val")
        for row in rows(workdir, kind)
    ]


def assert_same_rows(workdir, alone, rtol=1e-5):
    """Losses within rounding; a ratio of small norms shows more of it."""
    found, expected = numbers(workdir), numbers(alone)
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for name in one.keys() - {"kind"}:
            np.testing.assert_allclose(
                one[name], other[name], rtol * (100 if name == "update_ratio" else 1), err_msg=name
            )


def weights_of(workdir, which="last"):
    return params.flatten(restore(workdir, which).model)


def digests(found):
    return {name: summary["params_sha256"] for name, summary in found.items()}


@pytest.fixture(scope="module", params=["gru", "transformer"])
def trained(request, tmp_path_factory):
    """Three seeds as one program, from seed 4 on, with dropout, micro-batches and a moving average."""
    workdir = tmp_path_factory.mktemp("runs") / "many"
    c = config(request.param, seed=4, replicas=3, **DROPOUT)
    return request.param, workdir, c, train_replicas(c, workdir)


def test_each_run_is_what_it_is_alone(trained, tmp_path):
    model, workdir, _, found = trained
    assert list(found) == ["seed-4", "seed-5", "seed-6"]
    for seed in (4, 6):
        expected = train.train(config(model, seed=seed, **DROPOUT), tmp_path / str(seed))
        assert_same_rows(workdir / f"seed-{seed}", tmp_path / str(seed))
        for which in ("best", "last"):
            one, other = weights_of(workdir / f"seed-{seed}", which), weights_of(tmp_path / str(seed), which)
            assert one.keys() == other.keys()
            for name, array in one.items():
                np.testing.assert_allclose(array, other[name], rtol=1e-4, atol=1e-6, err_msg=name)
        assert found[f"seed-{seed}"].keys() == expected.keys()
        assert found[f"seed-{seed}"]["tokens_seen"] == expected["tokens_seen"]
        assert (found[f"seed-{seed}"]["replicas"], expected["replicas"]) == (3, 1)
    losses = [rows(workdir / name, "train")[0]["loss"] for name in found]
    assert len(set(losses)) == 3  # seeds do differ


def test_vectorised_gives_the_same(trained, tmp_path):
    model, workdir, c, _ = trained
    train_replicas(config(model, seed=4, replicas=3, replica_axis="vectorised", **DROPOUT), tmp_path / "many")
    for name in ("seed-4", "seed-5", "seed-6"):
        assert_same_rows(tmp_path / "many" / name, workdir / name)


def test_each_folder_is_that_of_a_run(trained):
    model, workdir, _, found = trained
    for seed in (4, 5, 6):
        folder = workdir / f"seed-{seed}"
        recorded = json.loads((folder / "config.json").read_text())
        assert recorded["config"] == json.loads(config(model, seed=seed, **DROPOUT).to_json())
        assert summary(folder) == json.loads(json.dumps(found[f"seed-{seed}"]))
        assert sorted(p.name for p in (folder / "checkpoints").iterdir() if p.name.isdigit()) == ["2", "4", "6"]
        assert len([p for p in (folder / "best").iterdir() if p.name.isdigit()]) == 1
    options = eval.parse([f"--workdir={workdir / 'seed-5'}", "--limit=8"])
    assert eval.evaluate(restore(workdir / "seed-5"), "val", options)[0]["loss"] > 0


def test_the_same_command_finds_them_finished(trained, capsys):
    _, workdir, c, found = trained
    assert train_replicas(c, workdir) == found
    assert capsys.readouterr().err.count("is finished; its summary stays") == 3


def test_resuming_is_bit_for_bit(tmp_path, monkeypatch):
    """Dies between two saves, and, the second time, between the saves of two runs at one step."""
    c = config(replicas=2, **DROPOUT)
    whole = train_replicas(c, tmp_path / "whole")

    def die(model, task, step):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_replicas(c, tmp_path / "resumed", probes=[die])
    assert not (tmp_path / "resumed" / "seed-0" / "summary.json").exists()

    save = Checkpoints.save

    def save_until(self, step, state, meta):
        if step == 4 and self.folder.parts[-2:] == ("seed-1", "checkpoints"):
            raise CheckpointError("the disk is full")
        save(self, step, state, meta)

    with monkeypatch.context() as patched:
        patched.setattr(Checkpoints, "save", save_until)
        with pytest.raises(CheckpointError):
            train_replicas(c, tmp_path / "resumed")
    newest = [Checkpoints(tmp_path / "resumed" / f"seed-{seed}" / "checkpoints", None).steps()[-1] for seed in (0, 1)]
    assert newest == [4, 2]
    assert digests(train_replicas(c, tmp_path / "resumed")) == digests(whole)
    for name in whole:
        assert numbers(tmp_path / "resumed" / name) == numbers(tmp_path / "whole" / name)
        assert summary(tmp_path / "resumed" / name)["tokens_seen"] == whole[name]["tokens_seen"]


def test_stopping_saves_every_run(tmp_path, capsys):
    c = config(replicas=2, every__save=6, **DROPOUT)

    def ask(model, task, step):
        os.kill(os.getpid(), signal.SIGTERM)
        return {}

    assert train_replicas(c, tmp_path / "stopped", probes=[ask]) == {}
    assert "stopped at step 3 as asked, and saved" in capsys.readouterr().err
    found = digests(train_replicas(c, tmp_path / "stopped"))
    assert found == digests(train_replicas(c, tmp_path / "whole"))


def test_a_run_goes_on_alone(tmp_path):
    values = {"replicas": 2, "schedule__name": "constant", **DROPOUT}
    train_replicas(config(**values, steps=3), tmp_path / "many")
    c = config(**{**values, "replicas": 1}, seed=1)
    train.train(c, tmp_path / "many" / "seed-1", accept_changes=True)
    train.train(c, tmp_path / "alone")
    steps = [row["step"] for row in rows(tmp_path / "many" / "seed-1", "train")]
    assert steps == [1, 2, 3, 4, 5, 6]
    assert_same_rows(tmp_path / "many" / "seed-1", tmp_path / "alone")


def test_one_out_of_patience_ends_alone(tmp_path):
    """At the first rate nothing is learned, so that its first evaluation stays the best."""
    values = {"steps": 12, "every__eval": 2, "every__save": 12, "early_stopping__patience": 2}
    c = config("rnn", "parity", replica_learning_rates=(1e-30, 0.02), **values)
    found = train_replicas(c, tmp_path / "many")
    stopped, whole = (tmp_path / "many" / name for name in found)
    assert list(found) == ["seed-0-rate-1e-30", "seed-0-rate-0.02"]
    assert found["seed-0-rate-1e-30"]["final"]["step"] == 6 and rows(stopped, "train")[-1]["step"] == 6
    assert found["seed-0-rate-0.02"]["final"]["step"] > 6
    alone = train.train(config("rnn", "parity", optimizer__learning_rate=1e-30, **values), tmp_path / "alone")
    assert alone["final"]["step"] == 6
    assert_same_rows(stopped, tmp_path / "alone")
    assert params.sha256(weights_of(stopped)) == found["seed-0-rate-1e-30"]["params_sha256"]
    before = rows(stopped, "train")
    again = train_replicas(c, tmp_path / "many")
    assert again == found and rows(stopped, "train") == before and rows(whole, "train")


def test_one_that_diverges_leaves_the_others(tmp_path, capsys):
    values = {"optimizer__clip_norm": 0.0}
    rates = (1e-3, 1e30, 2e-3)
    c = config(replica_learning_rates=rates, **values)
    with pytest.raises(FloatingPointError, match=r"seed-0-rate-1e\+30: .* at step 1; 2 of 3 runs are finished"):
        train_replicas(c, tmp_path / "many")
    assert "seed-0-rate-1e+30: " in capsys.readouterr().err
    folders = [tmp_path / "many" / f"seed-0-rate-{rate}" for rate in rates]
    assert [(folder / "summary.json").exists() for folder in folders] == [True, False, True]
    assert rows(folders[1], "train") == []
    train.train(config(optimizer__learning_rate=2e-3, **values), tmp_path / "alone")
    assert_same_rows(folders[2], tmp_path / "alone")
    saved = summary(folders[2])
    with pytest.raises(FloatingPointError, match="2 of 3 runs are finished"):  # it is tried again, alone
        train_replicas(c, tmp_path / "many")
    assert summary(folders[2]) == saved


def test_every_seed_meets_every_rate():
    c = config(seed=7, replicas=2, replica_learning_rates=(1e-3, 2e-3), replica_axis="mapped")
    found = replica_configs.expand(c)
    assert [(name, one.seed, one.optimizer.learning_rate) for name, one in found.items()] == [
        ("seed-7-rate-0.001", 7, 1e-3), ("seed-7-rate-0.002", 7, 2e-3),
        ("seed-8-rate-0.001", 8, 1e-3), ("seed-8-rate-0.002", 8, 2e-3),
    ]  # fmt: skip
    assert found["seed-8-rate-0.002"].to_dict() == config(seed=8, optimizer__learning_rate=2e-3).to_dict()
    assert all(one.is_locked for one in found.values()) and c.replicas == 2
    assert replica_configs.asked_for(c) and not replica_configs.asked_for(found["seed-7-rate-0.001"])


@pytest.mark.parametrize("axis", ["mapped", "vectorised"])
def test_a_slot_that_takes_no_part_keeps_its_state(axis):
    def step(state, batch, dials):
        return {"x": state["x"] + dials.learning_rate * batch["b"]}, {"loss": state["x"] * dials.seed}

    steps = jax.jit(make_step(step, axis))
    state = {"x": jnp.array([1.0, jnp.nan, 3.0])}
    seeds, rates = np.array([1, 2, 3], np.uint32), np.array([0.1, 0.2, 0.3], np.float32)
    batch = {"b": jnp.array([10.0, 10.0, 10.0])}
    after, metrics = steps(state, batch, seeds, rates, np.array([True, False, True]), np.bool_(False))
    np.testing.assert_allclose(after["x"], [2.0, np.nan, 6.0], rtol=1e-6)
    np.testing.assert_allclose(metrics["loss"][::2], [1.0, 9.0])
    alone, _ = step({"x": state["x"][2]}, {"b": batch["b"][2]}, Dials(seeds[2], rates[2], np.bool_(False)))
    assert float(after["x"][2]) == pytest.approx(float(alone["x"]))


def test_text_on_two_devices_killed_and_resumed(tmp_path):
    """Buckets of several shapes; three runs on two devices leave a slot idle. One process, killed, and another."""
    text = write_text(tmp_path / "text")
    workdir = tmp_path / "runs" / "many"
    small = ("--config.every.log=1", "--config.every.eval=24", "--config.steps=24")
    words = command(workdir, text, "--config.replicas=3", "--config.cpu_devices=2", *small, model="gru")
    process = start(words)
    deadline = time.monotonic() + 120
    metrics = workdir / "seed-2" / "metrics.jsonl"
    while not metrics.exists() or '"step": 11,' not in metrics.read_text():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[0]
        time.sleep(0.002)
    process.kill()
    process.communicate()
    before = [json.loads(line) for line in metrics.read_text().splitlines(keepends=True) if line.endswith("\n")]
    output = run(words)
    for row, again in zip(before, rows(workdir / "seed-2", "train"), strict=False):
        assert row["loss"] == again["loss"] and row["step"] == again["step"]  # those beyond the checkpoint too
    assert "3 runs as one program, mapped on 2 of these devices: seed-0, seed-1, seed-2" in output
    single = tmp_path / "runs" / "one"
    run(command(single, text, "--config.seed=2", *small, model="gru"))
    assert len(rows(workdir / "seed-2", "train")) == 24
    assert_same_rows(workdir / "seed-2", single, rtol=1e-4)
    assert list((workdir / "seed-2" / "tokenizer").iterdir())


def test_wandb_gets_a_run_each(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    c = config("gru", "recall", replicas=2, steps=2, wandb__mode="offline")
    train_replicas(c, tmp_path / "many")
    ids = set()
    for seed in (0, 1):
        folder = tmp_path / "many" / f"seed-{seed}"
        name = f"gru-seed{seed}".encode()
        record = runs.wandb_record(folder, name, b"train/loss", b"val/loss", b"params_sha256")
        assert f"gru-seed{1 - seed}".encode() not in record
        ids.add((folder / "wandb_id").read_text())
    assert len(ids) == 2


def test_what_cannot_be_is_refused_in_one_line(tmp_path, monkeypatch):
    single, many = tmp_path / "single", tmp_path / "many"
    train.train(config("rnn", "parity", steps=2), single)
    c = config("rnn", "parity", replicas=2, steps=2)
    with pytest.raises(ValueError, match=r"--workdir = .*single is the folder of a single run; give replicas"):
        train_replicas(c, single)
    with pytest.raises(ValueError, match="replicas = 2 is for train_replicas"):
        train.train(c, many)
    with pytest.raises(ValueError, match=r"best\.metric = 'perplexity'"):
        train_replicas(config("rnn", "adding", replicas=2, best__metric="perplexity"), many)
    with monkeypatch.context() as patched:
        patched.setattr(jax, "process_count", lambda: 2)
        with pytest.raises(ValueError, match="replicas = 2 train in one process, not in 2"):
            train_replicas(c, many)
    assert not many.exists()
    train_replicas(c, many)
    with pytest.raises(ValueError, match=r"seed-0/config\.json: .*data\.max_length = 9"):
        train_replicas(config("rnn", "parity", replicas=2, steps=2, data__max_length=9), many)


def test_a_divergence_exits_with_1_when_the_others_are_through(tmp_path):
    text = write_text(tmp_path / "text")
    words = command(tmp_path / "many", text, "--config.steps=2", "--config.schedule.warmup_steps=0", model="gru")
    wild = ["--config.replica_learning_rates=(1e-3,1e30)", "--config.optimizer.clip_norm=0", "--config.every.log=1"]
    output = run([*words, *wild], status=1)
    assert "1 of 2 runs are finished" in output and "Traceback" not in output
    assert (tmp_path / "many" / "seed-0-rate-0.001" / "summary.json").exists()


def test_runs_share_one_tokenizer(tmp_path):
    trained, other = tmp_path / "seed-0" / "tokenizer", tmp_path / "seed-1" / "tokenizer"
    share_tokenizer(trained, other)  # a task without one
    assert not other.exists()
    trained.mkdir(parents=True)
    other.parent.mkdir()
    (trained / "char.json").write_text("ab")
    for _ in range(2):
        share_tokenizer(trained, other)
    assert (other / "char.json").read_text() == "ab"
    (other / "char.json").write_text("cd")
    with pytest.raises(ValueError, match=r"seed-1/tokenizer is not the tokenizer of .*seed-0/tokenizer"):
        share_tokenizer(trained, other)
