"""Translation from files: what a batch holds, what is left out and said, what is refused."""

import pickle

import numpy as np
import pytest

import data
from configs import translate
from data.tokenizers import BOS, EOS, PAD
from tests.data.texts import pairs, write, write_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("text"), {"train": 200, "val": 20, "test_later": 10})


def make(folder, *, tokenizer_dir=None, tokenizer=None, **values):
    config = translate.get_config("gru").data
    config.update({"dir": str(folder), "source_language": "xx", "target_language": "yy"})
    config.cache_dir = str(folder / "cache") if folder else ""
    config.tokenizer = {"name": "bpe", "vocab_size": 60, "joint": True, "normalization": "identity"} | (tokenizer or {})
    config.update(values)
    return data.build("translate", config, tokenizer_dir=tokenizer_dir)


@pytest.fixture(scope="module")
def task(folder):
    return make(folder)


def test_splits_are_found_in_the_folder(task):
    assert task.splits == ("train", "val", "test_later")
    assert [task.num_examples(split) for split in task.splits] == [200, 20, 10]
    assert task.notes == []


def test_a_translation_is_one_line(tmp_path):
    for name in ("train.xx", "train.yy", "val.xx", "val.yy"):
        write(tmp_path / name, ["one\rtwo", "three", "four"])
    task = make(tmp_path, tokenizer={"name": "byte", "vocab_size": 0})
    assert task.decode_target(task.encode_target(["one\rtwo"])[0]) == "one two"


def test_a_batch(task):
    lengths = task.lengths("val")
    index = np.array([3, -1, 0])
    shape = int(lengths[:, 0].max()) + 2, int(lengths[:, 1].max()) + 1
    batch = task.batch("val", 0, index, shape)
    assert {name: (array.dtype.name, array.shape) for name, array in batch.items()} == {
        "source": ("int32", (3, shape[0])),
        "source_mask": ("bool", (3, shape[0])),
        "target_in": ("int32", (3, shape[1])),
        "target_out": ("int32", (3, shape[1])),
        "target_weights": ("float32", (3, shape[1])),
        "distance": ("int32", (3, shape[1])),
        "index": ("int32", (3,)),
    }
    for row, example in ((0, 3), (2, 0)):
        source, target = batch["source"][row], batch["target_out"][row]
        n, m = lengths[example]
        assert source[n - 1] == EOS and target[m - 1] == EOS and EOS not in source[: n - 1]
        assert (source[n:] == PAD).all() and (target[m:] == PAD).all() and (batch["target_in"][row, m:] == PAD).all()
        assert batch["target_in"][row, 0] == BOS
        np.testing.assert_array_equal(batch["target_in"][row, 1:m], target[: m - 1])
        assert batch["source_mask"][row].sum() == n and batch["source_mask"][row, :n].all()
        assert batch["target_weights"][row].sum() == m and batch["target_weights"][row, :m].all()
        assert task.decode_source(source) == task.source_text("val")[example]
        assert task.decode_target(target) == task.target_text("val")[example]
    for name in ("source", "source_mask", "target_in", "target_out", "target_weights"):
        assert not batch[name][1].any()
    assert batch["index"].tolist() == [3, -1, 0] and (batch["distance"] == -1).all()


def test_an_example_that_does_not_fit_is_refused_and_not_cut(task):
    with pytest.raises(ValueError, match="does not fit a batch of length 1"):
        task.batch("val", 0, np.array([0]), (60, 1))


def test_joint_and_separate_vocabularies(folder, task):
    apart = make(folder, tokenizer={"joint": False, "vocab_size": 45})
    assert task.spec.shared_vocabulary and task.spec.source_size == task.spec.target_size == 60
    assert not apart.spec.shared_vocabulary and apart.spec.eos == EOS and apart.spec.free_running
    source, target = apart.source_text("val")[0], apart.target_text("val")[0]
    assert apart.decode_source(apart.encode_source([source])[0]) == source
    assert apart.decode_target(apart.encode_source([source])[0]) != source
    assert apart.decode_target(apart.encode_target([target])[0]) == target


def test_lowercase_is_of_the_ids_and_not_of_the_text(folder):
    task = make(folder, lowercase=True)
    source = task.source_text("val")[0]
    assert task.decode_source(task.encode_source([source])[0]) == source.lower() != source


def test_long_training_pairs_are_counted_and_left_out_but_evaluation_stays_whole(folder):
    whole, short = make(folder), make(folder, max_length=20)
    fits = (whole.lengths("train") <= 20).all(axis=1)
    assert 0 < fits.sum() < 200
    np.testing.assert_array_equal(short.lengths("train"), whole.lengths("train")[fits])
    lines = [line for line, kept in zip(whole.source_text("train"), fits, strict=True) if kept]
    assert short.source_text("train") == lines
    last = short.batch("train", 0, np.array([fits.sum() - 1]), (20, 20))
    assert short.decode_target(last["target_out"][0]) == short.target_text("train")[-1]
    assert f"train: {200 - fits.sum()} of 200 pairs are longer than data.max_length = 20" in short.notes[0]
    np.testing.assert_array_equal(short.lengths("val"), whole.lengths("val"))
    assert "kept whole" in short.notes[1] and len(short.notes) == 2
    with pytest.raises(
        ValueError, match=r"^data.max_length = \d+ leaves none of the 200 pairs of train, .* \d+ tokens; raise it"
    ):
        make(folder, max_length=2).lengths("train")


