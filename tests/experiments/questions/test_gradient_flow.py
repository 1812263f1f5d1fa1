"""The question `gradient_flow`: made-up curves give every outcome."""

import numpy as np
import pytest
from pandas import DataFrame

from experiments.analysis.finding import Outcome
from experiments.analysis.table import of_rows
from experiments.engine import schedule
from experiments.questions import gradient_flow
from experiments.questions.gradient_flow import (
    ATTENTION,
    CONTROLS,
    DOUBLED,
    GATED,
    HIDDEN,
    MEDIAN,
    NONE,
    START,
    SYSTEMS,
    TANH,
    TRAINED,
)
from tests.experiments import panels

PLACES = np.arange(1.0, 71.0, 5.0)
AS_TAUGHT = {TANH: -0.15, GATED: -0.01, ATTENTION: 0.0}
TRAINED_AS_PREDICTED = {TANH: -0.01, GATED: -0.01, ATTENTION: 0.0}


def made_up(
    start,
    trained=TRAINED_AS_PREDICTED,
    bend=0.0,
    noise=0.02,
    seeds=range(5),
    systems=SYSTEMS,
    by_control=None,
    right=1.0,
) -> DataFrame:
    """Norms of 10 ** (slope * place + bend * place ** 2), by the group's slope at the start and after training; a
    control adds its own slope. `right` is the accuracy after training, by seed or of all."""
    rng, rows = np.random.default_rng(0), []
    for name, system in systems.items():
        cells = [(START, NONE, 0.0), (TRAINED, NONE, 0.0)]
        cells += [(TRAINED, control, (by_control or {}).get(control, 0.0)) for control in (*CONTROLS, DOUBLED)]
        for setting, control, more in cells:
            for seed in seeds:
                run = {"run": f"{name}{setting}{control}", "system": name, "setting": setting, "control": control}
                run |= {"seed": seed, "role": "report", "probe": "gradient_by_time"}
                for step in (0,) if setting == START else (0, 100):
                    slope = (trained if step else start)[system.group] + more
                    for part in {system.state, HIDDEN}:
                        powers = slope * PLACES + bend * (PLACES - 35) ** 2 + rng.normal(0, noise, len(PLACES))
                        rows += [
                            {**run, "step": step, "part": part, "measure": MEDIAN, "place": place, "value": 10.0**power}
                            for place, power in zip(PLACES, powers, strict=True)
                        ]
                    rows.append({**run, "step": step, "measure": "largest_singular_value", "value": 0.9})
                value = right[seed] if isinstance(right, list) else right
                rows.append({**run, "step": 100, "measure": "best_token_accuracy", "value": value})
    return of_rows(rows)


def findings(*args, **options):
    return {finding.claim: finding for finding in gradient_flow.verdict(made_up(*args, **options))}


def outcomes(*args, **options):
    return {claim: finding.outcome for claim, finding in findings(*args, **options).items()}


def test_as_predicted():
    found = findings(AS_TAUGHT)
    assert {one.outcome for one in found.values()} == {Outcome.SUPPORTED}
    assert found["C2, trained"].statement.startswith("After training")


def test_what_had_not_levelled_off_is_said_within_its_budget():
    found = findings(AS_TAUGHT, by_control={DOUBLED: -0.05})
    assert found["levelled off"].outcome is Outcome.NOT_SUPPORTED
    assert found["C2, trained"].statement.startswith("Within 600 to 1,500 steps")


def test_what_has_not_learned_says_nothing_of_training():
    found = findings(AS_TAUGHT, {TANH: -0.8, GATED: -0.8, ATTENTION: -0.8}, right=0.125)
    for claim in ("C2, trained", "C3, trained", "C8, trained", "control"):
        assert "learned by no seed" in found[claim].because and found[claim].outcome is Outcome.UNDECIDED
    assert found["C2"].outcome is Outcome.SUPPORTED


