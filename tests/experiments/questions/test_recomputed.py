"""The numbers of each committed verdict, computed again from the rows of its table by pandas, numpy and scipy alone.

Nothing of experiments/ is asked for a number: what a system's effect is, and every interval and p, is written out here.
"""

import dataclasses
import functools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, stats

from experiments.questions import find
from tests.experiments import committed
from tests.experiments.questions import test_mixers, test_parity

FEWEST = 5  # seeds


class Claim(NamedTuple):
    kind: str  # larger, smaller, equivalent; more
    limit: float  # least, most or margin
    values: list[
        list[float]
    ]  # of each comparison, one a seed; of `more`, seeds that solve it and seeds, of both systems
    drawn: Sequence[np.ndarray | None] = ()  # of each comparison, (seeds, draws) on resampled sentences


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


def sentence_length(table: pd.DataFrame) -> Iterator[tuple[str, Claim]]:
    fixed, scores, short, long = "fixed vector", ["additive", "scaled dot"], 14.5, 55.0
    everywhere, briefly = "to 60 words", "to 20 words"

    def found(arm: str, system: str, place: float, measure: str, control: str = "none") -> np.ndarray:
        """(seeds, 1 + draws): as measured, then each resample of the sentences, if there are any."""
        mine = table[
            (table.arm == arm) & (table.system == system) & (table.place == place) & (table.measure == measure)
        ]
        mine = mine[mine.control == control]
        wide = mine.pivot(index="seed", columns="part", values="value")
        return wide.reindex(columns=sorted(wide, key=lambda part: (len(part), part))).to_numpy()

    def bleu(system: str, place: float, arm: str = everywhere, measure: str = "bleu_lowercase") -> np.ndarray:
        return found(arm, system, place, measure)

    def share_lost(system: str) -> np.ndarray:
        return bleu(fixed, short) / bleu(system, short) - bleu(fixed, long) / bleu(system, long)

    def copy_lost(system: str, near: float, far: float) -> np.ndarray:
        near_N, far_N = (found("to 15 symbols", system, place, "token_accuracy") for place in (near, far))
        return near_N - far_N

    def beyond(measure: str) -> list[np.ndarray]:
        pairs = [[bleu(one, n, arm, measure) for arm in (briefly, everywhere)] for one in scores for n in (24.5, long)]
        return [1 - trained_briefly / whole for trained_briefly, whole in pairs]

    def ahead(measure: str) -> list[np.ndarray]:
        return [bleu(one, long, measure=measure) - bleu(fixed, long, measure=measure) for one in scores]

    def kept(system: str) -> np.ndarray:
        return bleu(system, long, briefly) / bleu(system, long)

    def claims() -> Iterator[tuple[str, str, float, list[np.ndarray]]]:
        copies = [*scores, "Transformer"]
        yield "C6", "larger", 0.1, [share_lost("additive"), copy_lost(fixed, 3, 13)]
        yield "C7", "larger", 2.0, ahead("bleu_lowercase")
        yield "C7, precision", "larger", 2.0, ahead("ngram_precision")
        yield "C7, by length", "larger", 0.1, [share_lost(one) for one in scores]
        yield "C7, flat", "equivalent", 0.05, [copy_lost(one, 3, 13) for one in copies]
        yield "C7, beyond", "smaller", 0.1, beyond("bleu_lowercase") + [copy_lost(one, 13, 28) for one in copies]
        yield "C7, beyond, precision", "smaller", 0.1, beyond("ngram_precision")
        yield "C7, beyond, against the fixed vector", "larger", 0.1, [kept("additive") - kept(fixed)]
        yield "C7, scores", "equivalent", 2.0, [bleu("scaled dot", long) - bleu("additive", long)]
        cut_off = [bleu(one, long, measure="at_decoding_limit") for one in (fixed, *scores)]
        yield "control, decoding limit", "smaller", 0.05, cut_off
        twice = {one: found(everywhere, one, long, "bleu_lowercase", "doubled steps") for one in (fixed, *scores)}
        yield "levelled off", "equivalent", 2.0, [more[:, :1] - bleu(one, long)[:1, :1] for one, more in twice.items()]

    for claim, kind, limit, each in claims():
        drawn = [one[:, 1:] if one.shape[1] > 1 else None for one in each]
        yield claim, Claim(kind, limit, [one[:, 0].tolist() for one in each], drawn)


