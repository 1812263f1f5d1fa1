"""State and compiled programs of one run: what `train.py` steps, evaluates and saves."""

from collections.abc import Iterable
from typing import Any

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from data.batch import Batch
from models.contract import Architecture, Spec
from training import backend, evaluation, mesh, params, step
from training.clock import Clock


class Trainer:
    """Holds `state`; every method either moves it or reads it."""

    def __init__(self, model: Architecture, spec: Spec, config: ConfigDict, devices: Mesh, clock: Clock):
        self._devices, self.clock = devices, clock
        self._micro_batches = config.optimizer.accumulation
        self.has_perplexity = spec.loss == "cross_entropy"  # type: ignore[attr-defined]
        if config.best.metric == "perplexity" and not self.has_perplexity:
            raise ValueError("best.metric = 'perplexity' is not measured where answers are real numbers; use loss")
        self.skeleton = params.Skeleton(model)
        self.state = jax.device_put(step.init_state(params.flatten(model), config), mesh.replicated(devices))
        self._dials = step.make_dials(config)
        self._train_step = jax.jit(step.make_train_step(self.skeleton, spec, config), donate_argnums=0)
        self._eval_step = evaluation.compile_eval_step(self.skeleton, spec, devices)
        self._compiled: dict[tuple, Any] = {}  # one program a batch shape

    @property
    def weights(self) -> params.Params:
        """What is evaluated and kept as the best: the moving average where there is one."""
        return self.state.get("ema", self.state["params"])

    @property
    def model(self) -> Architecture:
        """The model with `weights` in place, for probes and pictures."""
        return self.skeleton(self.weights)

    def step(self, done: int, batch: Batch) -> dict[str, jax.Array]:
        """The update after `done` of them; returns its metrics without waiting for them."""
        dials = self._dials(done)
        arrays = mesh.place(batch, self._devices, self._micro_batches)
        shape = tuple(array.shape for array in arrays.values())
        if shape not in self._compiled:
            self.wait()  # what is still running is training, not compiling
            with self.clock.pause("compile"):
                self._compiled[shape] = self._train_step.lower(self.state, arrays, dials).compile()
                backend.release_memory()
        self.state, metrics = self._compiled[shape](self.state, arrays, dials)
        return metrics

    def wait(self) -> None:
        """Until the device has done every step so far."""
        jax.block_until_ready(self.state)

    def evaluate(self, batches: Iterable[Batch]) -> dict[str, float]:
        """The metrics of `weights` over all of `batches`."""
        return evaluation.evaluate(
            self._eval_step, self.weights, batches, self._devices, perplexity=self.has_perplexity
        )
