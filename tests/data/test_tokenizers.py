"""Tokenizers: there and back, cached by content, safe when two processes start at once."""

import json
import multiprocessing
import pickle
import subprocess
import sys

import numpy as np
import pytest

from data import tokenizers
from data.tokenizers import EOS, KINDS, PAD, SPECIALS, UNK
from tests.data.texts import pairs

LINES = pairs(300)[0]
SETTINGS = {
    name: {"name": name, "vocab_size": 40 if name in ("unigram", "bpe") else 0, "normalization": "identity"}
    for name in KINDS
}


def obtain(tmp_path, name, lines=LINES, **changes):
    return tokenizers.obtain("joint", SETTINGS[name] | changes, lambda: lines, cache_dir=tmp_path)


@pytest.mark.parametrize("name", sorted(KINDS))
def test_there_and_back(tmp_path, name):
    tokenizer = obtain(tmp_path, name)
    encoded = tokenizer.encode(LINES[:20])
    assert all(ids.dtype == np.int32 and ids.min() >= SPECIALS and ids.max() < tokenizer.size for ids in encoded)
    assert [tokenizer.decode(ids) for ids in encoded] == LINES[:20]
    assert tokenizer.decode([1, *encoded[0], EOS, *encoded[1], PAD]) == LINES[0]
    assert len(tokenizer.pieces(encoded[0])) == len(encoded[0])
    assert pickle.loads(pickle.dumps(tokenizer)).encode(LINES[:1])[0].tolist() == encoded[0].tolist()


def test_bytes_need_no_text_and_no_cache(tmp_path):
    def lines():
        raise AssertionError("there is nothing to learn of bytes")

    folders = {"cache_dir": tmp_path / "cache", "tokenizer_dir": tmp_path / "run"}
    assert tokenizers.obtain("joint", SETTINGS["byte"], lines, **folders).size == SPECIALS + 256
    assert tokenizers.load(tmp_path / "run", "joint") and not (tmp_path / "cache").exists()


def test_characters_that_training_did_not_show_are_unknown(tmp_path):
    assert obtain(tmp_path, "char").encode(["Ж"])[0].tolist() == [UNK]
    assert UNK in obtain(tmp_path, "unigram").encode(["Ж"])[0]
    assert obtain(tmp_path, "byte").decode(obtain(tmp_path, "byte").encode(["Ж"])[0]) == "Ж"


@pytest.mark.parametrize("name", sorted(KINDS))
def test_what_is_called_like_a_special_token_is_text(tmp_path, name):
    lines = [f"{line} <unk> <s> a<pad> </s> \u2581 \u2585 \t x" for line in LINES]
    tokenizer = obtain(tmp_path, name, lines, vocab_size=42 if name in ("unigram", "bpe") else 0)
    for line in (lines[0], "<unk>", "<s></s><pad>", "\u2581"):
        (ids,) = tokenizer.encode([line])
        assert ids.min() >= SPECIALS and tokenizer.decode(ids) == line
    assert tokenizer.pieces(range(SPECIALS)) == list(tokenizers.SPECIAL_NAMES)


@pytest.mark.parametrize("name", sorted(KINDS))
def test_text_comes_back_as_it_is_written(tmp_path, name):
    lines = [f"{line} ﬁne x² ½ e\u0301 é  two\u00a0spaces" for line in LINES]
    tokenizer = obtain(tmp_path, name, lines, vocab_size=42 if name in ("unigram", "bpe") else 0)
    assert tokenizer.decode(tokenizer.encode(lines[:1])[0]) == lines[0]


def test_another_normalization_is_another_tokenizer(tmp_path):
    lines = [f"{line} ﬁne x²  two" for line in LINES]
    written, folded = (
        obtain(tmp_path, "unigram", lines, normalization=normalization, vocab_size=36)
        for normalization in ("identity", "nmt_nfkc")
    )
    assert [t.decode(t.encode(["ﬁne x²  two"])[0]) for t in (written, folded)] == ["ﬁne x²  two", "fine x2 two"]
    assert len(list((tmp_path / "tokenizers").iterdir())) == 2


def test_a_tokenizer_without_the_key_has_the_normalization_of_its_time(tmp_path):
    tokenizers.save(obtain(tmp_path, "unigram"), tmp_path, "joint", tokenizers.settings(SETTINGS["unigram"]))
    described = json.loads((tmp_path / "joint.json").read_text())
    assert described.pop("normalization") == "identity"
    (tmp_path / "joint.json").write_text(json.dumps(described))
    assert tokenizers.load(tmp_path, "joint", tokenizers.Settings("unigram", 40, "nmt_nfkc"))
    with pytest.raises(ValueError, match="normalization = nmt_nfkc, but the config asks for .*= identity"):
        tokenizers.load(tmp_path, "joint", tokenizers.Settings("unigram", 40, "identity"))


def test_char_keeps_the_most_frequent(tmp_path):
    tokenizer = obtain(tmp_path, "char", ["aaabbc"], vocab_size=SPECIALS + 2)
    assert [ids.tolist() for ids in tokenizer.encode(["abc"])] == [[SPECIALS, SPECIALS + 1, UNK]]


