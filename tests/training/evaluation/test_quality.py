"""Quality by hand: means, bins, accuracy against distance and source length, BLEU."""

import numpy as np
import pytest
import sacrebleu

from training.evaluation.quality import (
    MOST_BINS,
    Answers,
    Examples,
    Text,
    bins,
    by_distance,
    by_position,
    by_source_length,
    free_running,
    gather,
    means,
)

# Two batches of two rows; the last row only fills the shape. Examples come out of order.
BATCHES = [
    {
        "index": np.array([2, 0]),
        "source_mask": np.array([[1, 1, 0], [1, 1, 1]], bool),
        "target_weights": np.array([[1, 1], [1, 0]], np.float32),
        "target_out": np.array([[5, 6], [7, 0]]),
        "distance": np.array([[3, 4], [3, -1]]),
    },
    {
        "index": np.array([1, -1]),
        "source_mask": np.array([[1, 0, 0], [0, 0, 0]], bool),
        "target_weights": np.array([[1, 1], [0, 0]], np.float32),
        "target_out": np.array([[8, 9], [0, 0]]),
        "distance": np.array([[4, 9], [-1, -1]]),
    },
]
SCORES = [
    {"nll": np.array([[1.0, 2.0], [3.0, 99.0]]), "correct": np.array([[True, False], [True, True]])},
    {"nll": np.array([[4.0, 5.0], [99.0, 99.0]]), "correct": np.array([[True, True], [False, False]])},
]


@pytest.fixture(scope="module")
def gathered():
    return gather(list(zip(BATCHES, SCORES, strict=True)))


def test_gather_takes_weighted_positions_and_orders_examples(gathered):
    answers, examples = gathered
    np.testing.assert_array_equal(answers.example, [2, 2, 0, 1, 1])
    np.testing.assert_array_equal(answers.nll, [1, 2, 3, 4, 5])
    np.testing.assert_array_equal(examples.number, [0, 1, 2])
    np.testing.assert_array_equal(examples.source_length, [3, 1, 2])


def test_means(gathered):
    assert means(gathered[0]) == {"loss": 3.0, "token_accuracy": 0.8, "exact_match": pytest.approx(2 / 3)}


def test_by_distance(gathered):
    rows = by_distance(gathered[0])
    assert rows == [
        {"low": 3, "high": 3, "num_answers": 2, "token_accuracy": 1.0, "loss": 2.0},
        {"low": 4, "high": 4, "num_answers": 2, "token_accuracy": 0.5, "loss": 3.0},
        {"low": 9, "high": 9, "num_answers": 1, "token_accuracy": 1.0, "loss": 5.0},
    ]


def test_by_position(gathered):
    assert gathered[0].position.tolist() == [0, 1, 0, 0, 1]
    rows = by_position(gathered[0]._replace(position=np.array([0, 1, 2, 3, 9])))
    assert [(row["low"], row["high"], row["num_answers"]) for row in rows] == [
        (0, 0, 1),
        (1, 1, 1),
        (2, 3, 2),
        (8, 9, 1),
    ]
    assert [row["loss"] for row in rows] == [1.0, 2.0, 3.5, 5.0]
    assert [row["token_accuracy"] for row in rows] == [1.0, 0.0, 1.0, 1.0]


def test_by_distance_is_empty_where_nothing_has_one(gathered):
    nowhere = gathered[0]._replace(distance=np.full(5, -1))
    assert by_distance(nowhere) == []


def test_by_source_length(gathered):
    answers, examples = gathered
    rows = by_source_length(answers, examples, examples.source_length, 0, None)
    assert [(row["low"], row["high"], row["num_examples"]) for row in rows] == [(1, 1, 1), (2, 2, 1), (3, 3, 1)]
    assert [row["loss"] for row in rows] == [4.5, 1.5, 3.0]
    assert [row["token_accuracy"] for row in rows] == [1.0, 0.5, 1.0]
    assert [row["exact_match"] for row in rows] == [1.0, 0.0, 1.0]


