"""Checks that a run fits the machine before anything is allocated, and explains it when memory runs out later."""

import jax
from ml_collections import ConfigDict

import models
from data.pipeline import Batching
from data.task import Task
from training.machine.backend import device_bytes
from training.step import params, train_step
from training.step.train_step import Recipe

LOWER = (
    "lower batch_size, tokens_per_batch, lengths, model.hidden_size or model.num_layers, "
    "raise optimizer.accumulation, or set model.remat"
)
"""What takes less memory."""

LARGEST = 2**31 - 1


def check(model: ConfigDict, recipe: Recipe, batching: Batching, task: Task, eval_examples: int) -> None:
    """Raises ValueError, in one line, if parameters, gradients and optimizer are more than a device holds, or one batch
    with its logits alone, or if the evaluation is more than the machine holds."""
    spec = task.spec

    def start() -> train_step.State:
        built = models.build(model.name, model, spec, jax.random.key(recipe.seed))
        return train_step.initial_state(params.flatten(built), recipe.optimizer)

    state, there = jax.eval_shape(start), device_bytes()
    has = f"GB, and {jax.devices()[0].device_kind} has {there / 1e9:,.1f} GB a device"
    needed = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves((state, state["params"])))  # and the gradients
    if needed > there:
        raise ValueError(
            f"model.hidden_size = {model.hidden_size} and the other sizes make "
            f"{params.count(state['params']):,} parameters: with gradients and optimizer {needed / 1e9:,.1f} {has}; "
            "lower model.hidden_size, model.num_layers or the vocabulary"
        )
    key = "batch_size" if batching.batch_size else "tokens_per_batch"
    asked = batching.batch_size or batching.tokens_per_batch or 0
    length = spec.max_source_length + spec.max_target_length
    tokens = asked * length if batching.batch_size else asked
    logits = 0 if recipe.loss_positions else tokens * spec.max_target_length // length * spec.output_size
    needed = 5 * 8 * tokens + 4 * logits // (recipe.optimizer.accumulation * jax.device_count())  # drawn as int64
    if needed > there:
        raise ValueError(f"{key} = {asked} makes batches that take more than {needed / 1e9:,.1f} {has}; {LOWER}")
    examples = min(eval_examples or LARGEST, task.num_examples("val") or 0)
    needed = 5 * 4 * examples * length  # five arrays of four bytes, which stay for the whole run
    if needed > there * len(jax.local_devices()):
        raise ValueError(
            f"eval_examples = {eval_examples} makes {examples:,} examples which take {needed / 1e9:,.1f} {has}; "
            "lower eval_examples, or lengths"
        )


def exhausted(error: Exception) -> str | None:
    """The message for an error that means that memory ran out; None for any other."""
    known = ("RESOURCE_EXHAUSTED", "Out of memory", "Maximum allowed dimension exceeded", "array is too big")
    if not isinstance(error, MemoryError) and not any(words in str(error) for words in known):
        return None
    asked = (str(error) or "no more to be had").splitlines()[0]
    return f"memory ran out: {asked}; a device has {device_bytes() / 1e9:,.1f} GB; {LOWER}"
