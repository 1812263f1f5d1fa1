"""State and compiled programs of many runs that train as one: `training/trainer.py` with a leading axis.

Every array of the state has a leading axis of slots, one for each run, which is sharded over the devices: a device
holds whole runs and none has to talk to another. Within a device a step is mapped over its slots, one after another, or
vectorised, all in one. What differs between runs (parameters, batch, seed, learning rate, whether it takes part) is
sliced; the program is that of one run, so each run's numbers are its own, up to rounding.

Slots of runs that do not take part keep their state. Mapped, they cost nothing; vectorised, they are computed and
thrown away. Where devices do not share the runs evenly, idle slots are added.

Dims: N slots, B batch, T target length.
"""

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from data.batch import Batch, pad_rows
from models.contract import Architecture, Spec
from training.evaluation import scoring
from training.machine import mesh
from training.machine.clock import Clock
from training.machine.programs import Programs
from training.step import params, train_step
from training.step.train_step import Arrays, Dials, State
from training.trainer import has_perplexity

SLOTS, SHARED = PartitionSpec("replica"), PartitionSpec()


def axis_of(config: ConfigDict) -> str:
    """`mapped` or `vectorised`, as `config.replica_axis` asks.

    `auto` is mapped on a CPU, where it was measured to be the faster for GRUs and Transformers (docs/performance.md),
    and vectorised elsewhere, in the hope that an accelerator which one small run does not fill wants the wider arrays.
    """
    if config.replica_axis != "auto":
        return config.replica_axis
    return "mapped" if jax.default_backend() == "cpu" else "vectorised"


def over_slots(axis: str, function: Callable, arguments: Any) -> Any:
    """`function` of each slice of `arguments` along the leading axis of their leaves, stacked."""
    return jax.lax.map(function, arguments) if axis == "mapped" else jax.vmap(function)(arguments)


def make_step(train_step: train_step.TrainStep, axis: str) -> Callable[..., tuple[State, dict]]:
    """(state, batch, seed, learning rate, active, logged) -> state, metrics; all but `logged` with a leading axis.

    Slots whose `active` is False keep their state; their metrics mean nothing.
    """

    def steps(state_N: State, batch_N: Arrays, seed_N, rate_N, active_N, logged) -> tuple[State, dict]:
        def take(state, batch, seed, learning_rate):
            return train_step(state, batch, Dials(seed, learning_rate, logged))

        def leave(state, batch, seed, learning_rate):
            metrics = jax.eval_shape(take, state, batch, seed, learning_rate)[1]
            return state, jax.tree.map(lambda metric: jnp.zeros(metric.shape, metric.dtype), metrics)

        def one(slot):
            active, *inputs = slot
            return jax.lax.cond(active, take, leave, *inputs)

        return over_slots(axis, one, (active_N, state_N, batch_N, seed_N, rate_N))

    return steps


def make_eval(eval_step: Callable, axis: str) -> Callable[[params.Params, Arrays], dict[str, jax.Array]]:
    """(params with a leading axis, one batch for all of them) -> outputs (N, B, T)."""
    return lambda params_N, batch: over_slots(axis, lambda weights: eval_step(weights, batch), params_N)