def mixers(table: pd.DataFrame) -> Iterator[tuple[str, Claim]]:
    linear = [f"linear attention, {heads}" for heads in ("16 heads", "4 heads", "1 head")]
    fields = {f"convolutions, {field} tokens": field for field in (9, 17, 31)}
    hybrids = {"3 GRU, 1 attention": "GRU", "linear attention, 1 attention": linear[0]}

    def accuracy(system: str, control: str = "none", low: float = 0, high: float = 999) -> pd.Series:
        mine = table[(table.system == system) & (table.control == control) & table.place.between(low, high)]
        return mine[mine.measure == "token_accuracy"].groupby("seed").value.mean()

    def less(a: pd.Series, b: pd.Series) -> list[float]:
        return [a[seed] - b[seed] for seed in sorted(set(a.index) & set(b.index))]

    def solved(*systems: tuple[str, str]) -> list[float]:
        each = [accuracy(*one) for one in systems]
        return [float(n) for one in each for n in ((one >= 0.9).sum(), len(one))] if all(map(len, each)) else []

    steps_up = list(zip(linear[1:], linear[:-1], strict=True))
    more = [less(accuracy(a), accuracy(b, control)) for control in ("none", "doubled steps") for a, b in steps_up]
    yield "state, bytes", Claim("larger", 0.1, more)
    trained = [less(accuracy(one, "doubled steps"), accuracy(one)) for one in linear[:2]]
    yield "state, training", Claim("smaller", 0.1, trained)
    yield "hybrid", Claim("more", 0.0, [solved((a, "none"), (b, "none")) for a, b in hybrids.items()])
    yield "control, softmax", Claim("more", 0.0, [solved(("softmax attention", "none"), (linear[0], "none"))])
    last = [less(accuracy(one, "none", f - 1, f - 1), accuracy(one, "none", f, f)) for one, f in fields.items()]
    yield "C5", Claim("larger", 0.5, last)
    beyond = [
        (accuracy(one, control, field, end) - 0.125).tolist()
        for one, field in fields.items()
        for control in ("none", "doubled steps")
        for end in (field, 999)
    ]
    yield "C5, beyond", Claim("equivalent", 0.05, beyond)
    far = [accuracy(one, "none", 9) for one in ("3 convolutions, 1 attention", "convolutions, 9 tokens")]
    yield "control, attention", Claim("larger", 0.5, [less(*far)])
    few = [(accuracy(one, "2 pairs") - 0.9).tolist() for one in (linear[0], "GRU")]
    yield "control, pairs", Claim("larger", 0.0, few)
    yield "control, heads", Claim("larger", 0.1, [less(accuracy(linear[2]), accuracy(linear[2], "half the width"))])
    rates = [less(accuracy(a, f"{b} the rate"), accuracy(a)) for a in linear[:2] for b in ("twice", "half")]
    yield "control, rate", Claim("equivalent", 0.1, rates)
    blind = [
        (("3 GRU, 1 attention", f"positions {one}"), ("3 GRU, 1 attention", "sees 4 tokens"))
        for one in ("rotary", "none")
    ]
    yield "control, attention's reach and positions", Claim("more", 0.0, [solved(*pair) for pair in blind])


RECOMPUTED: dict[str, Callable[[pd.DataFrame], Iterator[tuple[str, Claim]]]] = {
    "gradient_flow": gradient_flow,
    "mixers": mixers,
    "parity": parity,
    "sentence_length": sentence_length,
}


def of_sentences(drawn_ND: np.ndarray | None) -> float:
    """The variance of a mean over seeds that other sentences bring: what its draws vary by, without what differs by
    seed and sentence at once, which more seeds would average out."""
    if drawn_ND is None:
        return 0.0
    n, of_mean = len(drawn_ND), drawn_ND.mean(axis=0).var(ddof=1)
    both_at_once = (drawn_ND.var(axis=1, ddof=1).mean() - of_mean) * n / (n - 1)
    return float(max(of_mean - both_at_once / n, 0.0))


def tail(away: float, values: list[float], sentences: float) -> float:
    """One-sided: half of Welch and Satterthwaite's p, half of Behrens and Fisher's, summed up."""
    n = len(values)
    seeds = float(np.var(values, ddof=1)) / n
    welch = stats.t.sf(away / math.sqrt(seeds + sentences), (n - 1) * ((seeds + sentences) / seeds) ** 2)
    if not sentences:
        return float(welch)
    given = stats.norm.sf(away / np.sqrt(seeds * (n - 1) / chi_squared(n - 1) + sentences))
    return float(welch + given.mean()) / 2


@functools.cache
def chi_squared(freedom: int) -> np.ndarray:
    return stats.chi2.ppf((np.arange(50_000) + 0.5) / 50_000, freedom)


def two_sided(values: list[float], against: float, sentences: float = 0.0) -> float:
    return 2 * tail(abs(float(np.mean(values)) - against), values, sentences) if np.ptp(values) else 0.0


def equivalence(values: list[float], margin: float, sentences: float = 0.0) -> float:
    return tail(margin - abs(float(np.mean(values))), values, sentences) if np.ptp(values) else 0.0


def interval(values: list[float], sentences: float) -> tuple[float, float]:
    mean, widest = float(np.mean(values)), 100 * (np.std(values) + math.sqrt(sentences))
    half = optimize.brentq(lambda away: tail(away, values, sentences) - 0.025, 0, widest) if np.ptp(values) else 0.0
    return mean - half, mean + half


