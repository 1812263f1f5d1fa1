"""Teacher-forced quality on a split: the same numbers during training and in eval.py.

Dims: B batch, T target length.
"""

import contextlib
import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping

import jax
import numpy as np
from jax.sharding import Mesh

from data.batch import Batch
from models.contract import Architecture, Spec
from training.machine import mesh as meshes
from training.machine.programs import Programs
from training.step import train_step
from training.step.params import Params, Skeleton, flatten

Scored = tuple[Batch, dict[str, np.ndarray]]


class EvalStep:
    """The evaluation step of a batch on the host, compiled once per shape; its outputs are whole in every process."""

    def __init__(self, skeleton: Skeleton, spec: Spec, mesh: Mesh, compiling=contextlib.nullcontext):
        self._mesh = mesh
        self._programs = Programs(_jitted(skeleton, spec, mesh), compiling)

    def __call__(self, params: Params, batch: Batch) -> Mapping[str, jax.Array]:
        return self._programs(params, meshes.place(batch, self._mesh))

    def prepare(self, params: Params, batch: Batch) -> None:
        """Compiles the program for a batch of this shape unless that has been done."""
        self._programs.prepare(params, meshes.place(batch, self._mesh))


@functools.lru_cache(maxsize=4)
def _jitted(skeleton: Skeleton, spec: Spec, mesh: Mesh) -> jax.stages.Wrapped:
    """The same function for equal arguments: a run and the probes of its end, and the seeds of a cell, share it."""
    function = meshes.within(mesh, train_step.make_eval_step(skeleton, spec))
    return jax.jit(function, out_shardings=meshes.replicated(mesh))


def scored(eval_step: EvalStep, params: Params, batches: Iterable[Batch]) -> Iterator[Scored]:
    """Each batch with its `nll`, `correct` and `prediction`, (B, T) numpy; the device works one batch ahead."""
    waiting: tuple[Batch, Mapping[str, jax.Array]] | None = None
    for batch in batches:
        following = batch, eval_step(params, batch)
        if waiting:
            yield _fetch(*waiting)
        waiting = following
    if waiting:
        yield _fetch(*waiting)


def scorer(model: Architecture, spec: Spec) -> Callable[..., Iterator[Scored]]:
    """Returns (batches, changed={}) -> what `scored` yields, for the model with its `changed` parameters."""
    mesh = meshes.make()
    eval_step = EvalStep(Skeleton(model), spec, mesh)
    weights = jax.device_put(flatten(model), meshes.replicated(mesh))

    def score(batches: Iterable[Batch], changed: Params | None = None) -> Iterator[Scored]:
        return scored(eval_step, weights | jax.device_put(changed or {}, meshes.replicated(mesh)), batches)

    return score


def _fetch(batch: Batch, output: Mapping[str, jax.Array]) -> Scored:
    rows = len(batch["index"])
    return batch, {name: np.asarray(array)[..., :rows, :] for name, array in output.items()}


class Means:
    """Weighted means over everything that is added: loss, accuracy, exact match."""

    def __init__(self) -> None:
        self.nll = self.correct = self.weight = 0.0
        self.exact = self.examples = 0

    def add(self, batch: Batch, scores: dict[str, np.ndarray]) -> None:
        """Adds an output of `scored`. Rows without a question are not counted as examples."""
        weights_BT = batch["target_weights"]
        asked_B = (batch["index"] >= 0) & (weights_BT > 0).any(axis=1)
        self.nll += float((scores["nll"] * weights_BT).sum(dtype=np.float64))
        self.correct += float((scores["correct"] * weights_BT).sum(dtype=np.float64))
        self.weight += float(weights_BT.sum(dtype=np.float64))
        self.exact += int(((scores["correct"] | (weights_BT == 0)).all(axis=1) & asked_B).sum())
        self.examples += int(asked_B.sum())

    def metrics(self, *, perplexity: bool) -> dict[str, float]:
        """`loss` per weighted position without label smoothing (nats, or squared error), accuracy, exact match."""
        weight, examples = max(self.weight, 1.0), max(self.examples, 1)
        loss = self.nll / weight
        row = {"loss": loss, "token_accuracy": self.correct / weight, "exact_match": self.exact / examples}
        return row | ({"perplexity": math.exp(min(loss, 700.0))} if perplexity else {})


def evaluate(eval_step: EvalStep, params: Params, batches: Iterable[Batch], *, perplexity: bool) -> dict[str, float]:
    """The means over all of `batches`."""
    means = Means()
    for batch, scores in scored(eval_step, params, batches):
        means.add(batch, scores)
    return means.metrics(perplexity=perplexity)
