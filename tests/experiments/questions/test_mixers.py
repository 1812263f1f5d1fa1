"""The question `mixers`: made-up tables give every outcome."""

import numpy as np
import pytest
from pandas import DataFrame

import data
import models
from experiments.analysis import fairness
from experiments.analysis.finding import Finding, Outcome
from experiments.analysis.table import of_rows
from experiments.engine import schedule
from experiments.questions import mixers
from experiments.questions.mixers import (
    ATTENTION,
    BLIND,
    CONV_HYBRID,
    COPYING,
    FEW_PAIRS,
    FIELDS,
    GRU,
    GRU_HYBRID,
    HALF,
    LARGE,
    LINEAR_HYBRID,
    MIDDLE,
    POSITIONS,
    RECALL,
    SLOWER,
    SMALL,
    SYSTEMS,
    TWICE,
)
from experiments.questions.question import DOUBLED, NONE
from tests.experiments import panels

SEEDS = range(5)
ALL_HOLD = {
    SMALL: {NONE: 0.3, DOUBLED: 0.32, TWICE: 0.3, SLOWER: 0.29, FEW_PAIRS: 0.97},
    MIDDLE: {NONE: 0.6, DOUBLED: 0.62, TWICE: 0.6, SLOWER: 0.59},
    LARGE: {NONE: 0.9, DOUBLED: 0.91, HALF: 0.6},
    GRU: {NONE: 0.125, DOUBLED: 0.125, FEW_PAIRS: 0.97},
    GRU_HYBRID: {NONE: 0.99, DOUBLED: 0.99, BLIND: 0.125, **{f"positions {one}": 0.99 for one in POSITIONS}},
    LINEAR_HYBRID: {NONE: 0.99, DOUBLED: 0.99},
    ATTENTION: {NONE: 0.99, DOUBLED: 0.99},
}
REACH = {**FIELDS, CONV_HYBRID: 99}


def made_up(recalled=None, reach=None, seeds=SEEDS) -> DataFrame:
    """Accuracies of recall by system and control, and of copying: .99 to the last token that is seen, then chance."""
    rng, rows = np.random.default_rng(0), []
    cells = [
        (RECALL, system, control, dict.fromkeys((8.0, 12.0), level))
        for system, controls in {**ALL_HOLD, **(recalled or {})}.items()
        for control, level in controls.items()
    ]
    cells += [
        (COPYING, system, control, {float(n): 0.99 if n < field else 0.125 for n in range(2, 34)})
        for system, field in {**REACH, **(reach or {})}.items()
        for control in (NONE, DOUBLED)
    ]
    for task, system, control, levels in cells:
        for seed in seeds:
            axes = {"run": f"{task} {system} {control}", "task": task, "system": system, "control": control}
            run = {**axes, "seed": seed, "role": "report"}
            rows += [
                {
                    **run,
                    "probe": "accuracy_by_distance",
                    "measure": "token_accuracy",
                    "place": place,
                    "value": min(level + rng.normal(0, 0.004), 1.0),
                }
                for place, level in levels.items()
            ]
            kept = {SMALL: 1280.0, MIDDLE: 2816.0, LARGE: 8960.0}.get(system, 4096.0)
            rows.append({**run, "probe": "run", "measure": "state_bytes", "value": kept})
            guessed = {RECALL: "chance_token_accuracy_in_context", COPYING: "chance_token_accuracy"}[task]
            rows.append({**run, "probe": "accuracy_by_distance", "measure": guessed, "value": 0.125})
    return of_rows(rows)


def findings(*levels, **options) -> dict[str, Finding]:
    return {finding.claim: finding for finding in mixers.verdict(made_up(*levels, **options))}


def outcomes(*levels, **options) -> dict[str, Outcome]:
    return {claim: finding.outcome for claim, finding in findings(*levels, **options).items()}


def test_all_claims_can_hold():
    found = findings()
    assert {one.outcome for one in found.values()} == {Outcome.SUPPORTED}
    assert (
        "3 GRU, 1 attention 5 of 5 seeds" in found["hybrid"].because and "after training" in found["hybrid"].statement
    )


def test_a_state_that_training_fills_fails():
    found = outcomes({SMALL: ALL_HOLD[SMALL] | {DOUBLED: 0.7}})
    assert found["state, training"] is found["state, bytes"] is found["levelled off"] is Outcome.WITHIN_LIMITS


def test_a_hybrid_that_restores_nothing_is_counted():
    assert outcomes({LINEAR_HYBRID: {NONE: 0.26, DOUBLED: 0.26}})["hybrid"] is Outcome.WITHIN_LIMITS


def test_a_convolution_that_sees_one_token_more_or_fewer_fails():
    for moved in (1, -1):
        found = outcomes(reach={name: field + moved for name, field in FIELDS.items()})
        assert found["C5"] is Outcome.NOT_SUPPORTED
        assert found["C5, beyond"] is (Outcome.WITHIN_LIMITS if moved == 1 else Outcome.SUPPORTED)


@pytest.mark.parametrize(
    ("claim", "system", "changes"),
    [
        ("control, pairs", SMALL, {FEW_PAIRS: 0.5}),
        ("control, heads", LARGE, {HALF: 0.9}),
        ("control, rate", SMALL, {TWICE: 0.6}),
        ("control, attention's reach and positions", GRU_HYBRID, {BLIND: 0.99}),
    ],
)
def test_a_confounder_shows(claim, system, changes):
    found = outcomes({system: ALL_HOLD[system] | changes})
    assert found[claim] in (Outcome.NOT_SUPPORTED, Outcome.WITHIN_LIMITS)


def test_fewer_than_five_seeds_decide_nothing():
    found = outcomes(seeds=range(4))
    found.pop("levelled off")
    assert set(found.values()) == {Outcome.UNDECIDED}


def test_the_figure():
    drawn = mixers.figure(made_up())
    assert panels.titles(drawn) == ["Recall by state", "Recall by mixers", "Copying by distance"]
    assert panels.names(drawn[0]) == ["its steps", "twice the steps", HALF]
    assert panels.names(drawn[2]) == [*FIELDS, CONV_HYBRID]


@pytest.mark.parametrize("scale", ["cpu", "gpu"])
def test_the_grid(scale):
    runs = {run.name: run for run in schedule.grid(mixers, scale)}
    assert {run.axes["system"] for run in runs.values()} == set(SYSTEMS)
    sizes = {}
    for name, run in runs.items():
        config = schedule.complete(run.config, run.overrides)
        task = data.build(config.task, config.data)
        sizes[name] = fairness.non_embedding_params(config.model, task.spec)
        if run.axes["system"] in FIELDS:
            names = models.MODELS[config.model.name].names(config.model)
            kernel, dilation = config.model.conv.kernel_size, config.model.conv.dilation
            assert 1 + sum((kernel - 1) * dilation**n for n in range(len(names))) == FIELDS[run.axes["system"]]
            assert len(task.distances) <= 32  # each has its own place (`training/evaluation/quality.py`)
    assert max(sizes.values()) <= mixers.BUDGETS[scale][""] < 1.01 * min(sizes.values())
    assert len({size for name, size in sizes.items() if "linear-attention" in name and "width" not in name}) == 1
