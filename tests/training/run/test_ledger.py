"""Counts that travel with a run: tokens, windows of steps, the best evaluation, the first bad step."""

import json
import math

import jax.numpy as jnp
import numpy as np
import pytest

from data.batch import filled_positions
from training.run.ledger import Ledger, NonFiniteError


def batch(source=3, target=2, rows=2, width=5):
    """Rows of `source` and `target` real positions out of `width`."""
    return {
        "source_mask": np.tile(np.arange(width) < source, (rows, 1)),
        "target_in": np.ones((rows, width), np.int32),
        "target_weights": np.tile(np.arange(width) < target, (rows, 1)).astype(np.float32),
    }


def metrics(loss=1.0, **values):
    row = {"loss": loss, "nll": loss, "token_accuracy": 0.5, "gradient_norm": 1.0, "learning_rate": 0.1}
    row |= {"update_ratio": 0.01} | values
    return {name: jnp.float32(value) for name, value in row.items()}


def test_row_means_the_window_and_takes_the_rest_from_its_last_step():
    ledger = Ledger()
    ledger.count(batch(), metrics(1.0, learning_rate=0.1))
    ledger.count(batch(), metrics(3.0, learning_rate=0.2))
    row = ledger.row(2, seconds=4.0, perplexity=True)
    assert row["loss"] == 2.0 and row["perplexity"] == pytest.approx(math.exp(2.0))
    assert row["learning_rate"] == pytest.approx(0.2)
    assert row["step_seconds"] == 2.0
    assert row["target_tokens_per_second"] == 2 * 4 / 4.0  # two batches of two rows of two weighted positions
    assert row["padding_share"] == pytest.approx(1 - (3 + 2) / 10)
    json.dumps(row)


def test_windows_do_not_overlap():
    ledger = Ledger()
    ledger.count(batch(), metrics(1.0))
    ledger.row(1, 1.0, perplexity=False)
    ledger.count(batch(source=5, target=5), metrics(5.0))
    row = ledger.row(2, 1.0, perplexity=False)
    assert row["loss"] == 5.0 and row["padding_share"] == 0 and row["target_tokens_per_second"] == 10
    assert "perplexity" not in row


@pytest.mark.parametrize("stops", [(), (1,), (2, 3)])
def test_a_row_covers_its_window_whatever_was_saved_within(stops):
    """A run that is stopped or killed there goes on from the checkpoint."""
    ledger = Ledger()
    for step in (1, 2, 3, 4):
        ledger.count(batch(), metrics(0.1 * step, learning_rate=step))
        if step in stops:
            ledger.hold(step, seconds=2.0)
            ledger = Ledger(**json.loads(json.dumps(ledger.to_json())))
    row = ledger.row(4, seconds=8.0 - 2.0 * len(stops), perplexity=False)
    assert row["loss"] == sum(float(jnp.float32(0.1 * step)) for step in (1, 2, 3, 4)) / 4
    assert row["step_seconds"] == 2.0 and row["target_tokens_per_second"] == 4 * 4 / 8.0
    assert row["learning_rate"] == 4.0 and ledger.step_seconds == [2.0]
    assert row["padding_share"] == pytest.approx(1 - (3 + 2) / 10)


@pytest.mark.parametrize("name", ["loss", "gradient_norm", "update_ratio"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_first_bad_step_is_named(name, value):
    ledger = Ledger()
    for bad in (False, False, True, True):
        ledger.count(batch(), metrics(**{name: value if bad else 1.0}))
    with pytest.raises(NonFiniteError, match=rf"{name} is {value} at step 13") as error:
        ledger.row(14, 1.0, perplexity=True)
    assert error.value.step == 13


def test_evaluations_without_a_better_best_are_counted():
    ledger, stale, better = Ledger(), [], []
    for step, loss in enumerate([3.0, 2.0, 2.5, 2.0, 1.0]):
        better.append(ledger.note_evaluation(step, {"loss": loss}, "loss"))
        stale.append(ledger.stale_evaluations)
    assert better == [True, True, False, False, True]  # a tie keeps the earlier one
    assert stale == [0, 0, 1, 2, 0]
    assert ledger.best == {"loss": 1.0, "step": 4} == ledger.latest


@pytest.mark.parametrize(
    ("metric", "best"), [("loss", 0), ("perplexity", 0), ("token_accuracy", 1), ("exact_match", 1)]
)
def test_best_is_the_lowest_or_the_highest(metric, best):
    ledger = Ledger()
    for step, value in enumerate([0.2, 0.7]):
        ledger.note_evaluation(step, {metric: value}, metric)
    assert ledger.best is not None and ledger.best["step"] == best


def test_best_may_not_be_a_nan_for_ever():
    ledger = Ledger()
    ledger.note_evaluation(1, {"loss": math.nan}, "loss")
    assert ledger.note_evaluation(2, {"loss": 5.0}, "loss") is True
    assert ledger.note_evaluation(3, {"loss": math.nan}, "loss") is False
    assert ledger.best == {"loss": 5.0, "step": 2}


def test_totals_go_on_after_a_round_trip_through_json():
    whole, first = Ledger(), Ledger()
    for ledger in (whole, first):
        ledger.count(batch(), metrics())
        ledger.row(1, 2.0, perplexity=True)
        ledger.note_evaluation(1, {"loss": 1.0}, "loss")
        ledger.seconds["training"] = 2.0
    second = Ledger(**json.loads(json.dumps(first.to_json())))
    for ledger in (whole, second):
        ledger.count(batch(source=4), metrics())
        ledger.row(2, 6.0, perplexity=True)
        ledger.seconds["training"] += 6.0
        ledger.start_to_first_step_seconds = 1.0
    assert second.totals() == whole.totals()
    assert second.best == whole.best
    totals = second.totals()
    assert totals["tokens_seen"] == 2 * (3 + 2) + 2 * (4 + 2)
    assert totals["target_tokens_per_second"] == 8 / 8.0
    assert totals["median_step_seconds"] == 4.0
    assert totals["padding_share"] == pytest.approx(1 - 22 / 40)
    assert totals["compile_seconds"] == 0.0


def test_an_unweighted_position_within_a_target_is_no_padding():
    """Tasks with answers here and there, as recall with queries at gaps, are not padded between them."""
    gaps = batch(source=2, target=0, rows=1)
    gaps["target_weights"][0, [1, 3]] = 1
    assert filled_positions(gaps) == 2 + 4
    gaps["target_weights"][:] = 0
    assert filled_positions(gaps) == 2
