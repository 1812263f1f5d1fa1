"""Evaluation during training: the means are those of one forward pass, and filler rows do not exist."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
from data.batch import pad_rows
from data.spec import Spec
from training.evaluation import scoring
from training.machine import mesh
from training.step import params

SPEC = Spec("tokens", 9, 9, "tokens", 9, 5, 4, free_running=True, eos=2)


def batch(rows, seed):
    rng = np.random.default_rng(seed)
    return {
        "source": rng.integers(3, 9, (rows, 5)).astype(np.int32),
        "source_mask": np.arange(5) < rng.integers(1, 6, rows)[:, None],
        "target_in": rng.integers(3, 9, (rows, 4)).astype(np.int32),
        "target_out": rng.integers(3, 9, (rows, 4)).astype(np.int32),
        "target_weights": (np.arange(4) < rng.integers(1, 5, rows)[:, None]).astype(np.float32),
        "distance": np.full((rows, 4), -1, np.int32),
        "index": np.arange(rows, dtype=np.int32),
    }


BATCHES = [batch(3, 0), batch(3, 1)]
FILLED = [pad_rows(b, 8) for b in BATCHES]


@pytest.fixture(scope="module")
def model():
    config = models.configured("gru")
    models.set_width(config, 8)
    config.num_layers = 1
    return models.build("gru", config, SPEC, jax.random.key(0))


@pytest.fixture(scope="module")
def measure(model):
    devices = mesh.make()
    eval_step = scoring.EvalStep(params.Skeleton(model), SPEC, devices)
    return lambda batches, **kw: scoring.evaluate(eval_step, params.flatten(model), batches, **kw)


def test_means_by_hand(model, measure):
    nll, right, exact, weight = 0.0, 0.0, [], 0.0
    for b in BATCHES:
        logits = model(*(jnp.asarray(b[name]) for name in ("source", "source_mask", "target_in"))).logits
        log_p = np.asarray(jax.nn.log_softmax(logits), np.float64)
        for row in range(3):
            hits = []
            for t in range(int(b["target_weights"][row].sum())):
                nll -= log_p[row, t, b["target_out"][row, t]]
                hits.append(log_p[row, t].argmax() == b["target_out"][row, t])
            right, weight, exact = right + sum(hits), weight + len(hits), [*exact, all(hits)]
    found = measure(BATCHES, perplexity=True)
    assert found == {
        "loss": pytest.approx(nll / weight, rel=1e-5),
        "token_accuracy": pytest.approx(right / weight),
        "exact_match": pytest.approx(np.mean(exact)),
        "perplexity": pytest.approx(np.exp(nll / weight), rel=1e-5),
    }
    assert 0 < right < weight  # or the accuracies above could not be wrong


def test_filler_rows_are_ignored(measure):
    assert len(FILLED[0]["index"]) == 8
    assert measure(FILLED, perplexity=False) == pytest.approx(measure(BATCHES, perplexity=False))


def test_exact_match_counts_no_filler_row_as_right():
    means = scoring.Means()
    scores = {"nll": np.zeros((8, 4)), "correct": np.zeros((8, 4), bool)}
    means.add(FILLED[0], scores)
    assert means.metrics(perplexity=False)["exact_match"] == 0 and means.examples == 3


def test_an_example_that_is_asked_nothing_is_not_right():
    means, b = scoring.Means(), dict(BATCHES[0])
    b["target_weights"] = b["target_weights"] * np.array([[1], [0], [0]], np.float32)
    means.add(b, {"nll": np.zeros((3, 4)), "correct": np.zeros((3, 4), bool)})
    assert means.metrics(perplexity=False)["exact_match"] == 0 and means.examples == 1


def test_real_outputs_have_no_perplexity():
    assert "perplexity" not in scoring.Means().metrics(perplexity=False)


def test_perplexity_of_an_absurd_loss_is_finite():
    means = scoring.Means()
    means.add(BATCHES[0], {"nll": np.full((3, 4), 1e6), "correct": np.zeros((3, 4), bool)})
    assert np.isfinite(means.metrics(perplexity=True)["perplexity"])