class ReplicaTrainer:
    """Holds the state of all runs; `place` gives it, every other method either moves it or reads it."""

    def __init__(self, model: Architecture, spec: Spec, configs: Sequence[ConfigDict], axis: str, clock: Clock):
        """`configs` are those of the runs trained alone; they differ in seed and learning rate."""
        config = configs[0]
        self.axis, self.clock = axis, clock
        self.has_perplexity = has_perplexity(spec, config)
        self.skeleton = params.Skeleton(model)
        self.state: State = {}
        self.devices = _mesh(len(configs))
        self._runs, self._slots = len(configs), -(-len(configs) // self.devices.size) * self.devices.size
        self._micro_batches = config.optimizer.accumulation
        self._dials = [train_step.make_dials(one) for one in configs]
        steps = jax.shard_map(
            make_step(train_step.make_train_step(self.skeleton, spec, config), axis),
            mesh=self.devices, in_specs=(SLOTS, SLOTS, SLOTS, SLOTS, SLOTS, SHARED), out_specs=SLOTS,
            check_vma=False,
        )  # fmt: skip
        evaluations = jax.shard_map(
            make_eval(train_step.make_eval_step(self.skeleton, spec), axis),
            mesh=self.devices, in_specs=(SLOTS, SHARED), out_specs=SLOTS, check_vma=False,
        )  # fmt: skip
        self._train_step = Programs(jax.jit(steps, donate_argnums=0), self._compiling)
        self._eval_step = Programs(jax.jit(evaluations), self._compiling)

    def place(self, states: Mapping[int, State]) -> None:
        """Puts the state of each run, by its number, on the devices."""
        host = [jax.device_get(states[n]) for n in range(self._runs)]
        self.state = jax.tree.map(lambda *arrays: self._put(self._stack(arrays)), *host)

    def step(self, done: int, batches: Sequence[Batch], taking_part: Collection[int]) -> dict[str, jax.Array]:
        """The update after `done` of them, of the runs with these numbers; returns metrics (N,) without waiting."""
        read = [mesh.read_by_step(pad_rows(batch, self._micro_batches)) for batch in batches]
        arrays = jax.tree.map(lambda *arrays: self._put(self._stack(arrays)), *read)
        seeds, rates, logged = zip(*(dials(done) for dials in self._dials), strict=True)
        active_N = np.isin(np.arange(self._slots), list(taking_part))
        sliced = [self._put(array_N) for array_N in (self._stack(seeds), self._stack(rates), active_N)]
        self.state, metrics = self._train_step(self.state, arrays, *sliced, logged[0])
        return metrics

    def wait(self) -> None:
        """Until the devices have done every step so far."""
        jax.block_until_ready(self.state)

    def fetch(self, numbers: Iterable[int]) -> dict[int, State]:
        """The states of the runs with these numbers, each as the run would have it alone."""
        host = jax.device_get(self.state)
        return {n: jax.tree.map(lambda array, n=n: jnp.asarray(array[n]), host) for n in numbers}

    @staticmethod
    def weights(state: State) -> params.Params:
        """What is evaluated and kept as the best: the moving average where there is one."""
        return state["ema"] if "ema" in state else state["params"]

    def model(self, state: State) -> Architecture:
        """The model with the `weights` of a run's state in place, for probes and pictures."""
        return self.skeleton(self.weights(state))

    def evaluate(self, batches: Iterable[Batch]) -> list[dict[str, float]]:
        """The metrics of every run's `weights` over all of `batches`."""
        means = [scoring.Means() for _ in range(self._runs)]
        for batch, scores in scoring.scored(self._evaluated, self.weights(self.state), batches):
            for n, mean in enumerate(means):
                mean.add(batch, {name: array_NBT[n] for name, array_NBT in scores.items()})
        return [mean.metrics(perplexity=self.has_perplexity) for mean in means]

    def _evaluated(self, weights: params.Params, batch: Batch) -> Any:
        shared = mesh.replicated(self.devices)
        return self._eval_step(weights, mesh.put(mesh.read_by_step(batch), shared))

    def _stack(self, of_runs: Sequence[Any]) -> np.ndarray:
        """(N, ...) on the host; idle slots repeat the first run's."""
        return np.stack([*of_runs, *[of_runs[0]] * (self._slots - self._runs)])

    def _put(self, array_N: np.ndarray) -> jax.Array:
        return jax.device_put(array_N, NamedSharding(self.devices, SLOTS))

    @contextlib.contextmanager
    def _compiling(self) -> Iterator[None]:
        self.wait()  # what is still running is training, not compiling
        with self.clock.pause("compile"):
            yield


def _mesh(runs: int) -> Mesh:
    """As many devices as runs can use."""
    devices = jax.devices()[:runs]
    return jax.make_mesh((len(devices),), ("replica",), axis_types=(AxisType.Auto,), devices=devices)
