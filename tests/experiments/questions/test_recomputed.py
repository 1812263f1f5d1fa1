"""The numbers of each committed verdict, computed again from the rows of its table by pandas, numpy and scipy alone.

Nothing of experiments/ is asked for a number: a system's effects stand in `from_rows.py`, and every interval and
p, what each comparison says, and the outcome are written out here.
"""

import dataclasses
import functools
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, stats

from experiments.questions import find
from tests.experiments import committed
from tests.experiments.questions import test_head_count, test_long_range, test_mixers, test_parity
from tests.experiments.questions.from_rows import RECOMPUTED, Claim, head_count, long_range, mixers, parity

FEWEST = 5  # seeds
ALPHA = 0.05
HOLDS, FAILS, OPEN, NOT_RUN = "holds", "fails", "open", "not run"


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
    if len(values) < 2:
        return 1.0
    if not np.ptp(values):  # all alike: what they are asked against, or surely something else
        return float(np.isclose(values[0], against))
    return 2 * tail(abs(float(np.mean(values)) - against), values, sentences)


def equivalence(values: list[float], margin: float, sentences: float = 0.0) -> float:
    if len(values) < 2:
        return 1.0
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


def p_of(claim: Claim, asked: Mapping[int, float]) -> tuple[list[float], list[float]]:
    """Holm's p of every comparison that was asked: that it holds, and that it fails. `asked` has their variances of
    sentences."""
    each = [(claim.values[n], sentences) for n, sentences in asked.items()]
    if claim.kind == "equivalent":
        within = [equivalence(one, claim.limit, v) for one, v in each]
        beyond = [two_sided(one, math.copysign(claim.limit, np.mean(one)), v) for one, v in each]
        return corrected(within), corrected(beyond)
    from_zero = [two_sided(one, 0.0, v) for one, v in each]
    from_limit = [two_sided(one, claim.limit, v) for one, v in each]
    return corrected(from_zero if claim.kind == "larger" else from_limit), corrected(from_limit)


def says_of(claim: Claim, values: list[float], p_holds: float, p_fails: float) -> str:
    mean = float(np.mean(values))
    on_its_side = {
        "larger": mean >= claim.limit,
        "smaller": mean <= claim.limit,
        "equivalent": abs(mean) <= claim.limit,
    }[claim.kind]
    if len(values) < FEWEST or (p_holds if on_its_side else p_fails) >= ALPHA:
        return OPEN
    return HOLDS if on_its_side else FAILS


def says_more(pairs: list[list[float]]) -> list[tuple[str, float]]:
    """What each comparison of two systems' seeds says, and Holm's p of the test that decided (nan where there was
    none); `pairs` has, of both systems, the seeds that solve it and the seeds. The first has more where Fisher's test
    shows it, the second where it does the other way round. Where all seeds of both solve it, or none of either, it
    says nothing ("")."""
    asked = [one for one in pairs if one and (one[0], one[2]) not in ((0, 0), (one[1], one[3]))]
    p_more = iter(corrected([fisher(k, n, other, m) for k, n, other, m in asked]))
    p_fewer = iter(corrected([fisher(other, m, k, n) for k, n, other, m in asked]))
    said = []
    for one in pairs:
        if one not in asked:
            said.append(("" if one else NOT_RUN, math.nan))
            continue
        more, fewer = next(p_more), next(p_fewer)
        decided = HOLDS if more < ALPHA else FAILS if fewer < ALPHA else OPEN
        says = decided if min(one[1], one[3]) >= FEWEST else OPEN
        said.append((says, fewer if says == FAILS else more))
    return said


def outcome(says: list[str]) -> str:
    """A comparison that says something else counts for nothing; one that is open or not run leaves all undecided,
    unless some hold and some fail."""
    judged = {one for one in says if one in (HOLDS, FAILS, OPEN, NOT_RUN)}
    if {HOLDS, FAILS} <= judged:
        return "supported within limits"
    return {(HOLDS,): "supported", (FAILS,): "not supported"}.get(tuple(judged), "undecided")


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
    assert {claim for claim, _ in recomputed} == {one["claim"] for one in judged}
    check(iter(recomputed), judged)


def test_head_count_is_recomputed_as_it_is_judged():
    """By made-up rows, before all of it has been run: other numbers of seeds solve recall with every head count, some
    heads are needed, and there is another BLEU beside the one that counts."""
    table = test_head_count.made_up(test_head_count.AS_TAUGHT)
    solving = {(1, "none"): 1, (2, "none"): 2, (4, "none"): 0, (8, "none"): 3, (16, "none"): 4, (32, "none"): 5}
    solving |= {(1, "ALiBi"): 2, (8, "ALiBi"): 4}
    answers = table["measure"] == "token_accuracy"
    solved = table["seed"] < [solving.get(key, 0) for key in zip(table["heads"], table["control"], strict=True)]
    table["value"] = table["value"].where(~answers, solved.map({True: 0.95, False: 0.85}))
    idle = (table["measure"] == "loss_increase") & (table["place"] > 2 + table["seed"] % 3)
    table["value"] = table["value"].where(~idle, 0.02 * 1.7 * (table["place"] % 2))
    other = table[table["measure"] == "bleu_lowercase"]
    cased = other.assign(measure="bleu", value=other["value"] - 3 * other["heads"])
    table = pd.concat([table, cased], ignore_index=True)
    judged = [dataclasses.asdict(one) for one in find("head_count").verdict(table)]
    recomputed = list(head_count(table))
    assert {claim for claim, _ in recomputed} == {one["claim"] for one in judged}
    check(iter(recomputed), judged)


