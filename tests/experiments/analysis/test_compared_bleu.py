"""Comparisons of BLEU: over the seeds that all have, with the variance that the draws of sentences give."""

import numpy as np
import pytest
from pandas import DataFrame
from sacrebleu.metrics import BLEU
from sacrebleu.significance import PairedTest

from experiments.analysis.compared_bleu import Bleu, compared, share
from experiments.analysis.table import of_rows
from experiments.probes import bleu_counts

VALUES = {("a", 0): 30.0, ("a", 1): 32.0, ("a", 2): 31.0, ("b", 0): 20.0, ("b", 1): 21.0}
DRAWS = {
    ("a", 0): [29.0, 31.0, 30.0],
    ("a", 1): [31.0, 33.0, 32.0],
    ("a", 2): [0.0, 0.0, 0.0],
    ("b", 0): [20.0, 20.0, 20.0],
    ("b", 1): [22.0, 18.0, 20.0],
}


def table() -> DataFrame:
    rows = [
        {"measure": "bleu_lowercase", "place": 15.0, "system": system, "seed": seed, "part": "", "value": value}
        for (system, seed), value in VALUES.items()
    ]
    for (system, seed), values in DRAWS.items():
        drawn = [
            {
                "measure": "bleu_lowercase",
                "place": 15.0,
                "system": system,
                "seed": seed,
                "part": f"draw {d}",
                "value": value,
            }
            for d, value in enumerate(values)
        ]
        rows += drawn if seed else drawn[::-1]  # their order in the table is of no account
    return of_rows(rows)


def of(system: str, place: float = 15.0) -> Bleu:
    return Bleu(table().query(f"system == {system!r} and place == {place!r}"))


def test_what_the_table_holds():
    assert of("a").by_seed.to_dict() == {0: 30.0, 1: 32.0, 2: 31.0} and of("a").mean == 31.0
    assert of("b").drawn_ND.to_numpy().tolist() == [[20.0] * 3, [22.0, 18.0, 20.0]]
    assert of("c").by_seed.empty and np.isnan(of("c").mean) and of("a", 25.0).by_seed.empty


def test_a_difference_over_common_seeds():
    found = compared("a over b", np.subtract, of("a"), of("b"))
    assert found.differences.tolist() == [10.0, 11.0]
    drawn = [[9.0, 11.0, 10.0], [9.0, 15.0, 12.0]]
    np.testing.assert_allclose(found.drawn_ND, drawn)
    assert compared("a over c", np.subtract, of("a"), of("c")).silent == "not run"
    assert compared("a over b", np.subtract, of("a"), of("b"), not_asked="why").silent == "why"


def test_a_share():
    found = compared("b of a", share, of("b"), of("a"))
    assert found.differences == pytest.approx([20 / 30, 21 / 32])
    np.testing.assert_array_equal(share([1.0, 2.0], [4.0, 0.0]), [0.25, 0.0])
    assert float(share(3.0, 0.0)) == 0.0


def test_resamples_agree_with_sacrebleus_paired_bootstrap():
    """Of one pair of runs: how likely a difference as large is, if there were none (Koehn 2004)."""
    rng = np.random.default_rng(3)
    references = [" ".join(rng.choice(list("abcdefgh"), 12)) for _ in range(150)]
    a, b = (
        [" ".join("x" if rng.random() < share else word for word in line.split()) for line in references]
        for share in (0.20, 0.22)
    )
    counts = [bleu_counts.counts(given, references) for given in (a, b)]
    real = bleu_counts.score(counts[0]) - bleu_counts.score(counts[1])
    drawn_D = np.subtract(*(bleu_counts.resampled(one, 1000) for one in counts))
    named: list = [("a", a), ("b", b)]
    test = PairedTest(named, {"BLEU": BLEU(lowercase=True)}, [references], test_type="bs", n_samples=1000)
    theirs = test()[1]["BLEU"][1].p_value
    assert 0.05 < theirs < 0.95
    shifted_D = np.abs(drawn_D) - np.abs(drawn_D).mean()  # as sacreBLEU does
    assert np.mean(shifted_D > abs(real)) == pytest.approx(theirs, abs=0.05)
