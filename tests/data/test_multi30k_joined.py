"""Sentences joined to long examples: from one split alone, in a seed's order, of lengths dealt evenly."""

from collections import Counter

import numpy as np
import pytest

import data
from configs import multi30k_joined as configs
from data import random
from data.files import Parallel
from data.pipeline import Batching, eval_batches
from data.tasks.multi30k_joined import JoinedCorpus, deal
from tests.data.texts import MULTI30K, pairs, write_multi30k

KEY = random.keys(0, 0, np.zeros(1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_multi30k(tmp_path_factory.mktemp("multi30k") / "raw", {**MULTI30K, "train": 600, "val": 60})


def make(folder, setting="all_lengths", **values):
    config = configs.get_config(f"gru,{setting}")
    config.data.update({"dir": str(folder), "cache_dir": str(folder / "cache")})
    config.data.update({"tokenizer": {"name": "char", "vocab_size": 0, "joint": True}, "max_length": 1024, **values})
    return data.build("multi30k_joined", config.data), config


def words(task, split) -> np.ndarray:
    return np.array([len(line.split()) for line in task.source_text(split)])


class Numbered:
    """A corpus whose sentences say which they are, in every word."""

    splits = ("train", "val", "test")

    def read(self, split: str) -> Parallel:
        count, lengths = 300, np.random.default_rng(len(split)).integers(2, 15, 300)
        source = [" ".join([f"{split}-{i}"] * lengths[i]) for i in range(count)]
        return Parallel(source, [f"{split}-{i}" for i in range(count)], ["a note"])


def test_sentences_are_dealt_to_lengths_that_are_even():
    words_N = 4 + np.random.default_rng(0).poisson(7, 6000)
    groups = deal(words_N, 10, 60, KEY)
    used = [i for group in groups for i in group]
    assert len(used) == len(set(used)) > 0.99 * len(words_N)
    counts = Counter(int(words_N[group].sum()) for group in groups)
    assert set(counts) == set(range(10, 61))
    assert min(counts.values()) > 0.9 * len(groups) / 51 and max(counts.values()) < 1.1 * len(groups) / 51
    assert deal(words_N, 10, 60, KEY) == groups != deal(words_N, 10, 60, random.keys(1, 0, np.zeros(1)))


def test_what_the_sentences_allow():
    assert deal(np.array([7, 7, 7, 7]), 10, 20, KEY) in ([[a, b], [c, d]] for a, b, c, d in np.ndindex(4, 4, 4, 4))
    assert deal(np.array([3, 30]), 10, 20, KEY) == []  # 3 adds up to 12, but is there once
    assert sorted(deal(np.array([12, 30, 15]), 10, 20, KEY)) == [[0], [2]]
    assert deal(np.array([5]), 10, 20, KEY) == [] and deal(np.zeros(0, int), 10, 20, KEY) == []


@pytest.mark.parametrize("split", Numbered.splits)
def test_both_sides_hold_the_same_sentences_of_that_split_alone(split):
    config = {
        "min_words": 10,
        "max_words": 40,
        "test_words": 60,
        "train_passes": 1,
        "eval_passes": 1,
        "joins": 0,
        "test_range": 0,
    }
    joined = JoinedCorpus(Numbered(), config)
    assert joined.splits == Numbered.splits
    read = joined.read(split)
    used: list[str] = []
    for source, target in zip(read.source, read.target, strict=True):
        assert list(dict.fromkeys(source.split())) == target.split()
        used += target.split()
        assert 10 <= len(source.split()) <= (60 if split == "test" else 40)
    assert len(used) == len(set(used)) > 280 and all(name.startswith(f"{split}-") for name in used)
    assert read.notes[0] == "a note" and f"joined from {len(used)} sentences" in read.notes[1]


def test_each_range_of_a_test_split_has_all_of_its_sentences():
    config = {
        "min_words": 10,
        "max_words": 40,
        "test_words": 35,
        "train_passes": 1,
        "eval_passes": 1,
        "joins": 0,
        "test_range": 10,
    }
    joined = JoinedCorpus(Numbered(), config)
    assert joined.ranges("test") == [(10, 19), (20, 29), (30, 35)] and joined.ranges("val") == [(10, 40)]
    read = joined.read("test")
    for low, high in joined.ranges("test"):
        used = [
            name
            for source, target in zip(read.source, read.target, strict=True)
            if low <= len(source.split()) <= high
            for name in target.split()
        ]
        assert len(used) == len(set(used)) > 280  # none twice within a range
    whole = JoinedCorpus(Numbered(), {**config, "test_range": 0})
    assert len(read.source) > 2 * len(whole.read("test").source)
    assert whole.read("val").source == joined.read("val").source


def test_each_pass_uses_a_sentence_once(folder):
    once, _ = make(folder, train_passes=1)
    thrice, _ = make(folder, train_passes=3)
    first, all_of_them = once.source_text("train"), thrice.source_text("train")
    assert all_of_them[: len(first)] == first and len(all_of_them) > 2.5 * len(first)
    assert all_of_them[len(first) : 2 * len(first)] != first
    total = sum(len(line.split()) for line in pairs(600, 0)[0])
    assert 0.9 * total < words(once, "train").sum() <= total


def test_the_seed_is_of_the_joins_alone(folder):
    task, again, other = (make(folder, joins=seed)[0] for seed in (0, 0, 1))
    for split in task.splits:
        assert task.source_text(split) == again.source_text(split) != other.source_text(split)


def test_trained_short_and_tested_long(folder):
    task, _ = make(folder, "short")
    assert words(task, "train").max() == words(task, "val").max() == 20
    assert words(task, "test_2016_flickr").max() > 30
    whole, _ = make(folder)
    assert whole.source_text("test_2016_flickr") == task.source_text("test_2016_flickr")
    assert any("test_2016_flickr: " in note and "of 10 to 60 words, joined from" in note for note in task.notes)


def test_batches_hold_the_examples(folder):
    task, config = make(folder, num_buckets=4)
    config.tokens_per_batch = 8192
    seen = 0
    for batch in eval_batches(task, "val", Batching.of(config)):
        for row in np.flatnonzero(batch["index"] >= 0):
            index = int(batch["index"][row])
            assert task.decode_source(batch["source"][row]) == task.source_text("val")[index].lower()
            seen += 1
    assert seen == task.num_examples("val")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"min_words": 0}, r"data\.min_words = 0 is out of range"),
        ({"max_words": 9}, r"data\.max_words = 9 is out of range; use a whole number at least 10 \(data\.min_words\)"),
        ({"test_words": 9}, r"data\.test_words = 9"),
        ({"eval_passes": 0}, r"data\.eval_passes = 0"),
        ({"target_language": "de"}, r"data\.target_language = de is the source language too"),
        ({"min_words": 500, "max_words": 500, "test_words": 500, "train_passes": 1}, "no sentences add up to"),
    ],
)
def test_refusals(folder, values, said):
    with pytest.raises(ValueError, match=said):
        make(folder, **values)[0].num_examples("val")


def test_real_text(longreach_data, tmp_path):
    config = configs.get_config("gru")
    config.data.update({"dir": str(longreach_data / "multi30k"), "cache_dir": str(tmp_path)})
    task = data.build("multi30k_joined", config.data)
    tested_N = words(task, "test_2016_flickr")
    assert [int(np.sum((tested_N >= low) & (tested_N <= low + 9))) > 500 for low in (10, 20, 30, 40, 50)] == [True] * 5
    for split, examples in (("train", 15_000), ("val", 900)):
        words_N = words(task, split)
        assert len(words_N) > examples and (words_N.min(), words_N.max()) == (10, 60)
        shares = np.bincount(words_N, minlength=61)[10:] * 51 / len(words_N)
        assert shares.min() > 0.75 and shares.max() < 1.5
    assert task.lengths("train").max() <= config.data.max_length
