"""The step: micro-batches add up, filler rows weigh nothing, dropout follows (seed, step)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
from configs import common
from data.batch import pad_rows
from data.spec import Spec
from tests.training import runs
from training.machine import mesh
from training.step import params, train_step

SPEC = Spec("tokens", 9, 9, "tokens", 9, 5, 4, free_running=True, eos=2)


def config(**values):
    c = common.base("reverse", "gru_attention")
    c.model = models.configured("gru_attention", {"hidden_size": 8, "num_layers": 1})
    c.update_from_flattened_dict(values)
    return c


def batch(rows=8):
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 6, rows)
    weights = (np.arange(4) < rng.integers(1, 5, rows)[:, None]).astype(np.float32)
    return {
        "source": rng.integers(3, 9, (rows, 5)).astype(np.int32),
        "source_mask": np.arange(5) < lengths[:, None],
        "target_in": rng.integers(3, 9, (rows, 4)).astype(np.int32),
        "target_out": rng.integers(3, 9, (rows, 4)).astype(np.int32),
        "target_weights": weights,
        "distance": np.full((rows, 4), -1, np.int32),
        "index": np.arange(rows, dtype=np.int32),
    }


def take_steps(c, count=1, data=None):
    model = models.build(c.model.name, c.model, SPEC, jax.random.key(0))
    take = jax.jit(train_step.make_train_step(params.Skeleton(model), SPEC, train_step.Recipe.of(c)))
    state = train_step.initial_state(params.flatten(model), c.optimizer)
    arrays = mesh.place(data or batch(), mesh.make(), c.optimizer.accumulation)
    dials = train_step.make_dials(train_step.Recipe.of(c))
    for done in range(count):
        state, metrics = take(state, arrays, dials(done))
    return state, metrics


def assert_close(one, other, **tolerance):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), one, other)


@pytest.fixture(scope="module", autouse=True)
def compiled_in_haste():
    with runs.compiled_in_haste():
        yield


@pytest.fixture(scope="module")
def plain():
    return take_steps(config())


def test_gradients_and_update_apart_are_the_step(plain):
    c = config()
    model = models.build(c.model.name, c.model, SPEC, jax.random.key(0))
    recipe, state = train_step.Recipe.of(c), train_step.initial_state(params.flatten(model), c.optimizer)
    dials = train_step.make_dials(recipe)(0)
    gradients = jax.jit(train_step.make_gradients(params.Skeleton(model), SPEC, recipe))
    arrays = mesh.place(batch(), mesh.make())
    state, metrics = jax.jit(train_step.make_update(recipe))(
        state, *gradients(state["params"], arrays, dials.seed, state["step"]), dials
    )
    assert_close(metrics, plain[1], rtol=1e-5)
    assert_close(state["params"], plain[0]["params"], atol=2e-5)


@pytest.mark.parametrize("micro_batches", [2, 4])
def test_micro_batches_add_up_to_the_batch(plain, micro_batches):
    state, metrics = take_steps(config(**{"optimizer.accumulation": micro_batches}))
    assert_close(metrics, plain[1], rtol=1e-5)
    assert_close(state["params"], plain[0]["params"], atol=2e-5)


def test_logits_of_few_positions_at_once_change_nothing(plain):
    state, metrics = take_steps(config(loss_positions=3))
    assert_close(metrics, plain[1], rtol=1e-5)
    assert_close(state["params"], plain[0]["params"], atol=2e-5)


def test_filler_rows_weigh_nothing(plain):
    state, metrics = take_steps(config(), data=pad_rows(batch(), 32))
    assert_close(metrics, plain[1], rtol=1e-5)
    assert_close(state["params"], plain[0]["params"], atol=2e-5)


def test_gradients_are_divided_by_the_weights_of_all_rows(plain):
    """One row's weights count as much as another's, however they fall into micro-batches."""
    data = batch()
    data["target_weights"][1::2] = 0
    _, whole = take_steps(config(), data=data)
    _, split = take_steps(config(**{"optimizer.accumulation": 2}), data=data)
    assert_close(split, whole, rtol=1e-5)
    assert abs(whole["loss"] - plain[1]["loss"]) > 1e-4


def test_dropout_is_a_function_of_seed_and_step():
    rate = {"model.output_dropout_rate": 0.5}
    (_, once), (_, again), (_, other) = (take_steps(config(**rate | {"seed": s})) for s in (0, 0, 1))
    assert once["loss"] == again["loss"] != other["loss"]
    still = rate | {"optimizer.learning_rate": 0.0}
    assert take_steps(config(**still), 2)[1]["loss"] != take_steps(config(**still), 1)[1]["loss"]


def test_runs_that_differ_in_numbers_share_their_program():
    """Seed, learning rate, schedule, length and logging are data: the compilation cache serves every run of a grid."""

    def program(**values):
        c = config(**values)
        model = models.build(c.model.name, c.model, SPEC, jax.random.key(c.seed))
        take = jax.jit(train_step.make_train_step(params.Skeleton(model), SPEC, train_step.Recipe.of(c)))
        state = train_step.initial_state(params.flatten(model), c.optimizer)
        return take.lower(
            state, mesh.place(batch(), mesh.make()), train_step.make_dials(train_step.Recipe.of(c))(0)
        ).as_text()

    other = {"seed": 7, "optimizer.learning_rate": 0.5, "schedule.name": "linear", "steps": 30, "every.log": 2}
    assert program() == program(**other)
    assert program() != program(**{"optimizer.b1": 0.5})


def test_label_smoothing_changes_the_loss_and_not_the_nll(plain):
    _, smoothed = take_steps(config(label_smoothing=0.1))
    np.testing.assert_allclose(smoothed["nll"], plain[1]["nll"], rtol=1e-6)
    assert smoothed["loss"] != plain[1]["loss"]


def test_moving_average_follows_its_formula():
    decay = {"optimizer.ema_decay": 0.9}
    first, _ = take_steps(config(**decay), 1)
    initial = params.flatten(models.build("gru_attention", config().model, SPEC, jax.random.key(0)))
    expected = jax.tree.map(lambda old, new: 0.1 * old + 0.9 * new, initial, first["params"])
    assert_close(first["ema"], expected, atol=1e-6)


def test_norms_are_those_of_the_gradient_on_logged_steps(plain):
    _, metrics = take_steps(config(**{"every.log": 1}))
    modules = {name: value for name, value in metrics.items() if name.startswith("gradient_norm/")}
    assert len(modules) >= 3
    total = jnp.sqrt(sum(value**2 for value in modules.values()))
    np.testing.assert_allclose(total, metrics["gradient_norm"], rtol=1e-5)
    assert metrics["update_ratio"] > 0
    assert plain[1]["update_ratio"] == 0  # between logged steps nobody pays for them
