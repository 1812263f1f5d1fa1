"""Optimizers and learning-rate schedules by name, from optax.

`SCHEDULES[name](peak, warmup, steps, final)` returns step -> learning rate, every one with a linear
warm-up from 0 over `warmup` steps; `OPTIMIZERS[name](optimizer_config)` a transformation of gradients
into updates at a learning rate of 1. The step multiplies by the rate, which is one of its inputs, so runs that differ
in seed, rate or length share their compiled programs.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from data import checks


def _warm(warmup: int, after: optax.Schedule, peak: float) -> optax.Schedule:
    """Linear warm-up to `peak`, then `after` counted from the end of it."""
    return optax.join_schedules([optax.linear_schedule(0.0, peak, max(warmup, 1)), after], [warmup])


def inverse_square_root(peak: float, warmup: int, steps: int, final: float) -> optax.Schedule:
    """Vaswani et al. 2017, equation 3, written by its peak: lr = peak sqrt(warmup / step) after warm-up."""
    start = max(warmup, 1)
    return _warm(warmup, lambda step: peak * jnp.sqrt(start / (start + step)), peak)


def cosine(peak: float, warmup: int, steps: int, final: float) -> optax.Schedule:
    """Half a cosine from the peak to `final` times the peak at the last step (Loshchilov & Hutter 2017)."""
    return _warm(warmup, optax.cosine_decay_schedule(peak, max(steps - warmup, 1), final), peak)


def linear(peak: float, warmup: int, steps: int, final: float) -> optax.Schedule:
    """A straight line from the peak to `final` times the peak at the last step."""
    return _warm(warmup, optax.linear_schedule(peak, peak * final, max(steps - warmup, 1)), peak)


def constant(peak: float, warmup: int, steps: int, final: float) -> optax.Schedule:
    """The peak, after warm-up."""
    return _warm(warmup, optax.constant_schedule(peak), peak)


SCHEDULES: dict[str, Callable[[float, int, int, float], optax.Schedule]] = {
    "inverse_square_root": inverse_square_root,
    "cosine": cosine,
    "linear": linear,
    "constant": constant,
}


def _matrices(params) -> dict:
    """Weight decay is for matrices, not for biases and gains."""
    return {name: p.ndim >= 2 for name, p in params.items()}


OPTIMIZERS: dict[str, Callable[[ConfigDict], optax.GradientTransformation]] = {
    "adam": lambda c: optax.adam(1.0, c.b1, c.b2, c.eps),
    "adamw": lambda c: optax.adamw(1.0, c.b1, c.b2, c.eps, weight_decay=c.weight_decay, mask=_matrices),
    "sgd": lambda c: optax.sgd(1.0, c.momentum or None),
    "adafactor": lambda c: optax.adafactor(1.0, multiply_by_parameter_scale=False),
}


def learning_rates(schedule: ConfigDict, peak: float, steps: int, first: int, count: int) -> np.ndarray:
    """(count,) float32: the rates of `count` updates after `first` of them, of `steps`, as `config.schedule` asks.

    With a warm-up the very first update already moves.
    """
    curve = SCHEDULES[schedule.name](peak, schedule.warmup_steps, steps, schedule.final_fraction)
    first += 1 if schedule.warmup_steps else 0
    rates = jax.jit(lambda first: jnp.broadcast_to(curve(first + jnp.arange(count)), count))
    return np.asarray(rates(first), np.float32)


def transformation(config: ConfigDict) -> optax.GradientTransformation:
    """Of gradients (already summed and divided) into unit updates, clipping first, as `config.optimizer` asks."""
    checks.one_of("optimizer.name", config.name, OPTIMIZERS)
    update, norm = OPTIMIZERS[config.name](config), config.clip_norm
    return optax.chain(optax.clip_by_global_norm(norm) if norm else optax.identity(), update)
