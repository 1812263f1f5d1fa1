"""The question `throughput`: made-up tables give every outcome."""

import numpy as np
import pandas as pd
import pytest
from pandas import DataFrame

import data
from experiments.analysis import fairness
from experiments.analysis.finding import Outcome
from experiments.analysis.table import of_rows
from experiments.engine import schedule
from experiments.questions import throughput
from experiments.questions.throughput import (
    BY_CALL,
    CUDNN,
    DECODING,
    GRU,
    LSTM,
    RNN,
    SMALL,
    SYSTEMS,
    TRAINING,
    TRANSFORMER,
    WIDE,
    Cell,
)
from tests.experiments import panels

MEASURED = (RNN, GRU, LSTM, TRANSFORMER, WIDE, BY_CALL)
FLAT, RISING = (1.0, 1.0), (1.0, 4.0)
FASTER = ("C4, faster at all", "C4, wide head")
AS_TAUGHT = {"short": 20.0, "long": 200.0, "by call": 500.0, "rnn": FLAT, "transformer": RISING}


def made_up(
    short=1.0, long=1.0, rnn=FLAT, transformer=FLAT, noise=0.01, repeats=range(5), batches=(4,), **more
) -> DataFrame:
    """The Transformer trains `short` and `long` times as fast as the RNNs at 32 and 512 tokens, and `by call` times as
    fast as a GRU with a call a step; a token costs what the pairs say after 16 and 2,048 tokens."""
    rng, rows = np.random.default_rng(0), []

    def add(cell, part, rate, seed):
        rows.append(
            {
                "run": "-".join(map(str, cell)),
                **cell._asdict(),
                "seed": seed,
                "role": "report",
                "probe": "throughput",
                "measure": f"{cell.phase}_tokens_per_second",
                "part": part,
                "value": rate * np.exp(noise * rng.normal()),
            }
        )

    for seed in repeats:
        for batch in batches:
            for length, ratio in ((32, short), (512, long)):
                cell = Cell(TRAINING, length, batch, SMALL)
                for part in (RNN, GRU, LSTM):
                    add(cell, part, 1000.0, seed)
                add(cell, BY_CALL, 1000.0 * ratio / more.get("by call", ratio), seed)
                for part in (TRANSFORMER, WIDE):
                    add(cell, part, 1000.0 * ratio, seed)
            for end, length in enumerate((16, 2048)):
                cell = Cell(DECODING, length, batch, SMALL)
                for part in (RNN, GRU, LSTM):
                    add(cell, part, 1000.0 / rnn[end], seed)
                add(cell, TRANSFORMER, 1000.0 / transformer[end], seed)
    return of_rows(rows)


def outcomes(table: DataFrame) -> dict[str, Outcome]:
    return {finding.claim: finding.outcome for finding in throughput.verdict(table)}


def test_as_taught():
    assert set(outcomes(made_up(**AS_TAUGHT)).values()) == {Outcome.SUPPORTED}


def test_against_what_is_taught():
    found = outcomes(made_up(short=0.5, long=0.8, rnn=RISING, transformer=FLAT, **{"by call": 2.0}))
    assert set(found.values()) == {Outcome.NOT_SUPPORTED}


def test_twice_as_fast_is_faster_and_not_tens_of_times():
    found = outcomes(made_up(**{**AS_TAUGHT, "short": 2.0, "long": 2.0}))
    assert found["C4, long"] is found["C4, short"] is Outcome.NOT_SUPPORTED
    assert found["C4, faster at all"] is found["C4, step by step"] is Outcome.SUPPORTED


def test_within_limits():
    tables = [made_up(**AS_TAUGHT), made_up(short=0.5, long=0.8, rnn=RISING, batches=(32,), **{"by call": 2.0})]
    both = pd.concat(tables)
    assert set(outcomes(both).values()) == {Outcome.WITHIN_LIMITS}


def test_noise_is_undecided_and_says_how_many_repeats_would_decide():
    found = throughput.verdict(made_up(short=10.0, long=10.0, rnn=(1.0, 1.1), transformer=(1.0, 1.5), noise=0.5))
    undecided = [finding.claim for finding in found if finding.outcome is Outcome.UNDECIDED]
    assert undecided == [finding.claim for finding in found if finding.claim not in FASTER]
    assert any((finding.seeds_to_decide or 0) > 5 for finding in found)


def test_what_was_not_measured_is_not_compared():
    table = made_up(**AS_TAUGHT)
    kept = table.query(f"part in [{GRU!r}, {TRANSFORMER!r}, {WIDE!r}]")
    for finding in throughput.verdict(kept):
        names = " ".join(effect.name for effect in finding.effects)
        assert LSTM not in names and BY_CALL not in names
    assert outcomes(kept)["C4, step by step"] is Outcome.UNDECIDED


def test_the_figure_has_panels_for_training_ratios_and_decoding():
    drawn = throughput.figure(made_up(**AS_TAUGHT, batches=(4, 32)))
    each = ["small, batch 4", "small, batch 32"]
    kinds = ("Training", "Transformer over each RNN", "Decoding")
    assert panels.titles(drawn) == [f"{kind}, {name}" for kind in kinds for name in each]
    assert set(panels.names(drawn[0])) == set(MEASURED) and panels.texts(drawn[2]) == {"as fast", "ten times"}
    # A token that costs four times as much is drawn four times as high, and in microseconds.
    costs = panels.means(drawn[4]).set_index("series").loc[TRANSFORMER, "mean"]
    np.testing.assert_allclose(costs, [4000.0, 16000.0], rtol=0.05)


@pytest.mark.parametrize("scale", ["smoke", "cpu", "gpu"])
def test_the_grid(scale):
    grid = schedule.grid(throughput, scale)
    plan = schedule.plan(throughput, scale, lambda due: None)
    assert all(due.alone for due in plan.due) and {run.seed for run in grid} == set(range(1 if scale == "smoke" else 5))
    for run in grid:
        (probing,) = run.probes
        assert probing.options["phases"] == (run.axes["phase"],)
        assert (CUDNN in probing.options["beside"]) == (scale == "gpu")
    assert plan.due[0].config.data.min_length == plan.due[0].config.data.max_length == {"smoke": 4}.get(scale, 16)


def test_all_systems_are_of_one_size():
    (run,) = {run.name: run for run in throughput.runs("cpu") if run.axes["size"] == SMALL}.popitem()[1:]
    sizes = []
    for where, values in [
        (run.config, {k: v for k, v in run.overrides.items() if k.startswith("model.")}),
        *run.probes[0].options["beside"].values(),
    ]:
        config = schedule.complete(where, values)
        sizes.append(fairness.non_embedding_params(config.model, data.build(config.task, config.data).spec))
    assert len(sizes) == 5 and max(sizes) <= 100_000 and min(sizes) > 85_000
    assert set(SYSTEMS) - {CUDNN} == {GRU, *run.probes[0].options["beside"]}
