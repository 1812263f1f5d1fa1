"""Language models: windows of one text, every token fed and asked for once."""

import numpy as np
import pytest

import data
from configs import shakespeare
from data.files import Text
from data.pipeline import Batching, eval_batches, train_batches
from data.tasks.language import JoinedParts
from data.tasks.language import shakespeare as shakespeare_task
from data.tokenizers import BOS, EOS
from tests.data.texts import pairs, write

TEXT = "\n".join(pairs(60)[0])


def make(tmp_path, *, tokenizer="char", vocab_size=0, **values):
    write(tmp_path / "input.txt.gz", TEXT.split("\n"))
    config = shakespeare.get_config("gru_decoder")
    config.batch_size = 8
    config.data.update({"dir": str(tmp_path), "cache_dir": str(tmp_path / "cache"), "length": 16} | values)
    config.data.tokenizer.update({"name": tokenizer, "vocab_size": vocab_size})
    return data.build("shakespeare", config.data), config


def whole(task, split, batches):
    """Target tokens in the order of the text, checked to be fed one step later."""
    rows = {i: b for batch in batches for i, b in zip(batch["index"], range(99), strict=False) if i >= 0}
    fed, given = [], []
    for i in sorted(rows):
        batch = next(b for b in batches if i in b["index"])
        row = batch["index"].tolist().index(i)
        weights = batch["target_weights"][row].astype(bool)
        fed += batch["target_in"][row][weights].tolist()
        given += batch["target_out"][row][weights].tolist()
    assert fed == [BOS, *given[:-1]]
    return given


@pytest.mark.parametrize("tokenizer", ["char", "byte"])
def test_evaluation_gives_every_token_once(tmp_path, tokenizer):
    task, config = make(tmp_path, tokenizer=tokenizer)
    given = whole(task, "val", list(eval_batches(task, "val", Batching.of(config))))
    cut = int(len(TEXT + "\n") * 0.9)
    assert task.decode_target(given) == (TEXT + "\n")[cut:]
    assert len(given) == task.num_tokens("val")
    assert task.num_bytes("val") == len((TEXT + "\n")[cut:].encode())
    assert (task.num_tokens("val") == task.num_bytes("val")) == (tokenizer == "byte")


def test_spec_and_shapes(tmp_path):
    task, config = make(tmp_path)
    batch = next(train_batches(task, Batching.of(config)))
    assert batch["source"].shape == batch["source_mask"].shape == (8, 0)
    assert batch["target_in"].shape == (8, 16) and task.lengths("train") is None
    spec = task.spec
    assert (spec.source, spec.source_size, spec.max_source_length, spec.free_running) == ("none", 0, 0, True)
    assert spec.target_size == 4 + len(set(TEXT))
    assert not task.batch("train", 0, np.array([-1]), (0, 16))["target_weights"].any()


def test_an_epoch_tiles_the_text_from_an_offset_of_its_own(tmp_path):
    task, _ = make(tmp_path)
    tokens = task._encoded("train")
    windows = (len(tokens) - 15) // 16
    starts = []
    for epoch in range(3):
        index = np.arange(windows) + epoch * windows
        batch = task.batch("train", 5, index, (0, 16))
        again = task.batch("train", 5, index[::-1], (0, 16))
        np.testing.assert_array_equal(batch["target_out"], again["target_out"][::-1])
        assert batch["target_weights"].all()
        text = {row.tobytes() for row in batch["target_out"]}
        places = [
            p
            for p in range(16)
            if {tokens[s : s + 16].astype(np.int32).tobytes() for s in range(p, p + 16 * windows, 16)} == text
        ]
        assert len(places) == 1
        starts.append(places[0])
    assert len(set(starts)) > 1
    assert (
        task.batch("train", 5, np.arange(4), (0, 16))["target_out"]
        != task.batch("train", 6, np.arange(4), (0, 16))["target_out"]
    ).any()


def test_subwords_read_lines(tmp_path):
    task, config = make(tmp_path, tokenizer="unigram", vocab_size=36, lowercase=True)
    given = whole(task, "val", list(eval_batches(task, "val", Batching.of(config))))
    lines = (TEXT + "\n")[int(len(TEXT + "\n") * 0.9) :].strip("\n").split("\n")
    assert given.count(EOS) == len(lines) and task.decode_target(given) == lines[0].lower()