def test_by_source_length_of_text_counts_words(gathered):
    answers, examples = gathered
    text = Text(["a b c d", "e", "wrong one"], ["A B C D", "e f", "right one"])
    rows = by_source_length(answers, examples, np.array([5, 2, 6]), 5, text)
    assert [(row["low"], row["high"], row["num_examples"]) for row in rows] == [(1, 5, 2), (6, 10, 1)]
    assert [row["exact_match"] for row in rows] == [0.0, 0.0]
    assert rows[0]["loss"] == pytest.approx((3 + 4 + 5) / 3)
    first = sacrebleu.corpus_bleu(["a b c d", "e"], [["A B C D", "e f"]], lowercase=True).score
    assert rows[0]["bleu_lowercase"] == pytest.approx(first) and first > 0


def test_few_values_have_a_bin_each():
    assert bins(np.array([7, 3, 3, 10])) == [(3, 3), (7, 7), (10, 10)]


@pytest.mark.parametrize("width", [0, 5])
def test_many_values_share_bins_that_cover_each_value_once(width):
    values = np.random.default_rng(0).integers(1, 400, 2000)
    found = bins(values, width)
    assert len({high - low for low, high in found}) == 1
    assert (sum(((values >= low) & (values <= high)).astype(int) for low, high in found) == 1).all()
    if width:
        assert all(high - low == 4 and low % 5 == 1 for low, high in found)
    else:
        assert 1 < len(found) <= MOST_BINS


def test_empty_bins_are_left_out():
    assert bins(np.array([1, 3, 88]), 5) == [(1, 5), (86, 90)]


def test_text_scores_are_those_of_sacrebleu_and_its_signature():
    hypotheses = ["The cat sat on the mat .", "a dog runs", "two men"]
    references = ["the cat sat on the mat .", "a dog is running", "Two men"]
    found = Text(hypotheses, references).scores()
    assert found["bleu"] == sacrebleu.corpus_bleu(hypotheses, [references]).score
    lowercase = sacrebleu.corpus_bleu([h.lower() for h in hypotheses], [[r.lower() for r in references]]).score
    assert found["bleu_lowercase"] == pytest.approx(lowercase)
    assert found["bleu"] < found["bleu_lowercase"]
    assert found["chrf"] == sacrebleu.corpus_chrf(hypotheses, [references]).score
    assert "case:mixed" in found["signature"] and "case:lc" in found["signature"] and "tok:13a" in found["signature"]
    assert f"version:{sacrebleu.__version__}" in found["signature"]


def test_exact_match_of_text_ignores_only_spaces_at_the_ends():
    text = Text([" a b ", "a  b", "A b"], ["a b", "a b", "a b"])
    assert text.exact_match() == pytest.approx(1 / 3)
    assert text.part([0]).exact_match() == 1


def test_a_normalization_is_named_beside_the_signature():
    assert "normalized" not in Text(["a"], ["a"]).scores()["signature"]
    signature = Text(["a"], ["a"], normalization="nfkc").scores()["signature"]
    assert signature.endswith("; hypotheses normalized by nfkc, references as written")


def test_exact_match_of_a_lowercased_run_is_of_lowercased_references():
    text = Text(["a dog ."], ["A dog ."])
    assert text.exact_match() == 0 and text._replace(lowercase=True).exact_match() == 1
    assert text._replace(lowercase=True).part([0]).exact_match() == 1


def test_examples_that_are_asked_nothing_are_not_right(gathered):
    answers, examples = gathered
    few = Answers(*(column[2:] for column in answers))  # nothing of example 2, which had the error
    assert means(few)["exact_match"] == 1.0
    assert means(few._replace(correct=np.array([False, True, True])))["exact_match"] == 0.5
    assert [row["low"] for row in by_source_length(few, examples, examples.source_length, 0, None)] == [1, 3]


def test_free_running_compares_the_weighted_positions():
    tokens = {2: np.array([5, 0]), 0: np.array([7, 3]), 1: np.array([8, 9])}
    assert free_running(tokens, BATCHES) == {"token_accuracy": 0.8, "exact_match": pytest.approx(2 / 3)}


def test_teacher_forced_means_agree_with_those_of_training(gathered):
    from training.evaluation.scoring import Means

    total = Means()
    for batch, scores in zip(BATCHES, SCORES, strict=True):
        total.add(batch, scores)
    row = total.metrics(perplexity=True)
    assert {k: v for k, v in row.items() if k != "perplexity"} == pytest.approx(means(gathered[0]))
    assert row["perplexity"] == pytest.approx(np.exp(3.0))
    assert isinstance(gathered[1], Examples) and isinstance(gathered[0], Answers)
