"""Comparisons of BLEU from a table that `bleu_by_length` has filled: over seeds, and over resamples of the sentences.

Dims: N seeds, D draws.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from experiments.analysis.frames import DataFrame, Series
from experiments.analysis.judge import Comparison
from experiments.analysis.table import by_seed, select


class Bleu:
    """BLEU of one system within one range of lengths, by seed; `rows` are that system's of that range."""

    def __init__(self, rows: DataFrame, measure: str = "bleu_lowercase"):
        """`measure` may be a part of BLEU that has draws as well, `ngram_precision`."""
        rows = select(rows, measure=measure)
        self.by_seed: Series = by_seed(rows, part="")
        self.drawn_ND: DataFrame = rows.query("part != ''").pivot(index="seed", columns="part", values="value")
        """The draws are of the same sentences for every system and seed."""

    @property
    def mean(self) -> float:
        """Over seeds; nan where there is none."""
        return float(self.by_seed.mean())


def compared(name: str, quantity: Callable[..., np.ndarray], *each: Bleu, not_asked: str = "") -> Comparison:
    """The comparison of `quantity`, elementwise of the BLEU of each, over the seeds that all have."""
    seeds = sorted(set.intersection(*(set(one.by_seed.index) for one in each)))
    if not seeds:
        return Comparison(name, [], not_asked)
    found_N = np.asarray(quantity(*(one.by_seed.loc[seeds].to_numpy() for one in each)), float)
    drawn_ND = np.asarray(quantity(*(one.drawn_ND.reindex(seeds).to_numpy() for one in each)))
    return Comparison(name, found_N, not_asked, drawn_ND)


def share(part: ArrayLike, whole: ArrayLike) -> np.ndarray:
    """`part` of `whole`, elementwise; 0 where there is nothing to have a share of."""
    parts, wholes = np.asarray(part, float), np.asarray(whole, float)
    return np.divide(parts, wholes, out=np.zeros_like(parts), where=wholes > 0)
