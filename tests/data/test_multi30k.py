"""Multi30k: the TFDS builder from raw files, the folder of raw files, and the real text where it is there."""

import re
from types import SimpleNamespace

import numpy as np
import pytest

import data
from configs import multi30k
from data.batch import filled_positions
from data.pipeline import Batching, eval_batches, train_batches, train_plan
from data.plan import BucketPlan
from tests.data.texts import MULTI30K, pairs, write_multi30k


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    return write_multi30k(tmp_path_factory.mktemp("multi30k") / "raw")


@pytest.fixture(scope="module")
def prepared(raw):
    """A folder of TFDS data sets, prepared from the raw files without network and without TensorFlow."""
    from data.multi30k_builder import Multi30k

    builder = Multi30k(raw_dir=raw, data_dir=raw.parent, file_format="array_record")
    builder.download_and_prepare(file_format="array_record")
    return raw.parent


def make(folder, cache_dir, source="de", target="en", **values):
    config = multi30k.get_config("gru")
    config.data.update({"dir": str(folder), "cache_dir": str(cache_dir), "source_language": source})
    config.data.update({"target_language": target, **values})
    return data.build("multi30k", config.data), config


def test_builder_and_raw_folder_give_the_same_text(raw, prepared, tmp_path):
    small = {"tokenizer": {"name": "bpe", "vocab_size": 60, "joint": True}}
    from_raw, _ = make(raw, tmp_path, **small)
    from_tfds, _ = make(prepared, tmp_path, **small)
    assert from_raw.splits == from_tfds.splits == tuple(MULTI30K)
    for seed, (split, count) in enumerate(MULTI30K.items()):
        assert from_raw.num_examples(split) == count
        assert from_raw.source_text(split) == from_tfds.source_text(split) == pairs(count, seed)[0]
        assert from_raw.target_text(split) == from_tfds.target_text(split)
    assert from_raw.spec == from_tfds.spec


def test_any_two_of_the_languages(prepared, tmp_path):
    task, _ = make(prepared, tmp_path, "fr", "de", tokenizer={"name": "char", "vocab_size": 0, "joint": True})
    assert task.source_text("val")[0].isupper() and task.target_text("val") == pairs(20, 1)[0]
    with pytest.raises(ValueError, match=r"data\.source_language = 'cz' is not known; .*choose from de, en, fr"):
        make(prepared, tmp_path, "cz")
    with pytest.raises(ValueError, match=r"data\.target_language = de is the source language too"):
        make(prepared, tmp_path, "de", "de")


def test_a_folder_that_lacks_a_side_says_which(raw, tmp_path):
    folder = write_multi30k(tmp_path / "some")
    (folder / "train.en.gz").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no train\.de\[\.gz\] and train\.en\[\.gz\]"):
        make(folder, tmp_path)
    with pytest.raises(FileNotFoundError, match=r"data\.dir = .*nowhere is not a folder"):
        make(tmp_path / "nowhere", tmp_path)


def test_without_network_the_way_out_is_said_at_once(tmp_path, monkeypatch):
    from data import multi30k_builder as builder

    monkeypatch.setattr(builder, "REPOSITORY", "http://127.0.0.1:9/raw")
    missing = rf"^data\.dir = {tmp_path} has no train\.de\[\.gz\], and no data set of TFDS; .*"
    with pytest.raises(
        ValueError, match=rf"{missing}cannot be downloaded here .*; point data\.dir at a folder that holds train"
    ):
        make(tmp_path, tmp_path)
    assert list(tmp_path.rglob("*.array_record*")) == []


def test_a_download_is_checked(tmp_path, raw):
    from data.multi30k_builder import check_sha256

    with pytest.raises(ValueError, match=r"has sha256 [0-9a-f]{64}, but train\.de\.gz should have 726e39b2"):
        check_sha256(raw / "train.de.gz", "train.de.gz")
    with pytest.raises(ValueError, match=r"but test_2018_flickr\.de\.gz should have ddd0130c"):
        check_sha256(raw / "train.de.gz", "test_2018_flickr.de.gz")


def test_every_file_that_is_downloaded_has_a_checksum_at_one_commit():
    from data.multi30k_builder import SHA256, Multi30k

    urls = Multi30k.urls.fget(SimpleNamespace(_raw_dir=None))
    assert sorted(url.rpartition("/")[2] for url in urls) == sorted(SHA256) and len(set(SHA256.values())) == 18
    assert all(re.search(r"/dataset/[0-9a-f]{40}/data/task1/raw/", url) for url in urls)


@pytest.fixture(scope="module")
def real(longreach_data, tmp_path_factory):
    return make(longreach_data / "multi30k", tmp_path_factory.mktemp("cache"))


def test_the_raw_files_are_those_on_record(longreach_data):
    from data.multi30k_builder import SHA256, check_sha256

    paths = [path for path in (longreach_data / "multi30k").glob("*.gz") if path.name in SHA256]
    assert {"train.de.gz", "val.de.gz", "test_2016_flickr.de.gz"} <= {path.name for path in paths}
    for path in paths:
        check_sha256(path, path.name)


def test_real_text(real):
    task, config = real
    assert [task.num_examples(split) for split in task.splits] == [29_000, 1_014, 1_000]
    assert task.notes == [] and task.spec.source_size == 6000 and task.spec.shared_vocabulary
    lines = task.source_text("val")
    assert [task.decode_source(ids) for ids in task.encode_source(lines[:50])] == [line.lower() for line in lines[:50]]
    unknown = np.mean(np.concatenate(task.encode_source(lines)) == 3)
    assert unknown < 1e-3
    total = sum(batch["target_weights"].sum() for batch in eval_batches(task, "val", Batching.of(config)))
    assert total == task.lengths("val")[:, 1].sum()


def test_share_of_padding_of_an_epoch(real):
    task, config = real
    plan, batches = train_plan(task, Batching.of(config)), train_batches(task, Batching.of(config))
    assert isinstance(plan, BucketPlan)
    positions = filled = 0
    for _ in range(plan.num_batches):
        batch = next(batches)
        positions += batch["source"].size + batch["target_in"].size
        filled += filled_positions(batch)
    batches.close()
    assert len(set(plan.shapes)) == config.data.num_buckets == 20
    assert 1 - filled / positions < 0.08