def test_long_range_is_recomputed_as_it_is_judged():
    """By made-up rows, before all of it has been run; of tanh RNN and Transformer some seeds learn nothing, and some of
    chrono's are right far away."""
    curves = dict.fromkeys(find("long_range").SYSTEMS, (0.99, 0.99)) | {"LSTM, bias 0": (0.99, 0.85)}
    curves |= {"tanh RNN": (0.6, 0.2), "Transformer": (0.99, 0.97)}
    table = test_long_range.made_up(curves, tasks=find("long_range").TASKS)
    lost = table["system"].isin(["tanh RNN", "Transformer"]) & (table["seed"] < 2)
    lost |= (table["system"] == "LSTM, chrono") & (table["seed"] < 1) | (table["system"] == "GRU") & (table["seed"] < 3)
    table["value"] = table["value"].where(~(lost & (table["measure"] == "token_accuracy")), 0.13)
    judged = [dataclasses.asdict(one) for one in find("long_range").verdict(table)]
    recomputed = list(long_range(table))
    assert {claim for claim, _ in recomputed} == {one["claim"] for one in judged} - {"levelled off"}
    check(iter(recomputed), judged)


def check(recomputed: Iterator[tuple[str, Claim]], judged: list[dict[str, Any]]) -> None:
    findings = {one["claim"]: one for one in judged}
    kinds = {"more": check_counts, "moved": check_moved}
    for claim, expected in recomputed:
        found = findings[claim]
        assert len(found["effects"]) == len(expected.values), claim
        for effect, values in zip(found["effects"], expected.values, strict=True):
            assert values or effect["says"] not in (HOLDS, FAILS, OPEN), (claim, effect["name"])
        says = kinds.get(expected.kind, check_means)(expected, found)
        assert [effect["says"] for effect in found["effects"]] == says, claim
        assert found["outcome"] == outcome(says), claim


def check_means(expected: Claim, found: dict[str, Any]) -> list[str]:
    """Sizes, intervals and p; what each comparison says."""
    effects, drawn = found["effects"], expected.drawn or [None] * len(expected.values)
    asked = {n: of_sentences(drawn[n]) for n, values in enumerate(expected.values) if values}
    p_each = dict(zip(asked, zip(*p_of(expected, asked), strict=True), strict=True))
    rough = any(asked.values())  # by Holm's rule one p depends on the others
    says = []
    for n, (effect, values) in enumerate(zip(effects, expected.values, strict=True)):
        named = found["claim"], effect["name"]
        if expected.drawn:
            assert (effect["sentences"] is None) == (drawn[n] is None), named
        if not values:
            says.append(effect["says"])
            continue
        says.append(says_of(expected, values, *p_each[n]))
        assert effect["seeds"] == len(values), named
        assert effect["size"] == pytest.approx(np.mean(values), rel=1e-6), named
        if len(values) > 1:
            near = 1e-2 if asked[n] else 1e-6  # many terms beside 400, whose tails are thinner
            low, high = interval(values, asked[n])
            assert (effect["low"], effect["high"]) == pytest.approx((low, high), rel=near, abs=near * (high - low))
            p = p_each[n][says[-1] == FAILS]
            close = pytest.approx(p, rel=1e-2 if rough else 1e-6, abs=5e-4 if rough else 1e-12)
            assert (effect["p"] or 0.0) == close, named
        if (resampled := drawn[n]) is not None:
            low, high = np.percentile(resampled.mean(axis=0), [2.5, 97.5])
            assert effect["sentences"] == pytest.approx((low, high), rel=1e-6), named
    return says


def check_counts(expected: Claim, found: dict[str, Any]) -> list[str]:
    """Shares and p of `more`, and the sentence with the median steps; what a comparison says is taken from it."""
    asked = [one for one in expected.values if one]
    p_each = iter(corrected([fisher(*one) for one in asked]))
    for n, (effect, values) in enumerate(zip(found["effects"], expected.values, strict=True)):
        if not values:
            continue
        k, m, other, of = values
        assert effect["size"] == pytest.approx(k / m - other / of) and effect["seeds"] == min(m, of)
        assert effect["p"] == pytest.approx(next(p_each))
        if expected.steps:
            systems = zip(effect["name"].split(" over "), ((k, m), (other, of)), expected.steps[n], strict=True)
            for system, (solved, seeds), steps in systems:
                said = f"{system} {solved:.0f} of {seeds:.0f} seeds" + f", median {steps:,.0f} steps" * (steps > 0)
                assert any(f" {said}{end}" in f"{found['because']}." for end in ";."), (found["claim"], said)
    return [effect["says"] for effect in found["effects"]]


def check_moved(expected: Claim, found: dict[str, Any]) -> list[str]:
    """By how much twice the steps move the mean: counted, so without interval and p."""
    says = []
    for effect, values in zip(found["effects"], expected.values, strict=True):
        if not values:
            says.append(NOT_RUN)
            continue
        says.append(HOLDS if abs(np.mean(values)) < expected.limit else FAILS)
        assert effect["seeds"] == len(values) and effect["size"] == pytest.approx(np.mean(values), rel=1e-6, abs=1e-12)
        assert all(effect[one] is None or math.isnan(effect[one]) for one in ("low", "high", "p") if effect[one])
    return says
