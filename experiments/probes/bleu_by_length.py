"""BLEU within ranges of source length, and within resamples of each range's sentences.

BLEU of one range is not BLEU of another, since references differ: only systems within a range are to be compared. How
far a difference between two systems owes to the sentences at hand is told by resampling them, the same for both
(Koehn 2004). So that a verdict can do this from the table alone, BLEU of each range is also given for a fixed series
of resamples, the same for every run: a hundred numbers a range, where counts of every sentence would be thousands.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from data.tasks.translation import Translation
from experiments.probes import bleu_counts
from experiments.probes.measurement import Measurement
from training.evaluation.translator import Translator
from training.run.restore import Restored


def measure(
    run: Restored,
    *,
    split: str,
    edges: Sequence[int],
    draws: int = 100,
    beam_size: int = 1,
    limit: int = 0,
) -> Iterator[Measurement]:
    """`bleu_lowercase` of sources of edges[i] to edges[i + 1] - 1 words, the last range with its end (`place`: middle).

    With it `ngram_precision` in percent, `brevity_penalty` and `length_ratio`, words given over words of the
    references; and `at_decoding_limit`, the share of translations that were cut off where decoding ends. `part` is
    empty for all sentences of the range, and `draw 0`, `draw 1`, ... for resamples, of BLEU and its n-gram precision.
    Greedy where `beam_size` is 1. `limit` takes the first so many examples. Raises ValueError for a task that is not a
    translation, or a model that does not decode.
    """
    if not isinstance(run.task, Translation):
        raise ValueError(f"bleu_by_length: {run.config.task} is not a translation of text; use accuracy_by_length")
    translator = Translator(run, split, beam_size=beam_size, limit=limit)
    text = translator.translate(run.model)
    words_S = np.array([len(line.split()) for line in translator.sources])
    counts_SC = bleu_counts.counts(text.hypotheses, text.references)
    cut_off_S = np.array(translator.cut_off)
    for low, high in ranges(edges):
        here_S = (words_S >= low) & (words_S <= high)
        here_SC, place, answers = counts_SC[here_S], (low + high) / 2, int(here_S.sum())
        if not answers:
            continue
        yield Measurement("bleu_lowercase", bleu_counts.score(here_SC), place, answers=answers)
        for name, value in bleu_counts.parts(here_SC).items():
            yield Measurement(name, value, place, answers=answers)
        yield Measurement("at_decoding_limit", float(cut_off_S[here_S].mean()), place, answers=answers)
        for name, of in (("bleu_lowercase", bleu_counts.score), ("ngram_precision", bleu_counts.precision)):
            for draw, value in enumerate(bleu_counts.resampled(here_SC, draws, of)):
                yield Measurement(name, value, place, f"draw {draw}", answers)


def ranges(edges: Sequence[int]) -> list[tuple[int, int]]:
    """Inclusive (low, high): 10, 20, 30 make 10 to 19 and 20 to 30. Raises ValueError for edges that do not ascend."""
    if len(edges) < 2 or any(a >= b for a, b in zip(edges, edges[1:], strict=False)):
        raise ValueError(f"bleu_by_length: edges = {tuple(edges)} do not ascend; use for example (10, 20, 30)")
    return [(low, high - 1) for low, high in zip(edges[:-2], edges[1:-1], strict=True)] + [(edges[-2], edges[-1])]
