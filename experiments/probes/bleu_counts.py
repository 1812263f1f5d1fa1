"""BLEU from counts, so that it can be had of any choice of lines: of a range of lengths, of a resample.

sacreBLEU counts and scores (Post 2018); sentences are resampled as in Koehn 2004.

Dims: S sentences, D draws, C = 10 counts: words given, words of the reference, n-grams found and given for n = 1 to 4.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

DRAWS_SEED = 20_040_725  # of the resamples, which must be the same for all systems and seeds


def counts(hypotheses: Sequence[str], references: Sequence[str], *, lowercase: bool = True) -> np.ndarray:
    """(S, C) int64 counts of each line. Raises ValueError for lists of different lengths."""
    from sacrebleu.metrics import BLEU

    if len(hypotheses) != len(references):
        raise ValueError(f"{len(hypotheses)} hypotheses and {len(references)} references do not pair up")
    metric = BLEU(lowercase=lowercase)
    scored = [metric.corpus_score([h], [[r]]) for h, r in zip(hypotheses, references, strict=True)]
    return np.array([[one.sys_len, one.ref_len, *one.counts, *one.totals] for one in scored], np.int64).reshape(-1, 10)


def score(counts_SC: np.ndarray) -> float:
    """Corpus BLEU, 0 to 100, of lines with these counts; as sacreBLEU smooths by default."""
    from sacrebleu.metrics import BLEU

    given, reference, *grams = counts_SC.sum(axis=0).tolist()
    return BLEU.compute_bleu(grams[:4], grams[4:], given, reference, smooth_method="exp").score


def parts(counts_SC: np.ndarray) -> dict[str, float]:
    """What that is made of: n-gram precision in percent, times the brevity penalty; and the ratio of lengths."""
    given, reference = counts_SC[:, :2].sum(axis=0).tolist()
    brevity = min(1.0, math.exp(1 - reference / given)) if given else 0.0
    precision = score(counts_SC) / brevity if brevity else 0.0
    return {"ngram_precision": precision, "brevity_penalty": brevity, "length_ratio": given / reference}


def precision(counts_SC: np.ndarray) -> float:
    return parts(counts_SC)["ngram_precision"]


def resampled(counts_SC: np.ndarray, draws: int, of: Callable[[np.ndarray], float] = score) -> np.ndarray:
    """(D,) BLEU of as many lines drawn with replacement. Draw d has the same lines for all systems of equally many."""
    rng = np.random.default_rng(DRAWS_SEED)
    line_DS = rng.integers(0, len(counts_SC), (draws, len(counts_SC)))
    return np.array([of(counts_SC[line_S]) for line_S in line_DS])
