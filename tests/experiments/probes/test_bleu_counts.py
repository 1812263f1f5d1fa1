"""BLEU from counts is sacreBLEU's, of all lines, of some, and of resamples."""

import numpy as np
import pytest
import sacrebleu

from experiments.probes import bleu_counts

WORDS = ["a", "man", "in", "red", "runs", "across", "the", "street", ",", "while", "two", "dogs", "sleep", "."]


def lines(count=40, share=0.6, seed=0):
    """References, and hypotheses that keep a share of their words."""
    rng = np.random.default_rng(seed)
    references = [" ".join(rng.choice(WORDS, rng.integers(5, 20))) for _ in range(count)]
    given = [" ".join(w.upper() if rng.random() < share else "x" for w in line.split()) for line in references]
    return given, references


@pytest.mark.parametrize("lowercase", [True, False])
def test_the_sum_of_counts_gives_the_corpus_score(lowercase):
    given, references = lines()
    counts_SC = bleu_counts.counts(given, references, lowercase=lowercase)
    expected = sacrebleu.BLEU(lowercase=lowercase).corpus_score(given, [references])
    assert bleu_counts.score(counts_SC) == pytest.approx(expected.score, rel=1e-12) and counts_SC.shape == (40, 10)
    some = [3, 3, 8, 21]
    part = sacrebleu.BLEU(lowercase=lowercase).corpus_score([given[i] for i in some], [[references[i] for i in some]])
    assert bleu_counts.score(counts_SC[some]) == pytest.approx(part.score, rel=1e-12)


def test_the_spread_of_resamples_is_sacrebleus():
    given, references = lines(120)
    drawn_D = bleu_counts.resampled(bleu_counts.counts(given, references), 400)
    found = sacrebleu.BLEU(lowercase=True).corpus_score(given, [references], n_bootstrap=1000)
    low, high = np.quantile(drawn_D, [0.025, 0.975])
    assert (high - low) / 2 == pytest.approx(found._ci, rel=0.15)


def test_two_systems_are_resampled_alike():
    """The difference of two systems that mostly agree varies less than the BLEU of one."""
    (given, references), (better, _) = lines(100, 0.5), lines(100, 0.7)
    one_D, again_D = (bleu_counts.resampled(bleu_counts.counts(given, references), 50) for _ in range(2))
    np.testing.assert_array_equal(one_D, again_D)
    partly = [b if i % 4 else g for i, (g, b) in enumerate(zip(given, better, strict=True))]
    mostly_D = bleu_counts.resampled(bleu_counts.counts(partly, references), 200)
    better_D = bleu_counts.resampled(bleu_counts.counts(better, references), 200)
    assert (better_D - mostly_D).std() < 0.7 * better_D.std()


def test_lines_that_hold_nothing_count():
    assert bleu_counts.score(bleu_counts.counts(["", ""], ["a b", "c d"])) == 0.0
    with pytest.raises(ValueError, match="1 hypotheses and 2 references"):
        bleu_counts.counts([""], ["a", "b"])