@pytest.mark.parametrize(("tokenizer", "vocab_size"), [("unigram", 36), ("char", 0), ("byte", 0)])
def test_a_continuation_keeps_the_space_before_it(tmp_path, tokenizer, vocab_size):
    task, _ = make(tmp_path, tokenizer=tokenizer, vocab_size=vocab_size)
    line = task._text_of("train")[0].split("\n")[0]
    at = line.index(" ")
    before, whole = task.encode_target([line[:at], line])
    assert task.continuation(before, whole[len(before) :]) == line[at:]
    assert task.continuation(whole[:0], whole) == line


def test_blank_lines_that_subwords_skip_are_counted(tmp_path):
    task, _ = make(tmp_path, tokenizer="unigram", vocab_size=36)
    task.add_split("whole", ["Hund\n", "Mann"])  # a newline at the end is no blank line
    assert task.notes == []
    task.add_split("gaps", ["Hund\n\nMann\n  \nHund\n", "Mann"])
    assert task.notes == ["gaps: 2 of 6 lines skipped as blank"]
    assert task.num_bytes("gaps") == len("Hund|Mann|Hund|Mann|")
    by_character, _ = make(tmp_path)
    by_character.add_split("gaps", ["Hund\n\nMann"])
    assert by_character.notes == [] and by_character.num_bytes("gaps") == len("Hund\n\nMann")


def test_any_text_can_be_a_split(tmp_path):
    task, config = make(tmp_path)
    task.add_split("mine", ["Hund läuft", "Mann"])
    given = whole(task, "mine", list(eval_batches(task, "mine", Batching.of(config))))
    assert given.count(EOS) == 2 and task.num_bytes("mine") == len("Hund läuft|Mann|".encode())
    with pytest.raises(ValueError, match="split mine has no text"):
        task.add_split("mine", [" "])


def test_refusals(tmp_path):
    task, _ = make(tmp_path)
    with pytest.raises(ValueError, match="split = 'test' is not in this data; choose from train, val"):
        task.num_examples("test")
    with pytest.raises(
        FileNotFoundError, match=r"has no other\.txt\[\.gz\]; give a folder that has it, or another data\.file"
    ):
        make(tmp_path, file="other.txt")
    with pytest.raises(ValueError, match=r"data\.file is empty; name the text in data\.dir"):
        make(tmp_path, file="")
    with pytest.raises(FileNotFoundError, match=r"data\.dir = .*nowhere is not a folder"):
        make(tmp_path, dir=str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match=r"data\.length = 0 is out of range"):
        make(tmp_path, length=0)


def test_tiny_shakespeare_is_split_as_in_nanogpt(longreach_data, tmp_path):
    config = shakespeare.get_config("gru_decoder")
    config.data.update({"dir": str(longreach_data / "tinyshakespeare"), "cache_dir": str(tmp_path)})
    task = shakespeare_task(config.data)
    assert task.spec.target_size == 4 + 65
    assert (task.num_tokens("train"), task.num_tokens("val")) == (1_003_854, 111_540)


def test_the_parts_of_tfds_are_split_as_the_file():
    """TFDS has 90, 5 and 5 %; the last two are the validation text here."""

    class Parts:
        splits = ("train", "val", "test")

        def read(self, split):
            return Text([{"train": TEXT[:90], "val": TEXT[90:95], "test": TEXT[95:100]}[split]], [])

    joined = JoinedParts(Parts())
    assert joined.splits == ("train", "val")
    assert [joined.read(split).documents for split in joined.splits] == [[TEXT[:90]], [TEXT[90:100]]]


def test_a_text_is_known_by_its_content(tmp_path):
    task, _ = make(tmp_path)
    known = task.content_hash("train", "val")
    assert set(known) == {"train", "val"} and known["train"] != known["val"]
    assert make(tmp_path)[0].content_hash("train", "val") == known
    assert make(tmp_path, tokenizer="byte")[0].content_hash("train") == {"train": known["train"]}
