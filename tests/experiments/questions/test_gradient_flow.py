"""The question `gradient_flow`: made-up curves give every outcome."""

import numpy as np
import pandas as pd
import pytest
from pandas import DataFrame

from experiments.analysis.finding import Outcome
from experiments.analysis.table import of_rows
from experiments.engine import schedule
from experiments.questions import gradient_flow
from experiments.questions.gradient_flow import ATTENTION, GATED, HIDDEN, MEDIAN, SYSTEMS, TANH
from tests.experiments import panels

PLACES = np.arange(0.0, 70.0, 5.0)
AS_TAUGHT = {TANH: -0.06, GATED: -0.01, ATTENTION: 0.0}


def made_up(slopes, bend=0.0, noise=0.02, seeds=range(5), systems=SYSTEMS) -> DataFrame:
    """Norms of 10 ** (slope * place + bend * place ** 2) by system, at steps 0 and 100."""
    rng, rows = np.random.default_rng(0), []
    for name, system in systems.items():
        for seed in seeds:
            run = {"run": name, "system": name, "seed": seed, "role": "report", "probe": "gradient_by_time"}
            for step in (0, 100):
                for part in {system.state, HIDDEN}:
                    powers = (
                        slopes[system.group] * PLACES + bend * (PLACES - 35) ** 2 + rng.normal(0, noise, len(PLACES))
                    )
                    rows += [
                        {**run, "step": step, "part": part, "measure": MEDIAN, "place": place, "value": 10.0**power}
                        for place, power in zip(PLACES, powers, strict=True)
                    ]
                rows.append({**run, "step": step, "measure": "largest_singular_value", "value": 0.9})
    return of_rows(rows)


def outcomes(*args, **options):
    return {finding.claim: finding.outcome for finding in gradient_flow.verdict(made_up(*args, **options))}


def test_as_taught():
    assert set(outcomes(AS_TAUGHT).values()) == {Outcome.SUPPORTED}


def test_an_explosion_is_no_less_geometric():
    found = outcomes({**AS_TAUGHT, TANH: 0.06, GATED: 0.12})
    assert found["C2"] is Outcome.SUPPORTED and found["C2, geometric"] is Outcome.SUPPORTED
    assert found["C3"] is Outcome.NOT_SUPPORTED


def test_against_what_is_taught():
    found = outcomes({TANH: 0.0, GATED: 0.0, ATTENTION: -0.06})
    assert set(found.values()) == {Outcome.NOT_SUPPORTED}


def test_a_gradient_that_grows_does_not_vanish():
    found = outcomes({**AS_TAUGHT, ATTENTION: 0.06})
    assert found["C8"] is Outcome.SUPPORTED and found["C8, either way"] is Outcome.NOT_SUPPORTED


def test_a_bend_is_not_geometric():
    assert outcomes(AS_TAUGHT, bend=0.002)["C2, geometric"] is Outcome.NOT_SUPPORTED


def test_the_probes_floor_is_no_bend():
    """Past the least norm that the probe knows, a straight line is not measured rather than bent."""
    table = made_up({**AS_TAUGHT, TANH: -2.0})
    floored = np.where(table["value"] < gradient_flow.LEAST, 0.0, table["value"])
    table = table.assign(value=floored)
    found = {finding.claim: finding for finding in gradient_flow.verdict(table)}
    assert found["C2, geometric"].outcome is Outcome.SUPPORTED and found["C2"].effects[0].size == pytest.approx(55, 0.1)
    drawn = panels.means(gradient_flow.figure(table)[0]).set_index("series").loc["tanh RNN, 0.8"]
    assert drawn["x"].max() < 35 and drawn["mean"].min() == pytest.approx(-50, abs=11)


def test_within_limits():
    tables = [
        made_up(AS_TAUGHT, systems={n: s for n, s in SYSTEMS.items() if "8" not in n and "bias 0" not in n}),
        made_up(
            {TANH: 0.0, GATED: -0.06, ATTENTION: -0.06},
            systems={n: s for n, s in SYSTEMS.items() if n.startswith("Transformer, 8") or "bias 0" in n},
        ),
        made_up({TANH: 0.0}, systems={"tanh RNN, 0.8": SYSTEMS["tanh RNN, 0.8"]}),
    ]
    both = pd.concat(tables)
    found = {finding.claim: finding.outcome for finding in gradient_flow.verdict(both)}
    assert found == dict.fromkeys(("C2", "C2, geometric", "C3", "C8", "C8, either way"), Outcome.WITHIN_LIMITS)


def test_too_few_seeds_are_undecided_and_say_how_many_would_decide():
    found = gradient_flow.verdict(made_up({TANH: -0.02, GATED: -0.01, ATTENTION: 0.0}, noise=0.6, seeds=range(3)))
    assert {finding.outcome for finding in found} == {Outcome.UNDECIDED}
    assert any((finding.seeds_to_decide or 0) > 3 for finding in found)


def test_the_figure_has_a_panel_a_group_and_moment_and_a_bound():
    drawn = gradient_flow.figure(made_up(AS_TAUGHT))
    titles = panels.titles(drawn)
    assert titles[:2] == ["tanh RNN, at the start", "tanh RNN, after training"] and len(titles) == 6
    assert {"LSTM, bias 1, c", "LSTM, bias 1, h"} < set(panels.names(drawn[2]))
    assert '"bound of tanh RNN, 1.0"' in drawn[0].to_json()


@pytest.mark.parametrize("scale", ["cpu", "gpu"])
def test_the_grid(scale):
    assert {run.axes["system"] for run in schedule.grid(gradient_flow, scale)} == set(SYSTEMS)
