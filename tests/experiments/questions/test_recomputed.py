"""The numbers of each committed verdict, computed again from the rows of its table by pandas, numpy and scipy alone.

Nothing of experiments/ is asked for a number: what a system's effect is, and every interval and p, is written out here.
"""

import dataclasses
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from experiments.questions import NAMES, find
from tests.experiments.questions import test_parity

RESULTS = Path("docs/results")
FEWEST = 5  # seeds


class Claim(NamedTuple):
    kind: str  # larger, smaller, equivalent; more
    limit: float  # least, most or margin
    values: list[
        list[float]
    ]  # of each comparison, one a seed; of `more`, seeds that solve it and seeds, of both systems


def gradient_flow(table: pd.DataFrame) -> Iterator[tuple[str, Claim]]:
    tanh = ["tanh RNN, 0.8", "tanh RNN, 1.0", "tanh RNN, 1.2"]
    lstms = ["LSTM, bias 0", "LSTM, bias 1", "LSTM, chrono"]
    gates, attention = ["GRU", *lstms], [f"Transformer, {n} {norm}-norm" for n in (2, 8) for norm in ("pre", "post")]
    taps = {**dict.fromkeys(tanh + gates, "decoder.0.hidden"), **dict.fromkeys(lstms, "decoder.0.cell")}

    def curves(system: str, trained: bool, control: str = "none") -> dict[float, np.ndarray]:
        """Seed -> (places, powers of ten) of the median norm, of the seeds that learned."""
        mine = table[(table.system == system) & (table.setting == ("trained" if trained else "at the start"))]
        mine = mine[mine.control == control]
        right = mine[(mine.measure == "best_token_accuracy") & (mine.value >= 0.99)].seed
        part = taps.get(system, "decoder.inputs")
        norms = mine[(mine.measure == "gradient_norm_q50") & (mine.part == part) & (mine.place >= 1)]
        norms = norms[(norms.step > 0) == trained]
        found = {}
        for seed, one in norms.groupby("seed"):
            if not trained or seed in set(right):
                one = one.sort_values("place")
                found[seed] = np.array([one.place, np.log10(np.maximum(one.value, 1e-65))])
        return found

    def lost(system: str, trained: bool, control: str = "none") -> dict[float, float]:
        return {seed: power_X[0] - power_X[-1] for seed, (_, power_X) in curves(system, trained, control).items()}

    def less(a: dict[float, float], b: dict[float, float]) -> list[float]:
        return [a[seed] - b[seed] for seed in sorted(a.keys() & b.keys())]

    def straight(system: str) -> list[float]:
        shares = []
        for place_X, power_X in curves(system, False).values():
            kept_X = power_X > -65
            residual_X = power_X[kept_X] - np.polyval(np.polyfit(place_X[kept_X], power_X[kept_X], 1), place_X[kept_X])
            shares.append(1 - residual_X.var() / power_X[kept_X].var() - 0.9)
        return shares

    def size(system: str) -> dict[float, float]:
        return {seed: abs(one) for seed, one in lost(system, False).items()}

    def each(systems: Sequence[str], trained: bool) -> list[list[float]]:
        return [list(lost(system, trained).values()) for system in systems]

    yield "C2", Claim("larger", 1.0, [list(size(system).values()) for system in tanh])
    yield "C2, geometric", Claim("larger", 0.0, [straight(system) for system in tanh])
    yield "C3", Claim("larger", 1.0, [less(size("tanh RNN, 1.0"), size(system)) for system in gates])
    yield "C8", Claim("smaller", 0.5, each(attention, False))
    yield "C8, either way", Claim("equivalent", 0.5, each(attention, False))
    yield "C2, trained", Claim("smaller", 1.0, each(tanh, True))
    yield "C3, trained", Claim("smaller", 1.0, each(gates, True))
    yield "C8, trained", Claim("smaller", 0.5, each(attention, True))
    controls = [
        less(lost(system, True, control), lost(system, True))
        for system in ("tanh RNN, 1.0", "Transformer, 2 pre-norm")
        for control in ("half the rate", "twice the rate", "no clipping")
    ]
    yield "control", Claim("equivalent", 0.5, controls)