def corrected(p: list[float]) -> list[float]:
    """Holm's: the k-th smallest of m times m - k + 1, and none below one before it."""
    sizes = sorted(p)
    stepped = np.maximum.accumulate([min(1.0, (len(p) - k) * one) for k, one in enumerate(sizes)])
    return [float(stepped[sizes.index(one)]) for one in p]


def fisher(k: float, n: float, other: float, m: float) -> float:
    """The share of tables with these margins that have k or more of n."""
    return float(stats.hypergeom.sf(k - 1, n + m, k + other, n))


def p_of(claim: Claim, asked: Mapping[int, float], says: str) -> list[float]:
    """Of the test that decided, of each comparison that was asked; `asked` has their variances of sentences."""
    each = [(claim.values[n], sentences) for n, sentences in asked.items()]
    if claim.kind == "more":
        return corrected([fisher(*one) for one, _ in each])
    if claim.kind == "equivalent" and says != "fails":
        return corrected([equivalence(one, claim.limit, v) for one, v in each])
    if claim.kind == "equivalent":
        return corrected([two_sided(one, math.copysign(claim.limit, np.mean(one)), v) for one, v in each])
    against = claim.limit if claim.kind == "smaller" or says == "fails" else 0.0
    return corrected([two_sided(one, against, v) for one, v in each])


def of_this_version() -> list[str]:
    tables = {name: pd.read_parquet(committed.table(name), columns=["version"]) for name in committed.RUN}
    return [name for name, table in tables.items() if set(table["version"]) == {find(name).VERSION}]


@pytest.mark.parametrize("name", of_this_version())
def test_a_committed_verdict_follows_from_its_rows(name):
    assert name in RECOMPUTED, f"write here what {name} judges, from its rows alone"
    table = pd.read_parquet(committed.table(name))
    verdict = json.loads(committed.table(name).with_name("verdict.json").read_text())
    check(RECOMPUTED[name](table[table.role == "report"]), verdict["findings"])


def test_parity_is_recomputed_as_it_is_judged():
    """By made-up rows, of which some seeds fail: of the committed ones all do, or none."""
    table = test_parity.made_up({**test_parity.AS_PREDICTED, "tanh RNN": [(0.99, 0.99), *[(0.5, 0.5)] * 4]})
    check(parity(table), [dataclasses.asdict(one) for one in find("parity").verdict(table)])


@pytest.mark.parametrize("short", [{}, {"linear attention, 1 attention": {"none": 0.26}}])
def test_mixers_is_recomputed_as_it_is_judged(short):
    """By made-up rows, before it has been run: with everything that it claims, and with a hybrid that restores
    nothing, as predicted."""
    table = test_mixers.made_up(short)
    judged = [dataclasses.asdict(one) for one in find("mixers").verdict(table)]
    recomputed = list(mixers(table))
    assert {claim for claim, _ in recomputed} == {one["claim"] for one in judged} - {"levelled off"}
    check(iter(recomputed), judged)


def check(recomputed: Iterator[tuple[str, Claim]], judged: list[dict[str, Any]]) -> None:
    findings = {one["claim"]: one for one in judged}
    for claim, expected in recomputed:
        effects = findings[claim]["effects"]
        assert len(effects) == len(expected.values), claim
        drawn = expected.drawn or [None] * len(effects)
        asked = {n: of_sentences(drawn[n]) for n, values in enumerate(expected.values) if values}
        for n, (effect, values) in enumerate(zip(effects, expected.values, strict=True)):
            if not values:
                assert effect["says"] not in ("holds", "fails")
                continue
            if expected.kind == "more":
                k, m, other, of = values
                assert effect["size"] == pytest.approx(k / m - other / of) and effect["seeds"] == min(m, of)
                assert effect["p"] == pytest.approx(p_of(expected, asked, "")[list(asked).index(n)])
                continue
            assert effect["seeds"] == len(values), (claim, effect["name"])
            assert effect["size"] == pytest.approx(np.mean(values), rel=1e-6)
            if len(values) > 1:
                near = 1e-2 if asked[n] else 1e-6  # many terms beside 400, whose tails are thinner
                low, high = interval(values, asked[n])
                assert (effect["low"], effect["high"]) == pytest.approx((low, high), rel=near, abs=near * (high - low))
                p = p_of(expected, asked, effect["says"])[list(asked).index(n)]
                close = pytest.approx(p, rel=near, abs=5e-4 if asked[n] else 1e-12)
                assert (effect["p"] or 0.0) == close, (claim, effect["name"])
                if effect["says"] != "open":
                    assert len(values) >= FEWEST and p < 0.05
            if expected.drawn:
                assert (effect["sentences"] is None) == (drawn[n] is None), (claim, effect["name"])
            if (resampled := drawn[n]) is not None:
                low, high = np.percentile(resampled.mean(axis=0), [2.5, 97.5])
                assert effect["sentences"] == pytest.approx((low, high), rel=1e-6)