@pytest.mark.parametrize("name", sorted(KINDS.keys() - {"byte"}))
def test_training_is_deterministic_and_cached_by_content(tmp_path, name, monkeypatch):
    first = obtain(tmp_path / "a", name)
    assert obtain(tmp_path / "b", name).state() == first.state()
    folders = set((tmp_path / "a" / "tokenizers").iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(KINDS[name], "train", lambda *_: pytest.fail("trained again"), raising=True)
        assert obtain(tmp_path / "a", name).state() == first.state()
    obtain(tmp_path / "a", name, [*LINES, "another line"])
    assert len(set((tmp_path / "a" / "tokenizers").iterdir()) - folders) == 1


def test_the_run_folder_comes_first_and_needs_no_text(tmp_path):
    wanted, folder = SETTINGS["unigram"], tmp_path / "run"
    made = tokenizers.obtain("joint", wanted, lambda: LINES, cache_dir=tmp_path, tokenizer_dir=folder)
    again = tokenizers.obtain("joint", wanted, lambda: pytest.fail("read"), cache_dir="/none", tokenizer_dir=folder)
    assert again.state() == made.state()
    with pytest.raises(
        ValueError, match=r"joint\.json holds .*unigram, vocab_size = 40, .*, but the config asks for name = bpe"
    ):
        tokenizers.obtain("joint", SETTINGS["bpe"], lambda: LINES, tokenizer_dir=folder)
    (folder / "joint.model").write_bytes(made.state()[:-5])
    with pytest.raises(ValueError, match=r"joint\.model is damaged; remove"):
        tokenizers.load(folder, "joint")
    (folder / "joint.model").unlink()
    with pytest.raises(ValueError, match=r"joint\.model is gone; remove"):
        tokenizers.load(folder, "joint")
    for content, said in (
        ("", "is empty"),
        ("\0" * 9, r"is damaged \(Expecting value"),
        ('{"name', "is damaged"),
        ("{}", "describes no tokenizer"),
        ("null", "holds no JSON object"),
        ("[" * 99_999, "is damaged"),
        ('{"name": "words", "vocab_size": 9, "sha256": ""}', "describes no tokenizer"),
        ('{"name": ["bpe"], "vocab_size": 9, "sha256": ""}', "describes no tokenizer"),
    ):
        (folder / "joint.json").write_text(content)
        with pytest.raises(ValueError, match=rf"joint\.json {said}.*; remove .* and run again"):
            tokenizers.load(folder, "joint")


def test_a_cache_that_is_asked_for_and_cannot_be_written_to_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"data\.cache_dir = .*file: .* could not be written \(Not a directory\)"):
        obtain(tmp_path / "file", "char")


@pytest.mark.parametrize("name", ["unigram", "bpe"])
def test_a_vocabulary_that_does_not_fit_says_what_does(tmp_path, name):
    with pytest.raises(ValueError, match=r"vocab_size = 9000 is more than .*; use (\d+) or less") as caught:
        obtain(tmp_path, name, vocab_size=9000)
    fits = int(str(caught.value).split("use ")[1].split()[0])
    assert obtain(tmp_path, name, vocab_size=fits).size == fits
    with pytest.raises(ValueError, match=r"vocab_size = 6 is less than the training text's characters"):
        obtain(tmp_path, name, vocab_size=6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "wordpiece"}, "choose from unigram, bpe, char, byte"),
        ({"vocab_size": 2}, "vocab_size = 2 is too small"),
        ({"normalization": "nfd"}, "choose from identity, nfkc, nmt_nfkc"),
        (
            {"name": "char", "normalization": "nfkc"},
            "normalization = nfkc is of unigram and bpe; use identity with char",
        ),
    ],
)
def test_bad_settings(changes, message):
    with pytest.raises(ValueError, match=message):
        tokenizers.settings(SETTINGS["unigram"] | changes)


def _obtain_at_once(folder, barrier, results):
    barrier.wait()
    results.put(tokenizers.obtain("joint", SETTINGS["unigram"], lambda: LINES, cache_dir=folder).state())


@pytest.mark.processes
def test_two_processes_at_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(2), context.Queue()
    processes = [context.Process(target=_obtain_at_once, args=(tmp_path, barrier, results)) for _ in range(2)]
    for process in processes:
        process.start()
    states = [results.get(timeout=120) for _ in processes]
    for process in processes:
        process.join()
    assert states[0] == states[1] == obtain(tmp_path, "unigram").state()
    left = sorted(path.name for folder in (tmp_path / "tokenizers").iterdir() for path in folder.iterdir())
    assert left == ["tokenizer.json", "tokenizer.model"]  # nothing half-written stays


@pytest.mark.processes
def test_sentencepiece_is_silent_and_imported_only_where_used():
    code = (
        "import sys, data; assert 'sentencepiece' not in sys.modules and 'tensorflow_datasets' not in sys.modules\n"
        "from data.tokenizers import SentencePiece; SentencePiece.train(['a b c', 'd e f'] * 9, 'unigram', 12)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == ""
