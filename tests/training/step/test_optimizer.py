"""Schedules at the points that define them; every optimizer moves and clips."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import common
from training.step.optimizer import OPTIMIZERS, SCHEDULES, learning_rates, transformation


def rates_of(c, first=0, count=1000):
    return learning_rates(c.schedule, c.optimizer.learning_rate, c.steps, first, count)


def config(optimizer="adam", name="cosine", **values):
    c = common.base("recall", "gru")
    c.steps, c.schedule.name, c.schedule.warmup_steps, c.optimizer.name = 1000, name, 100, optimizer
    c.optimizer.learning_rate = 0.5
    c.optimizer.update(values)
    return c


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_every_schedule_warms_up_linearly_to_its_peak(name):
    rates = rates_of(config(name=name))
    assert rates.shape == (1000,)
    np.testing.assert_array_equal(rates_of(config(name=name), 40, 70), rates[40:110])
    np.testing.assert_allclose(rates[[0, 49, 99]], [0.005, 0.25, 0.5], rtol=1e-5)


def test_schedules_after_warmup():
    halfway, end = 549, 999
    assert rates_of(config(name="constant"))[end] == 0.5
    np.testing.assert_allclose(rates_of(config(name="linear"))[halfway], 0.25, rtol=1e-5)
    np.testing.assert_allclose(rates_of(config(name="cosine"))[halfway], 0.25, rtol=1e-5)
    np.testing.assert_allclose(rates_of(config(name="cosine"))[end], 0.0, atol=1e-7)
    # Vaswani et al. 2017, equation 3, at 4 times the warm-up: half the peak.
    np.testing.assert_allclose(rates_of(config(name="inverse_square_root"))[399], 0.25, rtol=1e-5)


def test_schedule_without_warmup_starts_at_its_peak():
    c = config()
    c.schedule.warmup_steps = 0
    assert rates_of(c)[0] == 0.5


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_every_optimizer_descends(name):
    params = {"kernel": jnp.array([[3.0, -2.0], [1.0, 4.0]]), "bias": jnp.array([1.0, 2.0])}
    c = config(name)
    transform = transformation(c.optimizer)
    state = transform.init(params)

    def loss(p):
        return sum(jnp.sum(x**2) for x in p.values())

    before = loss(params)
    for _ in range(20):
        updates, state = transform.update(jax.grad(loss)(params), state, params)
        params = jax.tree.map(lambda p, u: p + 0.05 * u, params, updates)
    assert loss(params) < before


def test_clipping_bounds_the_global_norm():
    c = config("sgd", momentum=0.0, clip_norm=2.0)
    transform = transformation(c.optimizer)
    gradients = {"a": jnp.full(3, 30.0), "b": jnp.full(4, 40.0)}
    updates, _ = transform.update(gradients, transform.init(gradients), gradients)
    norm = np.sqrt(sum(float((u**2).sum()) for u in updates.values()))
    np.testing.assert_allclose(norm, 2.0, rtol=1e-5)


def test_weight_decay_spares_vectors():
    c = config("adamw", weight_decay=0.1)
    transform = transformation(c.optimizer)
    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    zero = jax.tree.map(jnp.zeros_like, params)
    updates, _ = transform.update(zero, transform.init(params), params)
    assert (updates["kernel"] < 0).all() and (updates["bias"] == 0).all()
