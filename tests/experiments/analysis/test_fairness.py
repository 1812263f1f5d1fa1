"""Every architecture is sized to one budget, and the rest is what it says."""

import jax
import pytest

import data
import models
from experiments.analysis import fairness
from experiments.engine.schedule import complete
from models import MODELS
from training.step import params

BUDGET = 30_000


@pytest.mark.parametrize("name", sorted(name for name, kind in MODELS.items() if not kind.counted))
def test_every_architecture_fits_the_budget_and_fills_it(name):
    task = "recall" if "sequence" in MODELS[name].layouts else "odds_first"
    where = f"configs/{task}.py:{name}"
    config = complete(where, {"model.num_layers": 1, **fairness.fit(where, {"model.num_layers": 1}, BUDGET)})
    spec = data.build(config.task, config.data).spec
    model = models.build(name, config.model, spec, jax.random.key(0))
    left_over = BUDGET - params.count(params.flatten(model), embeddings=False)
    assert 0 <= left_over < 0.08 * BUDGET
    if "mlp_dim" in config.model:
        assert left_over < 0.01 * BUDGET  # feed-forward layers take up what the width leaves


def test_widths_are_what_heads_can_share():
    sized = fairness.fit("configs/recall.py:transformer_decoder", {"model.num_heads": 3}, BUDGET)
    assert sized["model.hidden_size"] % 3 == 0


def test_a_budget_that_is_too_small():
    with pytest.raises(ValueError, match="a budget of 10 parameters is too small"):
        fairness.fit("configs/recall.py:gru", {}, 10)


def test_budget_of_a_cell():
    by_size = {"small": 10, "large": 20}
    assert fairness.budget(by_size, ("8", "large")) == 20 and fairness.budget({"": 30}, ("8", "large")) == 30
    assert fairness.budget(by_size, ("8",)) is None and fairness.budget({}, ("small",)) is None
