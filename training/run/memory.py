"""Checks that a run fits the machine before anything is allocated, and explains it when memory runs out later."""

import contextlib
import warnings

import jax
import numpy as np
from ml_collections import ConfigDict

import models
from data.pipeline import Batching
from data.spec import Spec
from data.task import Task
from models import options
from training.machine.backend import device_bytes
from training.step import params, train_step
from training.step.train_step import Recipe

LARGEST = 2**31 - 1
DEEP = 32  # layers


def check_parameters(model: ConfigDict, recipe: Recipe, spec: Spec) -> None:
    """Raises ValueError, in one line, if parameters, gradients and optimizer are more than a device holds, or if the
    model refuses its values or the task."""

    def sizes(layers: int) -> np.ndarray:
        """Parameters, those without embeddings, and bytes with gradients and optimizer."""
        config = model.copy_and_resolve_references()
        if layers:
            config.num_layers = layers

        def start() -> train_step.State:
            built = models.build(model.name, config, spec, jax.random.key(recipe.seed))
            return train_step.initial_state(params.flatten(built), recipe.optimizer)

        with warnings.catch_warnings(action="ignore"):  # of sizes beyond 32 bits, which are refused below
            state = jax.eval_shape(start)
        size = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves((state, state["params"])))
        weights = state["params"]
        return np.array([params.count(weights), params.count(weights, embeddings=False), size])

    layers, there, found = model.get("num_layers", 0), device_bytes(), np.zeros(3)
    if layers > DEEP:  # all of them take minutes to trace; where there are far too many, a few tell
        with contextlib.suppress(ValueError):  # fewer than a pattern of mixers has
            few, fewer = sizes(8), sizes(4)
            found = few + (layers - 8) * (few - fewer) // 4
    if found[2] < 2 * there:
        found = sizes(layers)
    num_params, without, needed = found.tolist()
    if needed > there:
        key, value, times = _largest_size(model)
        asked, keys = f"model.{key} = {value}", dict.fromkeys((f"model.{key}", "model.hidden_size", "model.num_layers"))
        if times <= 1 and 2 * without < num_params:
            asked = f"a vocabulary of {max(spec.source_size, spec.target_size, spec.output_size):,} tokens"
        raise ValueError(
            f"{asked} and the other sizes make "
            f"{num_params:,} parameters: with gradients and optimizer {needed / 1e9:,.1f} "
            f"{_has(there)}; lower {', '.join(keys)} or the vocabulary"
        )


def lower(model: ConfigDict) -> str:
    """What takes less memory in training; first the size of the model that exceeds its default by most."""
    key, _, times = _largest_size(model)
    sizes = dict.fromkeys(([f"model.{key}"] if times > 1 else []) + ["model.hidden_size", "model.num_layers"])
    return (
        f"lower batch_size, tokens_per_batch, lengths, {' or '.join(sizes)}, "
        "raise optimizer.accumulation, or set model.remat"
    )


def _largest_size(model: ConfigDict) -> tuple[str, int, float]:
    """The key of a model that exceeds by most what it is where nothing is said, its value, and how many times."""
    values, known = options.flat(model), models.MODELS[model.name].options()

    def times(key: str) -> float:
        option = known[key]
        usual = option.width * model.hidden_size if option.width else option.default
        return values[key] / usual if usual else 0.0

    sizes = [key for key in ("hidden_size", *known) if key in known and type(values[key]) is int]
    largest = max(sizes, key=times)
    return largest, values[largest], times(largest)


def check(model: ConfigDict, recipe: Recipe, batching: Batching, task: Task, eval_examples: int) -> None:
    """Raises ValueError, in one line, as `check_parameters`, or if one batch with its logits alone is more than a
    device holds, or the evaluation more than the machine holds."""
    spec, there = task.spec, device_bytes()
    check_parameters(model, recipe, spec)
    has = _has(there)
    key = "batch_size" if batching.batch_size else "tokens_per_batch"
    asked = batching.batch_size or batching.tokens_per_batch or 0
    length = spec.max_source_length + spec.max_target_length
    tokens = asked * length if batching.batch_size else asked
    logits = 0 if recipe.loss_positions else tokens * spec.max_target_length // length * spec.output_size
    needed = 5 * 8 * tokens + 4 * logits // (recipe.optimizer.accumulation * jax.device_count())  # drawn as int64
    if needed > there:
        raise ValueError(f"{key} = {asked} makes batches that take more than {needed / 1e9:,.1f} {has}; {lower(model)}")
    examples = min(eval_examples or LARGEST, task.num_examples("val") or 0)
    needed = 5 * 4 * examples * length  # five arrays of four bytes, which stay for the whole run
    if needed > there * len(jax.local_devices()):
        raise ValueError(
            f"eval_examples = {eval_examples} makes {examples:,} examples which take {needed / 1e9:,.1f} {has}; "
            "lower eval_examples, or lengths"
        )


def _has(there: int) -> str:
    return f"GB, and {jax.devices()[0].device_kind} has {there / 1e9:,.1f} GB a device"


def exhausted(error: Exception, way_out: str) -> str | None:
    """The message for an error that means that memory ran out, with what to do about it; None for any other."""
    known = ("RESOURCE_EXHAUSTED", "Out of memory", "Maximum allowed dimension exceeded", "array is too big")
    if not isinstance(error, MemoryError) and not any(words in str(error) for words in known):
        return None
    asked = (str(error) or "no more to be had").splitlines()[0]
    return "; ".join(
        filter(None, (f"memory ran out: {asked}", f"a device has {device_bytes() / 1e9:,.1f} GB", way_out))
    )
