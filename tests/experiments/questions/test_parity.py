"""The question `parity`: made-up tables give every outcome, and each position of the Transformers counts."""

import numpy as np
import pytest
from pandas import DataFrame

from experiments.analysis.finding import Outcome
from experiments.analysis.table import of_rows
from experiments.engine import schedule
from experiments.questions import parity
from experiments.questions.parity import RNNS, SYSTEMS, TRANSFORMERS
from tests.experiments import panels

PLACES = np.arange(parity.WIDTH / 2 + 0.5, parity.TESTED_TO, parity.WIDTH)
SEEDS = range(5)
SOLVED, CHANCE, SHORT_ONLY = (0.998, 0.998), (0.5, 0.5), (0.98, 0.51)  # accuracy to 40 bits and beyond
AS_TAUGHT = {**dict.fromkeys(RNNS, SOLVED), **dict.fromkeys(TRANSFORMERS, CHANCE)}


def made_up(levels, noise=0.003, seeds=SEEDS) -> DataFrame:
    """Accuracies of each system within and beyond training, a list of them by seed or one for all, with some noise."""
    rng, rows = np.random.default_rng(0), []
    for system, level in levels.items():
        for seed in seeds:
            within, beyond = level[seed] if isinstance(level, list) else level
            values = np.where(PLACES < parity.TRAINED_TO, within, beyond) + rng.normal(0, noise, len(PLACES))
            rows += [
                {
                    "run": system,
                    "system": system,
                    "seed": seed,
                    "role": "report",
                    "probe": "accuracy_by_length",
                    "measure": "token_accuracy",
                    "place": place,
                    "value": value,
                }
                for place, value in zip(PLACES, values.clip(0, 1), strict=True)
            ]
    return of_rows(rows)


def outcomes(levels, **options) -> dict[str, Outcome]:
    return {finding.claim: finding.outcome for finding in parity.verdict(made_up(levels, **options))}


def test_as_taught():
    assert set(outcomes(AS_TAUGHT).values()) == {Outcome.SUPPORTED}


def test_against_what_is_taught():
    found = outcomes({**dict.fromkeys(RNNS, CHANCE), **dict.fromkeys(TRANSFORMERS, SOLVED)})
    assert set(found.values()) == {Outcome.NOT_SUPPORTED}


def test_one_kind_of_positions_that_generalises_is_enough_against_the_claim():
    found = outcomes({**AS_TAUGHT, "Transformer, rotary": SOLVED})
    assert found["C20"] is Outcome.NOT_SUPPORTED and found["C20, within"] is Outcome.NOT_SUPPORTED
    assert found["C20, chance"] is Outcome.WITHIN_LIMITS and found["C20, best seed"] is Outcome.WITHIN_LIMITS
    assert found["C20, solved"] is Outcome.SUPPORTED


def test_each_seed_has_its_best_positions():
    lucky = {
        system: [(0.5, 0.9 if seed == place else 0.5) for seed in SEEDS] for place, system in enumerate(TRANSFORMERS)
    }
    best = parity.best_transformer(made_up({**AS_TAUGHT, **lucky}, noise=0.0)).to_dict()
    assert best == pytest.approx({0: 0.9, 1: 0.9, 2: 0.9, 3: 0.9, 4: 0.5})


def test_transformers_that_learn_within_length_and_fail_beyond():
    found = outcomes({**AS_TAUGHT, **dict.fromkeys(TRANSFORMERS, SHORT_ONLY)})
    assert found["C20"] is Outcome.SUPPORTED and found["C20, within"] is Outcome.NOT_SUPPORTED


def test_an_rnn_that_fails_from_some_seeds_is_undecided_in_the_mean_and_solved_at_its_best():
    sometimes = [SOLVED, SOLVED, CHANCE, SOLVED, CHANCE]
    found = {one.claim: one for one in parity.verdict(made_up({**AS_TAUGHT, "tanh RNN": sometimes}))}
    assert found["C20, tanh RNN, solved"].outcome is found["C20, tanh RNN"].outcome is Outcome.UNDECIDED
    assert found["C20"].outcome is found["C20, solved"].outcome is Outcome.SUPPORTED  # of those with gates
    assert found["C20, best seed"].outcome is Outcome.SUPPORTED and "tanh RNN 0.99" in found["C20, best seed"].because
    never = {one.claim: one for one in parity.verdict(made_up({**AS_TAUGHT, "tanh RNN": CHANCE}))}
    assert never["C20, tanh RNN"].outcome is never["C20, tanh RNN, solved"].outcome is Outcome.NOT_SUPPORTED


def test_one_of_two_is_within_limits():
    found = outcomes({**AS_TAUGHT, "LSTM": CHANCE})
    assert {found[claim] for claim in ("C20", "C20, solved", "C20, within")} == {Outcome.WITHIN_LIMITS}


def test_the_best_of_some_positions_is_not_the_best():
    some = {system: level for system, level in AS_TAUGHT.items() if system != "Transformer, rotary"}
    assert parity.best_transformer(made_up(some)).empty
    assert outcomes(some)["C20"] is Outcome.UNDECIDED


def test_noise_is_undecided_and_says_how_many_seeds_would_decide():
    levels = [(0.6 + 0.2 * (-1) ** seed, 0.7 + 0.25 * (-1) ** seed) for seed in SEEDS]
    found = {one.claim: one for one in parity.verdict(made_up({**AS_TAUGHT, **dict.fromkeys(RNNS, levels)}))}
    assert found["C20"].outcome is Outcome.UNDECIDED
    assert found["C20"].seeds_to_decide is None or found["C20"].seeds_to_decide > len(SEEDS)


def test_a_partial_table_says_what_was_not_run():
    found = {one.claim: one for one in parity.verdict(made_up({"GRU": SOLVED, "Transformer, ALiBi": CHANCE}))}
    assert found["C20"].outcome is Outcome.UNDECIDED
    assert "not run: GRU over best Transformer; LSTM over" in found["C20"].because
    best = found["C20, best seed"]
    assert best.outcome is Outcome.UNDECIDED and "Fewer than 3 seeds: tanh RNN" in best.because


def test_the_figure_has_a_series_a_system_and_each_seeds_best_transformer():
    drawn = parity.figure(made_up({**AS_TAUGHT, "tanh RNN": [SOLVED, *[CHANCE] * 4]}))
    assert panels.titles(drawn) == ["Parity by length", "21 to 40 bits", "41 to 500 bits"]
    assert panels.names(drawn[0]) == list(SYSTEMS) and panels.names(drawn[2]) == [*SYSTEMS, parity.BEST]
    assert panels.texts(drawn[2]) == {"chance", "solved"}
    tanh = panels.means(drawn[2]).set_index("series")["seeds"]["tanh RNN"].split(", ")
    assert sum(float(value) > 0.9 for value in tanh) == 1 and len(tanh) == 5


@pytest.mark.parametrize("scale", ["smoke", "cpu", "gpu"])
def test_the_grid(scale):
    runs = schedule.grid(parity, scale)
    plan = schedule.plan(parity, scale, lambda due: [{"measure": "best_loss", "value": 1.0}])
    if scale != "smoke":
        assert {run.axes["system"] for run in runs} == set(SYSTEMS)
    positions = {due.config.model.positions for due in plan.runs if "positions" in due.config.model}
    assert positions == (set(TRANSFORMERS.values()) if scale != "smoke" else {"alibi"})