def parity(table: pd.DataFrame) -> Iterator[tuple[str, Claim]]:
    rotary, rnns = "Transformer, rotary", ("tanh RNN", "GRU", "LSTM")
    others = [f"Transformer, {name}" for name in ("no positions", "sinusoidal", "ALiBi")]

    def accuracy(system: str, low: int, high: int, control: str = "none") -> pd.Series:
        mine = table[(table.system == system) & (table.control == control) & (table.measure == "token_accuracy")]
        mine = mine[(mine.probe == "accuracy_by_length") & (mine.place > low) & (mine.place <= high)]
        return mine.groupby("seed").value.mean()

    def solved(a: str, b: str, low: int, high: int) -> list[float]:
        each = accuracy(a, low, high), accuracy(b, low, high)
        return [float(n) for one in each for n in ((one >= 0.9).sum(), len(one))] if all(map(len, each)) else []

    def from_chance(system: str, control: str = "none") -> list[float]:
        return (accuracy(system, 40, 400, control) - 0.5).tolist()

    yield "C20", Claim("more", 0.0, [solved(rnn, rotary, 40, 400) for rnn in rnns])
    yield "C20, within", Claim("more", 0.0, [solved(rotary, other, 20, 40) for other in others])
    yield "C20, chance", Claim("equivalent", 0.1, [from_chance(system) for system in (rotary, *others)])
    yield "control, rate", Claim("equivalent", 0.1, [from_chance(rotary, "twice the rate")])


RECOMPUTED: dict[str, Callable[[pd.DataFrame], Iterator[tuple[str, Claim]]]] = {
    "gradient_flow": gradient_flow,
    "parity": parity,
}


def two_sided(values: list[float], against: float) -> float:
    return float(stats.ttest_1samp(values, against).pvalue)


def equivalence(values: list[float], margin: float) -> float:
    above = stats.ttest_1samp(values, -margin, alternative="greater").pvalue
    return float(max(above, stats.ttest_1samp(values, margin, alternative="less").pvalue))


def corrected(p: list[float]) -> list[float]:
    """Holm's: the k-th smallest of m times m - k + 1, and none below one before it."""
    sizes = sorted(p)
    stepped = np.maximum.accumulate([min(1.0, (len(p) - k) * one) for k, one in enumerate(sizes)])
    return [float(stepped[sizes.index(one)]) for one in p]


def fisher(k: float, n: float, other: float, m: float) -> float:
    """The share of tables with these margins that have k or more of n."""
    return float(stats.hypergeom.sf(k - 1, n + m, k + other, n))


def p_of(claim: Claim, values: list[list[float]], says: str) -> list[float]:
    """Of the test that decided, of each comparison that was asked."""
    if claim.kind == "more":
        return corrected([fisher(*one) for one in values])
    if claim.kind == "equivalent" and says != "fails":
        return corrected([equivalence(one, claim.limit) for one in values])
    if claim.kind == "equivalent":
        return corrected([two_sided(one, math.copysign(claim.limit, np.mean(one))) for one in values])
    against = claim.limit if claim.kind == "smaller" or says == "fails" else 0.0
    return corrected([two_sided(one, against) for one in values])


def of_this_version() -> list[str]:
    tables = {name: pd.read_parquet(RESULTS / name / "cpu" / "table.parquet", columns=["version"]) for name in NAMES}
    return [name for name, table in tables.items() if set(table["version"]) == {find(name).VERSION}]


@pytest.mark.parametrize("name", of_this_version())
def test_a_committed_verdict_follows_from_its_rows(name):
    assert name in RECOMPUTED, f"write here what {name} judges, from its rows alone"
    table = pd.read_parquet(RESULTS / name / "cpu" / "table.parquet")
    verdict = json.loads((RESULTS / name / "cpu" / "verdict.json").read_text())
    check(RECOMPUTED[name](table[table.role == "report"]), verdict["findings"])


def test_parity_is_recomputed_as_it_is_judged():
    """By made-up rows, as long as its runs are not finished."""
    table = test_parity.made_up({**test_parity.AS_PREDICTED, "tanh RNN": [(0.99, 0.99), *[(0.5, 0.5)] * 4]})
    check(parity(table), [dataclasses.asdict(one) for one in find("parity").verdict(table)])


def check(recomputed: Iterator[tuple[str, Claim]], judged: list[dict[str, Any]]) -> None:
    findings = {one["claim"]: one for one in judged}
    for claim, expected in recomputed:
        effects = findings[claim]["effects"]
        assert len(effects) == len(expected.values), claim
        asked = [values for values in expected.values if len(values)]
        for effect, values in zip(effects, expected.values, strict=True):
            if not len(values):
                assert effect["says"] not in ("holds", "fails")
                continue
            if expected.kind == "more":
                k, n, other, m = values
                assert effect["size"] == pytest.approx(k / n - other / m) and effect["seeds"] == min(n, m)
                assert effect["p"] == pytest.approx(p_of(expected, asked, "")[asked.index(values)])
                continue
            assert effect["seeds"] == len(values), (claim, effect["name"])
            assert effect["size"] == pytest.approx(np.mean(values), rel=1e-6)
            if len(values) > 1:
                low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
                assert (effect["low"], effect["high"]) == pytest.approx((low, high), rel=1e-6, abs=1e-9)
                p = p_of(expected, asked, effect["says"])[asked.index(values)]
                assert effect["p"] == pytest.approx(p, rel=1e-6), (claim, effect["name"])
                if effect["says"] != "open":
                    assert len(values) >= FEWEST and p < 0.05
