"""The numbers of each committed verdict, computed again from the rows of its table by pandas, numpy and scipy alone.

Nothing of experiments/ is asked for a number: a system's effects stand in `from_rows.py`, and every interval and
p, what each comparison says, and the outcome are written out in `by_hand.py`.
"""

import dataclasses
import json
import math
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

from experiments.questions import find
from tests.experiments import committed
from tests.experiments.questions import test_head_count, test_long_range, test_mixers, test_parity, test_throughput
from tests.experiments.questions.by_hand import (
    FAILS,
    HOLDS,
    NOT_RUN,
    OPEN,
    interval,
    newcombe,
    of_sentences,
    outcome,
    p_of,
    says_more,
    says_of,
)
from tests.experiments.questions.from_rows import (
    RECOMPUTED,
    Claim,
    head_count,
    long_range,
    mixers,
    parity,
    throughput,
)


def of_this_version() -> list[str]:
    tables = {name: pd.read_parquet(committed.table(name), columns=["version"]) for name in committed.RUN}
    return [name for name, table in tables.items() if set(table["version"]) == {find(name).VERSION}]


@pytest.mark.parametrize("name", of_this_version())
def test_a_committed_verdict_follows_from_its_rows(name):
    assert name in RECOMPUTED, f"write here what {name} judges, from its rows alone"
    table = pd.read_parquet(committed.table(name))
    verdict = json.loads(committed.table(name).with_name("verdict.json").read_text())
    recomputed = list(RECOMPUTED[name](table[table.role == "report"]))
    assert {claim for claim, _ in recomputed} == {one["claim"] for one in verdict["findings"]}
    check(iter(recomputed), verdict["findings"])


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
    assert {claim for claim, _ in recomputed} == {one["claim"] for one in judged}
    check(iter(recomputed), judged)


@pytest.mark.parametrize("more", [{}, {"short": 0.5, "noise": 0.6}, {"repeats": range(4)}])
def test_throughput_is_recomputed_as_it_is_judged(more):
    """By made-up rows of two batches: what is taught, what is open, and too few repeats."""
    table = test_throughput.made_up(**{**test_throughput.AS_TAUGHT, "batches": (4, 32), **more})
    check(throughput(table), [dataclasses.asdict(one) for one in find("throughput").verdict(table)])


def test_what_counted_seeds_say():
    pairs = [[5, 5, 0, 5], [0, 5, 5, 5], [2, 5, 0, 5], [5, 5, 5, 5], []]
    assert [says for says, _ in says_more(pairs)] == [HOLDS, FAILS, OPEN, FAILS, NOT_RUN]
    assert says_more(pairs)[0][1] == pytest.approx(4 / math.comb(10, 5))
    assert says_more([[4, 4, 0, 4]])[0] == (OPEN, pytest.approx(1 / math.comb(8, 4)))  # few seeds decide nothing
    assert says_more([[4, 5, 0, 5]])[0][0] == HOLDS and says_more([[4, 5, 0, 5]] * 3)[0][0] == OPEN


@pytest.mark.parametrize(
    ("says", "expected"),
    [
        ([HOLDS, HOLDS, "at chance"], "supported"),
        ([FAILS, "at chance"], "not supported"),
        ([HOLDS, FAILS, OPEN, NOT_RUN], "supported within limits"),
        ([HOLDS, OPEN], "undecided"),
        ([FAILS, NOT_RUN], "undecided"),
        (["at chance"], "undecided"),
        ([], "undecided"),
    ],
)
def test_the_outcome_of_what_is_said(says, expected):
    assert outcome(says) == expected


VASWANI = {1: (5.29, 24.9), 4: (5.00, 25.5), 8: (4.92, 25.8), 16: (4.91, 25.8), 32: (5.01, 25.4)}  # table 3, row A


