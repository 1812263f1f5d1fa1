"""The pipeline: batch k is the same however it is come by."""

import itertools
import os
import subprocess
import sys

import numpy as np
import pytest

import data
from configs import recall, translate
from data.batch import filled_positions
from data.pipeline import Batching, eval_batches, eval_plan, train_batches, train_plan
from data.plan import BucketPlan
from tests.data.texts import write_folder
from tests.training.processes import ROOT


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    config = translate.get_config("gru")
    config.tokens_per_batch = 800
    config.data.update(
        {
            "dir": str(write_folder(folder, {"train": 600, "val": 50})),
            "cache_dir": str(folder / "cache"),
            "source_language": "xx",
            "target_language": "yy",
            "num_buckets": 4,
            "tokenizer": {"name": "bpe", "vocab_size": 60, "joint": True},
        }
    )
    return config


@pytest.fixture(scope="module")
def task(config):
    return data.build("translate", config.data)


def take(task, config, count, **options):
    batches = train_batches(task, Batching.of(config), **options)
    taken = list(itertools.islice(batches, count))
    batches.close()
    return taken


def batches_an_epoch(task, config) -> int:
    plan = train_plan(task, Batching.of(config))
    assert isinstance(plan, BucketPlan)
    return plan.num_batches


def changed(config, **values):
    config = config.copy_and_resolve_references()
    config.update(values)
    return config


def assert_same(some, others):
    assert len(some) == len(others) > 0
    for one, other in zip(some, others, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])


def test_resuming_gives_exactly_the_batches_to_come(task, config):
    epoch = batches_an_epoch(task, config)
    whole = take(task, config, 2 * epoch + 3)
    for start in (1, epoch - 1, epoch, 2 * epoch):
        assert_same(take(task, config, 3, start=start), whole[start : start + 3])


@pytest.mark.processes
def test_worker_processes_keep_the_order(task, config):
    assert_same(take(task, changed(config, workers=2), 7, start=2), take(task, config, 9)[2:])


LEAVING = """
import data
from configs import recall
from data import pipeline
def main():
    config = recall.get_config("gru")
    config.workers = 1
    batches = pipeline.train_batches(data.build(config.task, config.data), pipeline.Batching.of(config))
    print(next(batches)["source"].shape)
if __name__ == "__main__":
    main()
"""


@pytest.mark.processes
def test_what_workers_have_made_ahead_is_freed_without_a_word(tmp_path):
    program = tmp_path / "leaving.py"
    program.write_text(LEAVING)
    done = subprocess.run(
        [sys.executable, program],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("(")


def test_seed_changes_contents_but_not_shapes(task, config):
    one, two = take(task, config, 8), take(task, changed(config, seed=1), 8)
    shapes = [(batch["source"].shape, batch["target_in"].shape) for batch in one]
    assert shapes == [(batch["source"].shape, batch["target_in"].shape) for batch in two]
    assert not any(np.array_equal(a["index"], b["index"]) for a, b in zip(one, two, strict=True))


def test_every_training_example_once_an_epoch(task, config):
    epoch = take(task, config, batches_an_epoch(task, config))
    index = np.concatenate([batch["index"] for batch in epoch])
    np.testing.assert_array_equal(np.sort(index[index >= 0]), np.arange(600))


@pytest.mark.parametrize("limit", [0, 13])
def test_evaluation_has_every_example_once(task, config, limit):
    batches = list(eval_batches(task, "val", Batching.of(config), limit=limit))
    index = np.concatenate([batch["index"] for batch in batches])
    np.testing.assert_array_equal(np.sort(index[index >= 0]), np.arange(limit or 50))
    assert_same(batches, list(eval_batches(task, "val", Batching.of(changed(config, seed=9)), limit=limit)))


def test_filled_positions_are_those_that_count(task, config):
    for batch in take(task, config, 5):
        assert filled_positions(batch) == batch["source_mask"].sum() + batch["target_weights"].sum()
    assert filled_positions(task.batch("train", 0, np.full(4, -1), (30, 30))) == 0


def test_a_synthetic_task_never_ends():
    config = changed(recall.get_config("gru"), batch_size=8)
    task = data.build("recall", config.data)
    batches = take(task, config, 3, start=1000)
    assert [batch["index"].tolist() for batch in batches] == [[*range(8 * k, 8 * k + 8)] for k in (1000, 1001, 1002)]
    first = eval_plan(task, "val", Batching.of(config), limit=20)
    assert [first.batch(k).index_B.tolist() for k in range(3)][-1][-2:] == [-1, -1] and first.num_batches == 3
    with pytest.raises(ValueError, match="split = train never ends; choose from"):
        eval_batches(task, "train", Batching.of(config))


def test_batches_drawn_together_are_those_drawn_alone(task, config):
    synthetic = changed(recall.get_config("gru"), batch_size=8)
    for one, c in ((task, config), (data.build("recall", synthetic.data), synthetic)):
        plan = train_plan(one, Batching.of(c))
        planned = [plan.batch(k) for k in range(5, 45)]
        assert_same(
            take(one, c, 40, start=5), [one.batch("train", c.seed, index_B, shape) for index_B, shape in planned]
        )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"tokens_per_batch": 0}, "tokens_per_batch = 0 is not a positive whole number"),
        ({"tokens_per_batch": 64}, "tokens_per_batch = 64 has no room for 8 rows"),
        ({"data": {"num_buckets": 0}}, r"data\.num_buckets = 0 is not a positive whole number"),
    ],
)
def test_bad_values(task, config, values, message):
    with pytest.raises(ValueError, match=message):
        train_batches(task, Batching.of(changed(config, **values)))


def test_a_missing_key_is_named(task, config):
    bad = changed(config)
    del bad.tokens_per_batch
    with pytest.raises(ValueError, match="tokens_per_batch is missing"):
        train_batches(task, Batching.of(bad))


def test_closed_batches_end(task, config):
    batches = train_batches(task, Batching.of(config))
    next(batches)
    batches.close()
    assert list(batches) == []
