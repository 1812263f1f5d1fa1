"""Neighbours and analogies by hand, on tables that are known, and what cannot be asked."""

import json

import numpy as np
import pytest

import eval
import train
from tests.training import runs
from training.evaluation import analogies, embeddings
from training.evaluation.embeddings import Table, solve, table_of

WORDS = ["man", "woman", "boy", "girl", "dog"]
VECTORS = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1], [0, 0.9, 1], [-1, 0, 0.1]], float)
PIECES = ["<pad>", "<s>", "</s>", "<unk>", *(f"\u2581{word}" for word in WORDS), "ing", "\u2581"]


@pytest.fixture(scope="module", autouse=True)
def compiled_in_haste():
    with runs.compiled_in_haste():
        yield


@pytest.fixture
def table() -> Table:
    return table_of("target", PIECES, np.concatenate([np.ones((4, 3)), VECTORS, np.ones((2, 3))]))


def test_a_table_has_the_pieces_that_begin_words(table):
    assert table.words == WORDS
    np.testing.assert_allclose(np.linalg.norm(table.vectors_VE, axis=1), 1)
    assert table_of("target", ["<pad>", "<s>", "</s>", "<unk>", "a", "b"], np.ones((6, 2))).words == ["a", "b"]


def test_neighbours_are_by_cosine_and_leave_the_word_out(table):
    found = table.nearest(["man"], table.of("man"), 10)
    assert [one.word for one in found] == ["woman", "boy", "girl", "dog"]
    assert found[0].score == pytest.approx(0.5**0.5) and found[1].score == 0 and found[-1].score < -0.99


def test_an_analogy_is_b_minus_a_plus_c(table):
    found = solve(table, ["man", "woman", "boy"], 2)
    units = VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)
    asked = units[1] - units[0] + units[2]
    assert [one.word for one in found] == ["girl", "dog"]
    assert found[0].score == pytest.approx(units[3] @ asked / np.linalg.norm(asked))


def test_fifty_analogies_of_four_relations():
    asked = analogies.questions()
    assert len(asked) == 50 == len({words for _, words in asked})
    assert {relation for relation, _ in asked} == {"sex", "number", "colour", "tense"}
    assert ("sex", ("man", "woman", "boy", "girl")) in asked and ("sex", ("guys", "ladies", "man", "woman")) in asked


def test_the_score_is_beside_chance_and_random_embeddings(monkeypatch):
    """Embeddings in which each relation is one direction answer all; random ones nearly none."""
    rng, vectors = np.random.default_rng(0), {}
    for pairs in analogies.RELATIONS.values():
        direction = rng.normal(size=64)
        for a, b in pairs:
            vectors.setdefault(a, rng.normal(size=64))
            vectors.setdefault(b, vectors[a] + 2 * direction)
    words = [*vectors, *(f"other{number}" for number in range(400))]
    matrix = np.concatenate([np.ones((4, 64)), [*vectors.values()], rng.normal(size=(400, 64))])
    made = table_of("target", ["<pad>", "<s>", "</s>", "<unk>", *words], matrix)
    monkeypatch.setattr(embeddings, "tables", lambda run, option: [made])
    found = embeddings.score(None)
    rows = found["relations"]
    assert [rows[name]["asked"] for name in ("sex", "number", "colour", "tense", "all")] == [12, 14, 10, 14, 50]
    assert rows["all"]["answered"] > 0.9 and rows["all"]["random"] < 0.2
    assert found["chance"] == pytest.approx(5 / (len(words) - 3)) and found["of"] == 50


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("embeddings")
    text = runs.write_language(folder / "text")
    for name, model in (("gru", "gru_decoder"), ("ngram", "ngram")):
        train.train(runs.language_config(text, model, steps=1), folder / name)
    train.train(runs.config("recall", "gru", steps=1), folder / "recall")
    return folder


def test_characters_have_neighbours_as_well(folder, capsys):
    eval.main([f"--workdir={folder / 'gru'}", "--neighbours=e"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == embeddings.SHOWN and all(len(line.split("  ", 1)) == 2 for line in lines)
    scores = [float(line.split()[0]) for line in lines]
    assert scores == sorted(scores, reverse=True) and scores[0] < 1
    eval.main([f"--workdir={folder / 'gru'}", "--analogy=a:b::c"])
    assert len(capsys.readouterr().out.splitlines()) == embeddings.SHOWN


def test_a_character_that_ends_a_line_is_escaped():
    words = {"\n": "\\n", "a\r": "a\\r", "\t": "\\t", "é": "é", "日": "日", " ": " "}
    assert {word: embeddings.shown(word) for word in words} == words


def test_the_report_of_the_analogies(folder, capsys, monkeypatch):
    everyone = tuple(zip("abcdefghi", "bcdefghij", strict=True))
    monkeypatch.setattr(analogies, "RELATIONS", {"next": everyone})
    eval.main([f"--workdir={folder / 'gru'}", "--analogies"])
    said = capsys.readouterr().out
    found = json.loads((folder / "gru" / "eval" / "analogies.json").read_text())
    eval.main([f"--workdir={folder / 'gru'}", "--analogies", "--checkpoint=last"])
    assert (folder / "gru" / "eval" / "analogies-last.json").is_file() and found["checkpoint_step"] > 0
    assert found["relations"]["all"]["asked"] <= 9 and f"chance {found['chance']:.2%}" in said and "next" in said


@pytest.mark.parametrize(
    ("of", "words", "said"),
    [
        ("gru", ["--neighbours=dog"], "--neighbours = dog: 'dog' is no single token of the vocabulary; use words"),
        ("gru", ["--analogy=a:b::dog"], "--analogy = a:b::dog: 'dog' is no single token"),
        ("gru", ["--analogy=a:b:c"], "--analogy = a:b:c is no question; ask as in --analogy=man:woman::boy"),
        ("gru", ["--analogies"], "--analogies: the vocabulary of shakespeare has the words of none of 50"),
        ("ngram", ["--neighbours=e"], "--neighbours = e: ngram has no token embeddings"),
        ("recall", ["--neighbours=e"], "--neighbours = e: recall has no words; give a run on text"),
        ("gru", ["--neighbours=e", "--split=val"], "--neighbours = e and --split = val exclude each other"),
        ("gru", ["--neighbours=e", "--analogies"], "--neighbours = e and --analogies = True exclude each other"),
    ],
)
def test_what_cannot_be_asked_is_one_line(folder, capsys, of, words, said):
    with pytest.raises(SystemExit) as ended:
        eval.main([f"--workdir={folder / of}", *words])
    printed = capsys.readouterr().err
    assert ended.value.code == 2 and printed.count("\n") == 1 and said in printed, printed
