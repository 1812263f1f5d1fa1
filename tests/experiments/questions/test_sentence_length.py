"""The question `sentence_length`: made-up tables give every outcome, over seeds and over sentences."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from pandas import DataFrame

from data.files import LateCorpus
from data.tasks.multi30k_joined import JoinedCorpus
from experiments.analysis.finding import Outcome
from experiments.analysis.table import of_rows
from experiments.engine import schedule
from experiments.probes import bleu_by_length
from experiments.questions import sentence_length as question
from experiments.questions.question import DOUBLED, NONE
from experiments.questions.sentence_length import (
    ADDITIVE,
    ALL,
    ARMS,
    COPIES,
    COPYING,
    FIXED,
    SCALED,
    SCORES,
    SHORT,
    SYSTEMS,
    TEXT,
    TRANSFORMER,
)
from tests.experiments import panels

WORDS = np.array([14.5, 24.5, 34.5, 44.5, 55.0])
SYMBOLS = np.array([3.0, 8.0, 13.0, 18.0, 23.0, 28.0])
SEEDS, DRAWS = range(5), 40
FLAT = (0.99, 0.98, 0.97)  # accuracy of copies at 3, 13 and 28 symbols
AS_TAUGHT: dict[str, dict[str, tuple[float, ...]]] = {
    ALL: {FIXED: (20.0, 8.0), **dict.fromkeys((*SCORES, TRANSFORMER), (30.0, 28.0))},  # BLEU, shortest and longest
    SHORT: {FIXED: (20.0, 2.0), **dict.fromkeys((*SCORES, TRANSFORMER), (30.0, 27.5))},
    COPIES: {FIXED: (0.9, 0.4, 0.1), **dict.fromkeys((*SCORES, TRANSFORMER), FLAT)},
}


def changed(arm: str, cells):
    """What is taught, but for some cells of one arm."""
    return {**AS_TAUGHT, arm: {**AS_TAUGHT[arm], **cells}}


def made_up(arms, noise=0.005, sentences=0.005, brevity=1.0, cut_off=0.01, more=0.5) -> DataFrame:
    """A table with noise by seed and by draw of sentences, the same for all seeds; as shares of the value. Beyond the
    lengths of training BLEU is `brevity` times precision; twice the steps bring `more` BLEU."""
    rng, rows = np.random.default_rng(0), []
    for arm, systems in arms.items():
        for system, levels in systems.items():
            drawn_XD = rng.normal(1, sentences, (len(WORDS), DRAWS))
            for seed in SEEDS:
                run: dict[str, Any] = {"run": f"{arm}-{system}", "role": "report", "seed": seed, "part": ""}
                run |= {"task": ARMS[arm][0], "arm": arm, "system": system, "control": NONE}
                if ARMS[arm][0] == COPYING:
                    values = np.interp(SYMBOLS, [3.0, 13.0, 28.0], levels) + rng.normal(0, noise / 5, len(SYMBOLS))
                    rows += [
                        {**run, "measure": "token_accuracy", "place": x, "value": y}
                        for x, y in zip(SYMBOLS, values, strict=True)
                    ]
                    rows.append({**run, "measure": "chance_token_accuracy", "value": 0.1})
                    continue
                values = np.interp(WORDS, [WORDS[0], WORDS[-1]], levels) * rng.normal(1, noise, len(WORDS))
                for place, value, drawn_D in zip(WORDS, values, drawn_XD, strict=True):
                    precise = value / (brevity if arm == SHORT and place > 20 else 1)
                    for measure, one in (("bleu_lowercase", value), ("ngram_precision", precise)):
                        here = {**run, "measure": measure, "place": place}
                        rows.append({**here, "value": one})
                        rows += [{**here, "part": f"draw {d}", "value": one * f} for d, f in enumerate(drawn_D)]
                    if arm == ALL and not seed:
                        twice = {**run, "measure": "bleu_lowercase", "place": place, "control": DOUBLED}
                        rows.append({**twice, "value": value + more})
                    limit = {**run, "measure": "at_decoding_limit", "place": place}
                    rows.append({**limit, "value": cut_off + 0.001 * rng.random()})
    return of_rows(rows)


def findings(arms, **options):
    return {finding.claim: finding for finding in question.verdict(made_up(arms, **options))}


def outcomes(arms, **options) -> dict[str, Outcome]:
    return {claim: finding.outcome for claim, finding in findings(arms, **options).items()}


def test_as_taught():
    assert set(outcomes(AS_TAUGHT).values()) == {Outcome.SUPPORTED}


def test_against_what_is_taught():
    found = outcomes(
        {
            ALL: {
                **dict.fromkeys(SYSTEMS, (30.0, 28.0)),
                SCALED: (30.0, 20.0),
            },
            SHORT: {FIXED: (30.0, 25.0), **dict.fromkeys((*SCORES, TRANSFORMER), (15.0, 5.0))},
            COPIES: {FIXED: FLAT, **dict.fromkeys((*SCORES, TRANSFORMER), (0.9, 0.6, 0.1))},
        },
        cut_off=0.2,
        more=5.0,
    )
    assert set(found.values()) == {Outcome.NOT_SUPPORTED}


def test_what_is_lost_to_brevity_is_not_lost_to_content():
    brief = {**AS_TAUGHT[SHORT], **dict.fromkeys((*SCORES, TRANSFORMER), (15.0, 13.5))}
    found = outcomes({**AS_TAUGHT, SHORT: brief}, brevity=0.5)
    assert found["C7, beyond"] is not Outcome.SUPPORTED and found["C7, beyond, precision"] is Outcome.SUPPORTED


def test_within_limits():
    far_behind = changed(ALL, {SCALED: (28.0, 9.0)})
    found = outcomes(far_behind)
    assert found["C7"] is Outcome.WITHIN_LIMITS and found["C6"] is Outcome.SUPPORTED
    assert found["C7, scores"] is Outcome.NOT_SUPPORTED
    assert found["C7, by length"] is Outcome.WITHIN_LIMITS
    found = outcomes(changed(COPIES, {FIXED: FLAT, TRANSFORMER: (0.99, 0.7, 0.1)}))
    assert found["C6"] is found["C7, flat"] is found["C7, beyond"] is Outcome.WITHIN_LIMITS
    assert found["C7"] is Outcome.SUPPORTED


def test_a_lead_that_is_the_same_at_every_length_owes_nothing_to_length():
    found = outcomes(changed(ALL, {FIXED: (20.0, 20.0), **dict.fromkeys((*SCORES, TRANSFORMER), (30.0, 30.0))}))
    assert found["C7"] is Outcome.SUPPORTED and found["C7, by length"] is Outcome.NOT_SUPPORTED


def test_few_sentences_leave_open_what_seeds_agree_on():
    found = findings(changed(ALL, {SCALED: (30.0, 27.0)}), sentences=0.2)
    assert found["C7, scores"].outcome is Outcome.UNDECIDED and found["C7, scores"].seeds_to_decide is None
    sure, unsure = (findings(AS_TAUGHT, sentences=s)["C7"].effects[0] for s in (0.0, 0.2))
    assert unsure.high - unsure.low > 3 * (sure.high - sure.low)


def test_noise_of_seeds_is_undecided_and_says_how_many_would_decide():
    found = findings(changed(ALL, {FIXED: (20.0, 18.0), **dict.fromkeys(SCORES, (30.0, 22.0))}), noise=0.4)
    assert found["C7"].outcome is Outcome.UNDECIDED
    assert found["C7"].seeds_to_decide is None or found["C7"].seeds_to_decide > len(SEEDS)


def test_what_learned_nothing_is_not_asked():
    nothing = {
        arm: dict.fromkeys(systems, (0.3, 0.1, 0.1) if arm == COPIES else (0.5, 0.2))
        for arm, systems in AS_TAUGHT.items()
    }
    found = findings(nothing)
    assert found.pop("levelled off") and found.pop("control, decoding limit")
    assert {finding.outcome for finding in found.values()} == {Outcome.UNDECIDED}
    assert "too little BLEU: additive over fixed vector" in found["C7"].because
    assert "too little BLEU: scaled dot over additive" in found["C7, scores"].because
    assert "too little BLEU: share" in found["C6"].because and "did not learn to copy: " in found["C6"].because


def test_a_fixed_vector_that_translates_nothing_cannot_fall():
    found = findings(changed(ALL, {FIXED: (2.0, 0.5)}))
    assert found["C6"].effects[0].says == "too little BLEU" and found["C7"].outcome is Outcome.SUPPORTED


def test_what_grows_is_kept():
    better = {**AS_TAUGHT[SHORT], ADDITIVE: (40.0, 36.0)}  # trained short, and better than trained on all lengths
    assert outcomes({**AS_TAUGHT, SHORT: better})["C7, beyond"] is Outcome.SUPPORTED


def test_a_partial_table_says_what_was_not_run():
    found = findings({ALL: {ADDITIVE: (30.0, 28.0)}, COPIES: {FIXED: (0.9, 0.4, 0.1)}})
    assert "not run: share of the BLEU of additive, 10 to 19 words to 50 to 60 words" in found["C6"].because
    assert found["C7"].outcome is Outcome.UNDECIDED
    assert TRANSFORMER not in found["C7"].because  # at cpu it does not translate


def test_the_figure_has_a_panel_a_measure_and_a_name_a_system():
    table = made_up(AS_TAUGHT)
    precise = table[table["measure"] == "ngram_precision"]
    drawn = question.figure(pd.concat([table, precise.assign(measure="length_ratio", value=1.1)]))
    assert panels.titles(drawn)[:3] == [title for title, _ in question.MEASURES.values()] and len(drawn) == 6
    assert panels.titles(question.figure(made_up({COPIES: {FIXED: FLAT}}))) == ["Copying, renamed"]
    assert set(panels.names(drawn[0])) == set(panels.names(drawn[2])) == set(SYSTEMS)
    shares = panels.means(drawn[3]).set_index("series").loc[FIXED, "mean"].to_numpy()
    np.testing.assert_allclose(shares[[0, -1]], [20 / 30, 8 / 28], atol=0.05)


@pytest.mark.parametrize("scale", ["smoke", "cpu", "gpu"])
def test_the_grid(scale):
    runs = schedule.grid(question, scale)
    due = schedule.plan(question, scale, lambda due: [{"measure": "best_loss", "value": 1.0}]).runs
    for one in due:
        model = one.config.model
        assert not model.get("bidirectional") and not model.get("reverse_source")
        probes = {probing.probe for probing in one.probes}
        if one.role == "report":
            assert probes == {"bleu_by_length" if one.run.axes["task"] == TEXT else "accuracy_by_length"}
    if scale != "smoke":
        scores = {one.config.model.attention.score for one in due if "attention" in one.config.model}
        assert scores == set(SCORES.values())
        on_text = next(one.config for one in due if one.config.task == "multi30k_joined")
        dealt = JoinedCorpus(LateCorpus(lambda: None), on_text.data).ranges("test_2016_flickr")
        assert dealt == bleu_by_length.ranges(question.EDGES) and on_text.data.min_words == question.EDGES[0]
        assert {run.axes["arm"] for run in runs} == set(ARMS)
