"""Checks a config's values before anything is built. Data and models check their own keys when they are built."""

import math
import os
import warnings
from collections.abc import Collection, Sequence
from typing import Any

import jax
from flax import nnx
from ml_collections import ConfigDict

import data
import models
from data import checks
from data.pipeline import Batching
from models import mixer_stack
from models.options import flat
from training.evaluation import translator
from training.machine import backend
from training.mirrors import mirror, wandb_account
from training.step.optimizer import OPTIMIZERS, SCHEDULES

METRICS = ("loss", "perplexity", "token_accuracy", "exact_match", *translator.METRICS)

WHOLE = {  # the least that each may be
    "seed": 0,
    "steps": 1,
    "batch_size": 1,
    "tokens_per_batch": 1,
    "keep": 1,
    "eval_examples": 0,
    "workers": 0,
    "loss_positions": 0,
    "cpu_devices": 1,
    "optimizer.accumulation": 1,
    "schedule.warmup_steps": 0,
    "early_stopping.patience": 0,
    "every.log": 1,
    "every.eval": 1,
    "every.save": 1,
    "every.decode": 0,
    "decode_examples": 0,
}
LARGEST = 2**31 - 1  # of whole numbers
LEAST = 1e-30  # of float32 numbers above 0
MOST = {
    "seed": 2**32 - 1,
    "workers": 4 * (os.cpu_count() or 1),  # processes of several hundred megabytes each
    "cpu_devices": backend.MOST_DEVICES,
    "model.num_layers": 1000,
    "optimizer.learning_rate": 1e3,
    "optimizer.eps": 1e3,
    "optimizer.weight_decay": 1e3,
    "optimizer.clip_norm": 1e30,  # float32
}
POSITIVE = ("optimizer.learning_rate", "optimizer.eps")
NOT_NEGATIVE = ("optimizer.weight_decay", "optimizer.clip_norm")
SHARES = ("optimizer.b1", "optimizer.b2", "optimizer.momentum", "optimizer.ema_decay", "label_smoothing")

OF_STEPS = ("steps", "optimizer", "schedule", "label_smoothing", "loss_positions", "early_stopping", "every", "profile")
"""Keys, or the first word of several, that do nothing where a model is counted."""

COUNTS_WITH = {
    "optimizer.b1": ("optimizer.name", ("adam", "adamw")),
    "optimizer.b2": ("optimizer.name", ("adam", "adamw")),
    "optimizer.eps": ("optimizer.name", ("adam", "adamw")),
    "optimizer.momentum": ("optimizer.name", ("sgd",)),
    "schedule.final_fraction": ("schedule.name", ("cosine", "linear")),
    "data.tokenizer.vocab_size": ("data.tokenizer.name", ("unigram", "bpe", "char")),
    "wandb.mode": ("tracker.name", ("wandb",)),
}
"""Keys that do nothing unless another has one of these values."""


def check_given(config: ConfigDict, given: Sequence[str]) -> None:
    """Raises ValueError, in one line, for a key of the command line that would do nothing."""
    for key in given:
        if models.MODELS[config.model.name].counted and key.split(".")[0] in (*OF_STEPS, "init_from"):
            raise ValueError(f"{key} does nothing: {config.model.name} is trained by counting, once; leave it out")


def check_idle(config: ConfigDict, given: Sequence[str]) -> None:
    """Raises ValueError, in one line, for a key of the command line that the value of another keeps from counting.
    Keys of a mixer that no layer has are only warned of: commands of questions and sweeps give them to all systems."""
    unread = {f"model.{key}" for key in mixer_stack.unread(config.model)}
    for key in given:
        if key in unread:
            pattern = ", ".join(f"model.{name} = {value}" for name, value in config.model.items() if "mixers" in name)
            warnings.warn(f"{key} = {_at(config, key)} does nothing with {pattern}: no layer reads it", stacklevel=2)
        other, values = COUNTS_WITH.get(key, ("", ()))
        if other and _at(config, key) and _at(config, other) not in values:
            choice = f"{other} = {_at(config, other)}; use {' or '.join(values)}"
            raise ValueError(f"{key} = {_at(config, key)} does nothing with {choice}, or leave it out")
        if key == "decode_examples" and not config.every.decode:
            raise ValueError(f"{key} = {config.decode_examples} does nothing with every.decode = 0; give both")