def test_train_examples_takes_the_first(folder, task):
    assert make(folder, train_examples=7).source_text("train") == task.source_text("train")[:7]


def test_blank_lines_are_noted(tmp_path):
    write_folder(tmp_path, {"train": 100, "val": 10})
    source, target = pairs(10, 5)
    write(tmp_path / "val.xx", [*source[:4], "", *source[5:]])
    write(tmp_path / "val.yy", target)
    task = make(tmp_path)
    assert task.num_examples("val") == 9 and task.target_text("val")[4] == target[5]
    assert "1 of 10 pairs skipped for a blank side, the first in line 5" in task.notes[0]


def test_a_split_of_any_lines(task):
    task.add_split("mine", ["Hund läuft", "Mann sieht Kind", ""], ["dog runs", "man sees child", "ball"])
    assert task.num_examples("mine") == 3 and "mine" in task.splits
    batch = task.batch("mine", 0, np.array([1, 2]), (30, 30))
    assert task.decode_source(batch["source"][0]) == "Mann sieht Kind" and batch["source_mask"][1].sum() == 1
    with pytest.raises(ValueError, match="2 source lines but 1 target lines"):
        task.add_split("mine", ["a", "b"], ["c"])


def test_evaluation_elsewhere_needs_only_the_run_folder(folder, task, tmp_path):
    made = make(folder, tokenizer_dir=tmp_path / "run")
    write_folder(tmp_path / "other", {"val": 5})
    for language in ("xx", "yy"):  # there, but never to be read
        (tmp_path / "other" / f"train.{language}").write_bytes(b"\xff")
    again = make(tmp_path / "other", tokenizer_dir=tmp_path / "run")
    assert again.spec == made.spec == task.spec
    assert again.encode_source(["Hund"])[0].tolist() == made.encode_source(["Hund"])[0].tolist()
    assert again.num_examples("val") == 5
    with pytest.raises(ValueError, match="not UTF-8"):
        again.num_examples("train")


def test_files_named_one_by_one(folder, task):
    names = {
        f"{split}_{side}": str(folder / f"{split}.{end}")
        for split in ("train", "val")
        for side, end in (("source", "xx"), ("target", "yy"))
    }
    named = make("", cache_dir=str(folder / "cache"), **names)
    assert named.splits == ("train", "val") and named.spec == task.spec
    with pytest.raises(ValueError, match=r"data\.source_language is empty; give the ending of the files"):
        make(folder, source_language="")
    with pytest.raises(ValueError, match=r"data\.val_source is set but data\.val_target is not"):
        make("", **(names | {"val_target": ""}))


def test_refusals(folder, task, tmp_path):
    with pytest.raises(ValueError, match="split = 'tset' is not in this data; choose from train, val, test_later"):
        task.num_examples("tset")
    with pytest.raises(FileNotFoundError, match=r"data\.dir = .* has no train\.xx\[\.gz\] and train\.yy"):
        make(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"data\.dir is empty, so there is no train\.xx"):
        make("")
    with pytest.raises(FileNotFoundError, match=r"data\.dir = .*nowhere is not a folder"):
        make(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"data\.max_length = 1 is out of range"):
        make(folder, max_length=1)


def test_workers_get_ids_and_no_text(task):
    task.lengths("val")
    copy = pickle.loads(pickle.dumps(task))
    assert copy._text == {} and task._text
    one, other = (t.batch("val", 0, np.arange(4), (60, 60)) for t in (task, copy))
    assert all((one[name] == other[name]).all() for name in one)


def test_a_text_is_known_by_its_content_wherever_it_lies(tmp_path):
    here = write_folder(tmp_path / "here", {"train": 200, "val": 20, "test_later": 10})
    there = write_folder(tmp_path / "there", {"train": 200, "val": 20, "test_later": 10})
    known = make(here).content_hash("train", "val")
    assert set(known) == {"train", "val"} and make(there).content_hash("train", "val") == known
    lines = (there / "train.yy").read_text().splitlines()
    (there / "train.yy").write_text("\n".join(reversed(lines)) + "\n")
    changed = make(there).content_hash("train", "val")
    assert changed["train"] != known["train"] and changed["val"] == known["val"]
    assert make(here, train_examples=50).content_hash("train")["train"] != known["train"]
    task = make(here)
    task.num_examples("test_later")
    assert "test_later" in task.content_hash()  # what has been read is told without being asked for