def test_seeds_that_did_not_learn_are_counted_and_left_out():
    found = findings(AS_TAUGHT, right=[1.0, 1.0, 0.125, 1.0, 1.0])
    effect = found["C2, trained"].effects[0]
    assert effect.seeds == 4 and "4 of 5 seeds learned" in effect.name


def test_a_rate_that_makes_the_curve_shows():
    found = findings(AS_TAUGHT, by_control={"twice the rate": -0.05})
    assert found["control"].outcome is Outcome.WITHIN_LIMITS


def test_an_explosion_is_no_less_geometric():
    found = outcomes({**AS_TAUGHT, TANH: 0.06, GATED: 0.12})
    assert found["C2"] is Outcome.SUPPORTED and found["C2, geometric"] is Outcome.SUPPORTED
    assert found["C3"] is Outcome.NOT_SUPPORTED


def test_against_what_is_taught():
    found = outcomes({TANH: 0.0, GATED: 0.0, ATTENTION: -0.06}, dict.fromkeys((TANH, GATED, ATTENTION), -0.1))
    assert {found.pop("control"), found.pop("levelled off")} == {Outcome.SUPPORTED}
    assert set(found.values()) == {Outcome.NOT_SUPPORTED}


def test_a_gradient_that_grows_does_not_vanish():
    found = outcomes({**AS_TAUGHT, ATTENTION: 0.06})
    assert found["C8"] is Outcome.SUPPORTED and found["C8, either way"] is Outcome.NOT_SUPPORTED


def test_a_bend_is_not_geometric():
    assert outcomes({**AS_TAUGHT, TANH: -0.02}, bend=0.002)["C2, geometric"] is Outcome.NOT_SUPPORTED


def test_the_probes_floor_is_no_bend():
    """Past the least norm that the probe knows, a straight line is not measured rather than bent."""
    table = made_up({**AS_TAUGHT, TANH: -2.0})
    table = table.assign(value=np.where(table["value"] < gradient_flow.LEAST, 0.0, table["value"]))
    found = {finding.claim: finding for finding in gradient_flow.verdict(table)}
    assert found["C2, geometric"].outcome is Outcome.SUPPORTED
    assert found["C2"].effects[0].size == pytest.approx(63, 0.1)
    drawn = panels.means(gradient_flow.figure(table)[0]).set_index("series").loc["tanh RNN, 0.8"]
    assert drawn["x"].max() < 35 and drawn["mean"].min() == pytest.approx(-50, abs=11)


def test_some_seeds_are_undecided_and_say_how_many_would_decide():
    found = findings({TANH: -0.02, GATED: -0.01, ATTENTION: 0.0}, noise=0.6, seeds=range(3))
    assert {found[claim].outcome for claim in ("C2", "C3", "C8")} == {Outcome.UNDECIDED}
    assert any((finding.seeds_to_decide or 0) > 3 for finding in found.values())


def test_the_figure_has_a_panel_a_group_and_setting_and_a_bound():
    drawn = gradient_flow.figure(made_up(AS_TAUGHT))
    titles = panels.titles(drawn)
    assert titles[:2] == ["tanh RNN, at the start", "tanh RNN, trained"] and len(titles) == 6
    assert {"LSTM, bias 1, c", "LSTM, bias 1, h"} < set(panels.names(drawn[2]))
    assert '"bound of tanh RNN, 1.0"' in drawn[0].to_json()


@pytest.mark.parametrize("scale", ["cpu", "gpu"])
def test_the_grid(scale):
    runs = schedule.grid(gradient_flow, scale)
    assert {run.axes["system"] for run in runs} == set(SYSTEMS)
    doubled = {run.axes["system"]: run.overrides["steps"] for run in runs if run.axes["control"] == DOUBLED}
    assert set(doubled) == set(gradient_flow.LEVELLED) and doubled["tanh RNN, 1.0"] == 2 * gradient_flow.STEPS[TANH]
