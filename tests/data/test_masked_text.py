"""Hidden tokens: which, how many, how, and always the same ones; and captions of which words changed places."""

import numpy as np
import pytest

import data
from configs import masked_text as masked_config
from configs import word_order as order_config
from data import random
from data.pipeline import Batching, eval_batches, train_batches
from data.tasks.masked_text import chosen, corrupted
from data.tasks.word_order import places, swap
from data.tokenizers import BOS, SPECIALS, UNK
from tests.data.texts import write_multi30k

LONG = np.arange(4096 * 64).reshape(4096, 64) % 50 + SPECIALS
KEYS = random.keys(3, 0, np.arange(4096))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text") / "captions"
    write_multi30k(folder)
    return folder


def make(folder, config, **values):
    config.batch_size = 8
    config.data.update({"dir": str(folder), "cache_dir": str(folder / "cache")} | values)
    config.data.tokenizer.update({"name": "char", "vocab_size": 0})
    return data.build(config.task, config.data), config


def test_fifteen_per_cent_are_chosen_and_of_these_eighty_ten_ten():
    where = chosen(KEYS, LONG > SPECIALS, 0.15)
    assert not where[LONG == SPECIALS].any()
    np.testing.assert_array_equal(where.sum(1), np.rint(0.15 * (LONG > SPECIALS).sum(1)))
    read = corrupted(KEYS, LONG, 54)[where]
    hidden, same = (read == UNK).mean(), (read == LONG[where]).mean()
    assert abs(hidden - 0.8) < 0.01 and abs(same - 0.1 - 0.1 / 50) < 0.01
    assert read[read != UNK].min() == SPECIALS and read.max() == 53
    np.testing.assert_allclose(where[:, 1:-1].mean(0), 0.15, atol=0.03)  # everywhere alike


def test_one_is_chosen_where_there_is_any():
    may = np.arange(64) < np.array([[0], [1], [2], [64]])
    assert chosen(KEYS[:4], may, 0.15).sum(1).tolist() == [0, 1, 1, 10]


def test_batches_ask_for_what_was_hidden_alone(folder):
    task, config = make(folder, masked_config.get_config("gru,multi30k"), length=16)
    batch = next(train_batches(task, Batching.of(config)))
    asked = batch["target_weights"] > 0
    assert batch["source"].shape == batch["target_out"].shape == (8, 16) and 0 < asked.mean() < 0.3
    np.testing.assert_array_equal(batch["source"][~asked], batch["target_out"][~asked])
    assert (batch["source"] == UNK).sum() > 0 and not (batch["target_out"] == UNK).any()
    np.testing.assert_array_equal(batch["source"], batch["target_in"])
    assert (batch["target_out"][asked] >= SPECIALS).all()
    spec = task.spec
    assert (spec.layout, spec.free_running, spec.source_size) == ("aligned", False, spec.target_size)


def test_training_hides_anew_and_evaluation_always_the_same(folder):
    task, config = make(folder, masked_config.get_config("gru,multi30k"), length=16)
    index = np.arange(8)
    for split in ("train", "val"):
        one, other = (task.batch(split, seed, index, (16, 16)) for seed in (1, 2))
        again = task.batch(split, 1, index[::-1], (16, 16))
        for name in ("source", "target_out", "target_weights"):
            np.testing.assert_array_equal(one[name], again[name][::-1])
            assert np.array_equal(one[name], other[name]) == (split == "val")
    tokens = sum(
        (batch["source_mask"] & (batch["index"] >= 0)[:, None]).sum()
        for batch in eval_batches(task, "val", Batching.of(config))
    )
    assert tokens == len(task._encoded("val"))
    weights = [task.batch("val", 0, np.array([i, -1]), (16, 16))["target_weights"] for i in index]
    assert all(one[0].any() and not one[1].any() for one in weights)


def test_a_rate_out_of_range_and_another_corpus_are_refused(folder):
    for values, said in (
        ({"mask_rate": 1.0}, "data.mask_rate = 1.0 is not between"),
        ({"corpus": "fil"}, "did you mean file"),
    ):
        with pytest.raises(ValueError, match=said):
            make(folder, masked_config.get_config("gru,multi30k"), **values)


def test_swapped_words():
    words = ["a", "man", "and", "a", "a", "dog"]
    assert places(words) == [0, 1, 2, 4] and places(["a", "a"]) == []
    swaps = {swap("a man and a a dog", [lot]) for lot in (0.0, 0.3, 0.6, 0.9)}
    assert swap("a b c d", [0.0, 0.4]) == "b c a d" and swap("a b c d", [0.0, 0.0]) == "b a c d"
    assert swaps == {"man a and a a dog", "a and man a a dog", "a man a and a dog", "a man and a dog a"}


def test_labels_say_which_captions_were_changed(folder):
    task, config = make(folder, order_config.get_config("gru"), length=200, labelled_examples=24)
    lines = [line for line in task._text_of("train") if places(line.split())]
    batch = task.batch("train", 0, np.arange(24), (200, 1))
    assert task.num_examples("train") == 24 and (batch["target_in"] == BOS).all()
    for line, ids, mask, label in zip(
        lines, batch["source"], batch["source_mask"], batch["target_out"][:, 0], strict=False
    ):
        read = task.decode_target(ids[mask])
        assert sorted(read.split()) == sorted(line.split()) and (read != line) == bool(label)
    assert 6 <= batch["target_out"].sum() <= 18
    np.testing.assert_array_equal(batch["source"], task.batch("train", 9, np.arange(24), (200, 1))["source"])
    cut, _ = make(folder, order_config.get_config("gru"), length=8)
    assert cut.batch("val", 0, np.array([0, -1]), (8, 1))["target_weights"].tolist() == [[1.0], [0.0]]
    assert any("longer than data.length = 8 tokens and cut" in note for note in cut.notes)