def check_size(key: str, value: Any) -> None:
    """Raises ValueError, in one line, for a number that is not finite or larger than any run can have."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{key} = {value} is not a finite number; give one")
    if isinstance(value, int | float):
        most = MOST.get(key, value if isinstance(value, float) else LARGEST)
        if value > most:
            raise ValueError(f"{key} = {value} is too large; use {most:.15g} or less")


def validate(config: ConfigDict) -> None:
    """Raises ValueError, in one line, for the first value that no run can have."""
    _choice(config, "task", data.TASKS)
    _choice(config, "model.name", models.MODELS)
    _choice(config, "optimizer.name", OPTIMIZERS)
    _choice(config, "schedule.name", SCHEDULES)
    _choice(config, "best.metric", METRICS)
    _choice(config, "wandb.mode", wandb_account.MODES)
    _choice(config, "tracker.name", mirror.TRACKERS)
    for key, least in WHOLE.items():
        value = _at(config, key)
        if value is not None and value < least:
            raise ValueError(f"{key} = {value} is too small; use {least} or more")
    for key, value in flat(config).items():
        check_size(key, value)
    for key in POSITIVE:
        if not _at(config, key) > 0:
            raise ValueError(f"{key} = {_at(config, key)} is not positive; use a value above 0")
        if _at(config, key) < LEAST:
            raise ValueError(f"{key} = {_at(config, key)} is nothing in float32; use {LEAST} or more")
    for key in NOT_NEGATIVE:
        if not _at(config, key) >= 0:
            raise ValueError(f"{key} = {_at(config, key)} is negative; use 0 (off) or more")
        if 0 < _at(config, key) < LEAST:
            raise ValueError(f"{key} = {_at(config, key)} is nothing in float32; use 0 (off), or {LEAST} or more")
    for key in SHARES:
        if not 0 <= _at(config, key) <= 1 - 2**-24:  # the largest float32 below 1
            raise ValueError(f"{key} = {_at(config, key)} is not in [0, 1) as float32; use 0 or more and less than 1")
    if not 0 <= _at(config, "schedule.final_fraction") <= 1:
        raise ValueError(f"schedule.final_fraction = {config.schedule.final_fraction} is not in [0, 1]; use 0 to 1")
    if config.schedule.warmup_steps > config.steps:
        raise ValueError(
            f"schedule.warmup_steps = {config.schedule.warmup_steps} is more than steps = {config.steps}; "
            f"use at most {config.steps}"
        )
    key = "batch_size" if _at(config, "batch_size") else "tokens_per_batch"
    if config.optimizer.accumulation > (most := _at(config, key)):
        raise ValueError(
            f"optimizer.accumulation = {config.optimizer.accumulation} is more than {key} = {most}, so that some parts "
            f"would be empty; use at most {most}"
        )
    decode, evaluate, metric = config.every.decode, config.every.eval, config.best.metric
    pairs = {"tokenizer", "max_length"} <= {*config.data}  # of sentences
    if (decode or metric in translator.METRICS) and not pairs:
        key = f"every.decode = {decode}" if decode else f"best.metric = {metric!r}"
        raise ValueError(f"{key}: answers of {config.task} are no text to compare; use {0 if decode else 'loss'}")
    if decode % evaluate:
        raise ValueError(
            f"every.decode = {decode} is no multiple of every.eval = {evaluate}; use 0 (off) or {evaluate}"
        )
    if metric in translator.METRICS and decode != evaluate:
        raise ValueError(f"best.metric = {metric!r} needs every.decode = every.eval; use every.decode = {evaluate}")
    if config.optimizer.weight_decay and config.optimizer.name != "adamw":
        raise ValueError(
            f"optimizer.weight_decay = {config.optimizer.weight_decay} does nothing with optimizer.name = "
            f"{config.optimizer.name}; use adamw"
        )
    if config.tracker.name == "wandb":
        wandb_account.check(config.wandb.mode, config.wandb.project)
    models.check_values(config.model)


def check_fit(config: ConfigDict) -> None:
    """Raises ValueError where the task or the model refuses values, or the model the task. No text is read."""
    Batching.of(config)
    spec = data.outline(config.task, config.data)
    nnx.eval_shape(lambda: models.build(config.model.name, config.model, spec, jax.random.key(config.seed)))


def _at(config: ConfigDict, key: str) -> Any:
    """The value at a dotted key; None if the config has no such key, such as batch_size or tokens_per_batch."""
    value: Any = config
    for name in key.split("."):
        if name not in value:
            return None
        value = value[name]
    return value


def _choice(config: ConfigDict, key: str, choices: Collection[str]) -> None:
    checks.one_of(key, _at(config, key), choices)
