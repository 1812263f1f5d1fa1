"""The question `long_range`: made-up tables give every outcome, and its smoke scale runs end to end."""

import numpy as np
import pandas as pd
import pytest
from pandas import DataFrame

from experiments.analysis.finding import Outcome
from experiments.analysis.table import of_rows
from experiments.engine import schedule
from experiments.questions import long_range
from experiments.questions.long_range import ATTENTION, CHRONO, GRU, LSTM_0, LSTM_1, RNN, SYSTEMS, TRANSFORMER
from experiments.questions.question import DOUBLED
from tests.experiments import panels

PLACES = np.arange(5.0, 70.0, 5.0)
SEEDS = range(5)
FLAT, FALLING, CHANCE = (0.99, 0.99), (0.95, 0.15), (0.125, 0.125)
AS_TAUGHT = {
    RNN: FALLING,
    LSTM_0: (0.95, 0.2),
    LSTM_1: (0.99, 0.9),
    CHRONO: (0.99, 0.9),
    GRU: (0.99, 0.9),
    ATTENTION: FLAT,
    TRANSFORMER: FLAT,
}


def made_up(curves, tasks=("recall",), noise=0.004) -> DataFrame:
    """A table whose accuracy goes straight from `near` to `far`, with a little noise by seed."""
    rng, rows = np.random.default_rng(0), []
    for task in tasks:
        for system, (near, far) in curves.items():
            for seed in SEEDS:
                run = {"run": f"{task}-{system}", "task": task, "system": system, "seed": seed, "role": "report"}
                run |= {"control": "none"}
                values = np.interp(PLACES, [PLACES[0], PLACES[-1]], [near, far]) + rng.normal(0, noise, len(PLACES))
                rows += [
                    {
                        **run,
                        "probe": "accuracy_by_distance",
                        "measure": "token_accuracy",
                        "place": place,
                        "value": value,
                    }
                    for place, value in zip(PLACES, values.clip(0, 1), strict=True)
                ]
                if task != "adding":
                    rows.append({**run, "measure": "chance_token_accuracy", "value": 0.125})
    return of_rows(rows)


def outcomes(curves, **options) -> dict[str, Outcome]:
    return {finding.claim: finding.outcome for finding in long_range.verdict(made_up(curves, **options))}


def test_as_taught():
    found = outcomes(AS_TAUGHT, tasks=long_range.TASKS)
    assert found.pop("levelled off") is Outcome.UNDECIDED  # nothing was run for longer
    found.pop("levelled off, near to far")
    assert set(found.values()) == {Outcome.SUPPORTED}


def test_what_had_not_levelled_off_is_said_within_its_budget():
    table = made_up(AS_TAUGHT)
    for far, said in (((0.95, 0.15), "after training"), ((0.95, 0.95), "within its budget of steps")):
        longer = made_up({**AS_TAUGHT, RNN: far}).query("seed == 0 and probe == 'accuracy_by_distance'")
        found = long_range.verdict(pd.concat([table, longer.assign(control=DOUBLED)]))
        assert said in found[0].statement and said in found[1].statement


def test_what_is_lost_has_to_level_off_too():
    """Accuracy far away may stay where it is while that near by goes on rising."""
    table = made_up({**AS_TAUGHT, RNN: (0.7, 0.2)})
    for near, said in ((0.72, "after training"), (0.95, "within its budget of steps")):
        longer = made_up({**AS_TAUGHT, RNN: (near, 0.2)}).query("seed == 0 and probe == 'accuracy_by_distance'")
        found = long_range.verdict(pd.concat([table, longer.assign(control=DOUBLED)]))
        assert said in found[0].statement and "after training" in found[1].statement


def test_against_what_is_taught():
    found = outcomes(
        {RNN: FLAT, LSTM_0: FLAT, LSTM_1: FLAT, CHRONO: FLAT, GRU: FLAT, ATTENTION: FALLING, TRANSFORMER: FALLING}
    )
    found.pop("levelled off")
    found.pop("levelled off, near to far")
    assert set(found.values()) == {Outcome.NOT_SUPPORTED}


def test_within_limits():
    found = outcomes({**AS_TAUGHT, GRU: FALLING, CHRONO: FALLING, TRANSFORMER: FALLING})
    found.pop("levelled off")
    found.pop("levelled off, near to far")
    assert found == {"C1": Outcome.SUPPORTED, **dict.fromkeys(("C3", "C3, bias", "C7"), Outcome.WITHIN_LIMITS)}
    tables = [made_up(AS_TAUGHT), made_up({**AS_TAUGHT, RNN: FLAT}, tasks=("copying",))]
    both = pd.concat(tables)
    assert long_range.verdict(both)[0].outcome is Outcome.WITHIN_LIMITS


