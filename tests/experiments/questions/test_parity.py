"""The question `parity`: made-up tables give every outcome."""

import numpy as np
import pytest
from pandas import DataFrame

from experiments.analysis.finding import Finding, Outcome
from experiments.analysis.table import of_rows
from experiments.engine import schedule
from experiments.questions import parity
from experiments.questions.parity import LEVELLED, LONG, RNNS, SYSTEMS, TRANSFORMERS, TWICE
from experiments.questions.question import DOUBLED, NONE
from tests.experiments import panels

PLACES = np.arange(parity.WIDTH / 2 + 0.5, parity.TESTED_TO, parity.WIDTH)
SEEDS = range(5)
SOLVED, CHANCE, SHORT_ONLY = (0.998, 0.998), (0.5, 0.5), (0.98, 0.51)  # accuracy to 40 bits and beyond
AS_PREDICTED = {**dict.fromkeys(RNNS, SOLVED), **dict.fromkeys(TRANSFORMERS, CHANCE), LONG: SHORT_ONLY}


def made_up(levels, noise=0.003, seeds=SEEDS, doubled=None, twice=SHORT_ONLY) -> DataFrame:
    """Accuracies of each system within and beyond training, a list of them by seed or one for all, with some noise; of
    one seed with twice the steps, and of the rotary Transformer with twice the rate."""
    rng, rows = np.random.default_rng(0), []
    cells = [(system, NONE, level, seeds) for system, level in levels.items()]
    cells += [(system, DOUBLED, (doubled or levels).get(system, levels[system]), seeds[:1]) for system in LEVELLED]
    cells += [(LONG, TWICE, twice, seeds)]
    for system, control, level, some in cells:
        for seed in some:
            within, beyond = level[seed] if isinstance(level, list) else level
            values = np.where(PLACES < parity.TRAINED_TO, within, beyond) + rng.normal(0, noise, len(PLACES))
            run = {"run": f"{system} {control}", "system": system, "control": control, "seed": seed, "role": "report"}
            rows += [
                {**run, "probe": "accuracy_by_length", "measure": "token_accuracy", "place": place, "value": value}
                for place, value in zip(PLACES, values.clip(0, 1), strict=True)
            ]
            steps = 1000.0 + 200 * seed if within > 0.9 else np.nan
            rows.append({**run, "probe": "run", "measure": parity.SOLVED_AT, "value": steps})
    return of_rows(rows)


def findings(levels, **options) -> dict[str, Finding]:
    return {finding.claim: finding for finding in parity.verdict(made_up(levels, **options))}


def outcomes(levels, **options) -> dict[str, Outcome]:
    return {claim: finding.outcome for claim, finding in findings(levels, **options).items()}


def test_as_predicted():
    found = findings(AS_PREDICTED)
    assert {one.outcome for one in found.values()} == {Outcome.SUPPORTED}
    assert "GRU 5 of 5 seeds, median 1,400 steps" in found["C20"].because and "after training" in found["C20"].statement


def test_against_what_is_taught():
    found = outcomes({**dict.fromkeys(RNNS, CHANCE), **dict.fromkeys(TRANSFORMERS, SOLVED)}, twice=SOLVED)
    assert found.pop("levelled off") is found.pop("levelled off, just beyond") is Outcome.SUPPORTED
    assert set(found.values()) == {Outcome.NOT_SUPPORTED}


def test_two_modes_are_counted_and_not_averaged():
    sometimes = [SOLVED, SOLVED, CHANCE, SOLVED, CHANCE]
    found = findings({**AS_PREDICTED, "tanh RNN": sometimes})["C20"]
    assert "tanh RNN 3 of 5 seeds, median 1,200 steps" in found.because
    assert found.effects[0].says == "open" and found.outcome is Outcome.UNDECIDED  # p = .08 by Fisher's test


def test_fewer_than_five_seeds_decide_nothing():
    assert outcomes(AS_PREDICTED, seeds=range(4))["C20"] is Outcome.UNDECIDED


def test_what_had_not_levelled_off_is_said_within_its_budget():
    found = findings(AS_PREDICTED, doubled={LONG: SOLVED})
    assert found["levelled off"].outcome is Outcome.WITHIN_LIMITS
    assert "within 16,000 steps" in found["C20"].statement and "within 16,000 steps" in found["C20, chance"].statement


def test_lengths_just_beyond_training_are_judged_apart():
    just = (PLACES > parity.TRAINED_TO) & (PLACES < parity.TRAINED_TO + parity.WIDTH)
    table = made_up(AS_PREDICTED)
    better = (table["system"] == LONG) & (table["place"] == PLACES[just][0])
    for control, claim in ((NONE, "C20, chance just beyond"), (DOUBLED, "levelled off, just beyond")):
        moved = table.assign(value=table["value"] + 0.3 * (better & (table["control"] == control)))
        found = {one.claim: one for one in parity.verdict(moved)}
        assert found[claim].outcome is Outcome.WITHIN_LIMITS
        assert found["C20, chance"].outcome is Outcome.SUPPORTED and "after training" in found["C20, chance"].statement
        assert "within 16,000 steps" in found["C20"].statement


def test_a_rate_that_makes_the_difference_shows():
    assert outcomes(AS_PREDICTED, twice=SOLVED)["control, rate"] is Outcome.NOT_SUPPORTED


def test_a_partial_table_says_what_was_not_run():
    table = made_up(AS_PREDICTED).query(f"system in ('GRU', {LONG!r}) and control == {NONE!r}")
    found = {one.claim: one for one in parity.verdict(table)}
    assert found["C20"].outcome is Outcome.UNDECIDED and found["levelled off"].outcome is Outcome.UNDECIDED
    assert {one.name: one.says for one in found["C20"].effects}[f"LSTM over {LONG}"] == "not run"


def test_the_figure_has_a_series_a_system():
    drawn = parity.figure(made_up({**AS_PREDICTED, "tanh RNN": [SOLVED, *[CHANCE] * 4]}))
    assert panels.titles(drawn) == ["Parity by length", "21 to 40 bits", "41 to 60 bits", "61 to 400 bits"]
    assert panels.names(drawn[0]) == panels.names(drawn[3]) == list(SYSTEMS)
    assert panels.texts(drawn[3]) == {"chance", "solved"}
    tanh = panels.means(drawn[3]).set_index("series")["seeds"]["tanh RNN"].split(", ")
    assert sum(float(value) > 0.9 for value in tanh) == 1 and len(tanh) == 5


@pytest.mark.parametrize("scale", ["smoke", "cpu", "gpu"])
def test_the_grid(scale):
    runs = schedule.grid(parity, scale)
    plan = schedule.plan(parity, scale, lambda due: [{"measure": "best_loss", "value": 1.0}])
    if scale != "smoke":
        assert {run.axes["system"] for run in runs} == set(SYSTEMS)
        rates = {(due.key.name, due.config.steps): due.tuned for due in plan.runs if due.role == "report"}
        assert (
            rates["gru-doubled-steps", 2 * steps_of(runs, "gru-none")] == rates["gru-none", steps_of(runs, "gru-none")]
        )
    positions = {due.config.model.positions for due in plan.runs if "positions" in due.config.model}
    assert positions == (set(TRANSFORMERS.values()) if scale != "smoke" else {"rotary"})


def steps_of(runs, name) -> int:
    return next(run.overrides["steps"] for run in runs if run.name == name)
