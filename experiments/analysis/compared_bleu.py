"""Comparisons of BLEU from a table that `bleu_by_length` has filled: over seeds, and over resamples of the sentences.

Dims: D draws.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from experiments.analysis import statistics
from experiments.analysis.judge import Comparison
from experiments.analysis.table import Table


class Bleu:
    """BLEU of one system within one range of lengths (`place`, its middle)."""

    by_seed: dict[int, float]
    drawn: dict[int, np.ndarray]  # (D,) by seed; the draws are of the same sentences for every system and seed

    def __init__(self, table: Table, place: float, **cell: Any):
        rows = table.where(measure="bleu_lowercase", place=place, **cell)
        self.by_seed = rows.where(part="").of_seeds()
        self.drawn = {int(seed): _in_order(mine) for seed, mine in rows.by("seed")}

    @property
    def mean(self) -> float:
        """Over seeds; nan where there is none."""
        return float(np.mean(list(self.by_seed.values()))) if self.by_seed else np.nan


def _in_order(rows: Table) -> np.ndarray:
    """The draws of one run, in an order that is the same for all."""
    parts = zip(rows["part"], rows["value"], strict=True)
    return np.array([value for part, value in sorted(parts) if part])


def compared(name: str, quantity: Callable[..., Any], *each: Bleu, not_asked: str = "") -> Comparison:
    """The comparison of `quantity`, elementwise of the BLEU of each, over the seeds that all have."""
    seeds = sorted(set.intersection(*(set(one.by_seed) for one in each)))
    found = [float(quantity(*(one.by_seed[seed] for one in each))) for seed in seeds]
    drawn_ND = [quantity(*(one.drawn[seed] for one in each)) for seed in seeds]
    of_sentences = statistics.sentences_variance(np.mean(drawn_ND, axis=0)) if seeds else 0.0
    return Comparison(name, found, not_asked, of_sentences)


def share(part: Any, whole: Any) -> Any:
    """`part` of `whole`, elementwise; 0 where there is nothing to have a share of."""
    part, whole = np.asarray(part, float), np.asarray(whole, float)
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
