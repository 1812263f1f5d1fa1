"""State and compiled programs of one run: what `train.py` steps, evaluates and saves."""

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import jax
from jax.sharding import Mesh

from data.batch import Batch
from data.task import Task
from models.contract import Architecture, Spec
from training.evaluation import scoring
from training.machine import mesh, programs
from training.machine.clock import Clock
from training.machine.programs import Programs
from training.step import params, train_step
from training.step.train_step import Recipe

Probe = Callable[[Architecture, Task, int], Mapping[str, float]]
"""A measurement at every evaluation, (model, task, step) -> metrics, passed down by an experiment."""


class Trainer:
    """Holds `state`; every method either moves it or reads it."""

    def __init__(
        self,
        model: Architecture,
        spec: Spec,
        recipe: Recipe,
        devices: Mesh,
        clock: Clock,
        *,
        best: str = "loss",
        several_shapes: bool = False,
    ):
        """`best` is the metric that chooses the best checkpoint. With `several_shapes` batches differ in shape, so what
        does not see the batch is a program of its own."""
        self._devices, self.clock = devices, clock
        self._micro_batches = recipe.optimizer.accumulation
        self.has_perplexity = has_perplexity(spec, best)
        self.skeleton = params.Skeleton(model)
        state = train_step.initial_state(params.flatten(model), recipe.optimizer)
        self.state = jax.device_put(state, mesh.replicated(devices))
        self._dials = train_step.make_dials(recipe)
        jitted = _jitted(self.skeleton, spec, recipe.of_programs(), devices)
        self._gradients = Programs(jitted.gradients, self._compiling)
        self._update = Programs(jitted.update, self._compiling, "the program of the update")
        self._whole_step = Programs(jitted.whole_step, self._compiling)
        self._several_shapes = several_shapes
        self._eval_step = scoring.EvalStep(self.skeleton, spec, devices, self._compiling)

    @property
    def weights(self) -> params.Params:
        """The parameters that are evaluated and kept as the best: the moving average if there is one."""
        return self.state.get("ema", self.state["params"])

    @property
    def model(self) -> Architecture:
        """The model with `weights` in place, for probes and pictures."""
        return self.skeleton(self.weights)

    def step(self, done: int, batch: Batch) -> dict[str, jax.Array]:
        """The update after `done` of them; returns its metrics without waiting for them."""
        arrays = mesh.place(batch, self._devices, self._micro_batches)
        dials, state = self._dials(done), self.state
        if self._several_shapes:
            gradients, sums = self._gradients(state["params"], arrays, dials.seed, state["step"])
            self.state, metrics = self._update(state, gradients, sums, dials)
        else:
            self.state, metrics = self._whole_step(state, arrays, dials)
        return metrics

    def compiling_ahead(
        self,
        coming: Iterable[Batch],
        validation: Iterable[Batch],
        unneeded: Callable[[], bool],
        say: Callable[[str], None],
    ) -> contextlib.AbstractContextManager[None]:
        """While the body runs, a thread compiles what batches like `coming` and `validation` need: `programs.ahead`."""
        if not self._several_shapes or not programs.can_be_ahead():
            return contextlib.nullcontext()
        params, step = programs.abstract(self.state["params"]), programs.abstract(self.state["step"])
        seed = self._dials(0).seed
        training = (
            functools.partial(
                self._gradients.prepare, params, mesh.place(batch, self._devices, self._micro_batches), seed, step
            )
            for batch in coming
        )
        evaluating = (functools.partial(self._eval_step.prepare, params, batch) for batch in validation)
        return programs.ahead(itertools.chain(training, evaluating), unneeded, say)

    def wait(self) -> None:
        """Waits until the device has done every step so far."""
        jax.block_until_ready(self.state)

    @contextlib.contextmanager
    def _compiling(self) -> Iterator[None]:
        self.wait()  # what is still running is training, not compiling
        seconds = self.clock.seconds
        before = seconds.get("compile", 0.0)
        with self.clock.pause("compile"):
            yield
        seconds["longest_compile"] = max(seconds.get("longest_compile", 0.0), seconds["compile"] - before)

    def evaluate(self, batches: Iterable[Batch]) -> dict[str, float]:
        """The metrics of `weights` over all of `batches`."""
        return scoring.evaluate(self._eval_step, self.weights, batches, perplexity=self.has_perplexity)


class Jitted(NamedTuple):
    gradients: jax.stages.Wrapped
    update: jax.stages.Wrapped
    whole_step: jax.stages.Wrapped


@functools.lru_cache(maxsize=4)
def _jitted(skeleton: params.Skeleton, spec: Spec, recipe: Recipe, devices: Mesh) -> Jitted:
    """The same functions for equal arguments: the seeds of a cell, which one process trains, are traced once."""
    gradients = mesh.within(devices, train_step.make_gradients(skeleton, spec, recipe))
    update = mesh.within(devices, train_step.make_update(recipe))
    whole_step = mesh.within(devices, train_step.make_train_step(skeleton, spec, recipe))
    return Jitted(jax.jit(gradients), jax.jit(update, donate_argnums=0), jax.jit(whole_step, donate_argnums=0))


def has_perplexity(spec: Spec, metric: str) -> bool:
    """Whether the loss has one. Raises ValueError where `metric`, which chooses the best, is it and there is none."""
    has = spec.loss == "cross_entropy"
    if metric == "perplexity" and not has:
        raise ValueError("best.metric = 'perplexity' is not measured where answers are real numbers; use loss")
    return has