def test_head_counts_beside_the_paper_are_those_of_the_rows():
    """Theirs and ours less 8 heads, and our intervals, as the committed page prints them."""
    table = pd.read_parquet(committed.table("head_count"))
    ours = beside_vaswani(dict(head_count(table[table.role == "report"])))
    page = (committed.RESULTS / "head_count.md").read_text().split("\n## Beside Vaswani et al.")[1]
    rows = [line.split("|")[1:-1] for line in page.split("\n## ")[0].splitlines() if line.startswith("|")][2:]
    assert [int(row[0]) for row in rows] == [1, 2, 4, 8, 16, 32]
    for heads, (loss, loss_here, bleu, bleu_here) in ((int(row[0]), row[1:5]) for row in rows):
        if heads in VASWANI:
            perplexity, score = VASWANI[heads]
            assert float(loss) == pytest.approx(math.log(perplexity / VASWANI[8][0]), abs=0.00051)
            assert float(bleu) == pytest.approx(score - VASWANI[8][1], abs=0.01)
        else:
            assert loss.strip() == bleu.strip() == "–"
        for shown, (values, sentences), digit in zip((loss_here, bleu_here), ours[heads], (1e-3, 0.1), strict=True):
            numbers = [float(one) for one in re.findall(r"[+-][\d.]+", shown)]
            means = [0.0] if heads == 8 else [float(np.mean(values)), *interval(values, sentences)]
            assert numbers == pytest.approx(
                means, abs=0.51 * digit + 1e-2 * abs(means[0] - means[-1]) * bool(sentences)
            )


def beside_vaswani(claims: dict[str, Claim]) -> dict[int, list[tuple[list[float], float]]]:
    """Heads -> loss and BLEU, less those of 8, by seed, each with its variance of sentences."""
    found: dict[int, list[tuple[list[float], float]]] = {8: [([], 0.0)] * 2}
    sides = ((1, 2, 4), "C10, several", 1, -1), ((16, 32), "C10, nothing more", -1, 1)  # there 8 heads come first
    for several, claim, of_loss, of_bleu in sides:
        loss, bleu = claims[claim], claims[f"{claim}, BLEU"]
        for n, heads in enumerate(several):
            by_seed = [of_loss * one for one in loss.values[n]], [of_bleu * one for one in bleu.values[n]]
            found[heads] = [(by_seed[0], 0.0), (by_seed[1], of_sentences(bleu.drawn[n]))]
    return found


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
    """Shares and p of `more`, what each comparison says, and the sentence with the median steps."""
    said = says_more(expected.values)
    for n, (effect, values) in enumerate(zip(found["effects"], expected.values, strict=True)):
        if not values:
            continue
        k, m, other, of = values
        assert effect["size"] == pytest.approx(k / m - other / of) and effect["seeds"] == min(m, of)
        assert (effect["low"], effect["high"]) == pytest.approx(newcombe(*values))
        assert effect["p"] == pytest.approx(said[n][1])
        if expected.steps:
            systems = zip(effect["name"].split(" over "), ((k, m), (other, of)), expected.steps[n], strict=True)
            for system, (solved, seeds), (steps, timed) in systems:
                counted = f" {system} {solved:.0f} of {seeds:.0f} seeds"
                few = f" (known of {timed})" * (timed != solved)
                counted += f", median {steps:,.0f} steps{few}" * (timed > 0)
                assert re.search(f"{re.escape(counted)}(;|\\.)", f"{found['because']}."), (found["claim"], counted)
    return [says for says, _ in said]


def check_moved(expected: Claim, found: dict[str, Any]) -> list[str]:
    """By how much twice the steps move the mean: counted, so without interval and p."""
    says = []
    for effect, values in zip(found["effects"], expected.values, strict=True):
        if not values:
            says.append(NOT_RUN)
            continue
        says.append(HOLDS if abs(np.mean(values)) < expected.limit else FAILS)
        assert effect["seeds"] == len(values) and effect["size"] == pytest.approx(np.mean(values), rel=1e-6, abs=1e-12)
        assert effect["p"] is None and not any(math.isfinite(effect[end] or math.nan) for end in ("low", "high"))
    return says
