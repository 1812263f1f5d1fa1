"""Quality of translations: corpus BLEU and chrF of a split, by sacreBLEU (Papineni et al. 2002; Post 2018)."""

from collections.abc import Iterator

import numpy as np

from experiments.probes.measurement import Measurement
from training.evaluation.quality import PARTS
from training.evaluation.translator import Translator
from training.run.restore import Restored


def measure(run: Restored, *, split: str = "val", beam_size: int = 1, limit: int = 0) -> Iterator[Measurement]:
    """`bleu_lowercase`, `bleu` (cased) and `chrf` of the split's first `limit` sentences (0: all), in per cent, and
    what the first is made of, `ngram_precision`, `brevity_penalty` and `length_ratio`. `at_decoding_limit` is the share
    of translations that were cut off where decoding ends, and `part` the split.

    A beam of 1 is greedy decoding; a wider one has the length penalty of eval.py, 0.6. Raises ValueError for a task
    without text to compare, or a model that does not decode.
    """
    translator = Translator(run, split, beam_size=beam_size, limit=limit)
    scores = translator.translate(run.model).scores()
    for name in ("bleu_lowercase", *PARTS, "bleu", "chrf"):
        yield Measurement(name, scores[name], part=split, answers=translator.num_sentences)
    cut_off = float(np.mean(translator.cut_off))
    yield Measurement("at_decoding_limit", cut_off, part=split, answers=translator.num_sentences)