def test_noise_is_undecided_and_says_how_many_seeds_would_decide():
    found = long_range.verdict(made_up({system: (0.6, 0.5) for system in SYSTEMS}, noise=0.15))
    assert found[0].outcome is Outcome.UNDECIDED
    assert found[0].seeds_to_decide is None or found[0].seeds_to_decide > len(SEEDS)


def test_seeds_that_are_right_far_away_are_counted():
    found = {one.claim: one for one in long_range.verdict(made_up(AS_TAUGHT))}
    assert "GRU, recall 5 of 5 seeds" in found["C3"].because and "tanh RNN, recall 0 of 5 seeds" in found["C3"].because


def test_what_learned_nothing_is_not_asked():
    found = long_range.verdict(made_up(dict.fromkeys(SYSTEMS, CHANCE)))
    by_claim = {finding.claim: finding for finding in found}
    for claim in ("C1", "C7"):
        assert by_claim[claim].outcome is Outcome.UNDECIDED
        assert "too little is learned near by: " in by_claim[claim].because
    assert by_claim["C3"].outcome is Outcome.NOT_SUPPORTED  # no seed of either is right far away


def test_seeds_at_chance_are_no_sign_that_distance_does_not_matter():
    table = made_up({**AS_TAUGHT, TRANSFORMER: FLAT})
    failed = (table["system"] == TRANSFORMER) & (table["seed"] > 1) & (table["probe"] == "accuracy_by_distance")
    found = long_range.verdict(table.assign(value=np.where(failed, 0.125, table["value"])))[3]
    effect = found.effects[-1]
    assert effect.name == f"{TRANSFORMER}, recall (2 of 5 seeds learned)" and effect.seeds == 2
    assert effect.high - effect.low > 0.01  # the interval of two seeds, not of five


def test_answers_at_one_distance_say_nothing_of_distance():
    table = made_up(AS_TAUGHT)
    nearest = np.where(np.isnan(table["place"]), np.nan, np.nanmin(table["place"]))
    found = long_range.verdict(table.assign(place=nearest))
    for one in (found[0], found[3]):
        assert one.outcome is Outcome.UNDECIDED and "all answers lie at one distance: " in one.because


def test_knowing_the_values_without_their_keys_is_chance():
    table = made_up(dict.fromkeys(SYSTEMS, CHANCE))
    level = np.where(table["measure"] == "chance_token_accuracy", 1 / 32, table["value"])
    blind = table.assign(value=level)
    assert long_range.chance(blind, "recall") == 1 / 32
    known = made_up(dict.fromkeys(SYSTEMS, CHANCE))
    known["measure"] = np.where(
        known["measure"] == "chance_token_accuracy", "chance_token_accuracy_in_context", known["measure"]
    )
    both = pd.concat([blind, known])
    assert long_range.chance(both, "recall") == 0.125
    assert long_range.chance(both, "adding") == long_range.ADDING_CHANCE


def test_a_partial_table_says_what_was_not_run():
    found = long_range.verdict(made_up({RNN: FALLING}))
    assert found[0].outcome is Outcome.SUPPORTED
    assert "not run" in found[1].because and found[1].outcome is Outcome.UNDECIDED


def test_the_figure_has_a_panel_a_task_and_a_line_a_system():
    drawn = long_range.figure(made_up(AS_TAUGHT, tasks=("recall", "adding")))
    assert panels.titles(drawn) == ["Associative recall", "Adding problem"]
    assert [panels.names(panel) for panel in drawn] == [list(SYSTEMS)] * 2
    assert [panels.texts(panel) for panel in drawn] == [{"the values, not their keys"}, {"chance"}]


@pytest.mark.parametrize("scale", ["smoke", "cpu", "gpu"])
def test_the_grid(scale):
    runs = schedule.grid(long_range, scale)
    if scale == "smoke":
        assert schedule.plan(long_range, scale, lambda due: None).due
        return
    assert {run.axes["system"] for run in runs} == set(SYSTEMS) and {run.axes["task"] for run in runs} == set(
        long_range.TASKS
    )
    plan = schedule.plan(long_range, scale, lambda due: [{"measure": "best_loss", "value": 1.0}])
    assert plan.waiting == []
    fixed = {one.config.data.get("offset", one.config.data.get("positions", "anywhere")) for one in plan.runs}
    assert fixed == {"anywhere"}  # answers at all distances
