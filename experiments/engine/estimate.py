"""What a run will cost, before it is started: parameters and FLOPs from shapes, seconds from runs that are finished."""

import dataclasses
import functools
import json
import statistics
from collections.abc import Iterable
from typing import NamedTuple

import jax
from flax import nnx
from ml_collections import ConfigDict

import data
import models
from experiments.engine.schedule import Due
from models import flops
from training.step import params

ASSUMED = 1.3e10  # FLOP/s of training, where no run is finished; what gradient_flow did, two runs on two cores
ASSUMED_SECONDS = 30.0  # of a run that measures time
BACKWARD = 2  # as much work as forward, so many times


class Cost(NamedTuple):
    num_params: int
    num_params_non_embedding: int
    flops: float  # of all training steps


def cost(config: ConfigDict) -> Cost:
    """Of one run, without drawing a parameter. A batch of text is taken as full of its longest examples."""
    values = config.to_dict()
    values["seed"] = 0
    return _cost(json.dumps({key: values[key] for key in ("task", "data", "model")}), _rows(config) * config.steps)


def _rows(config: ConfigDict) -> float:
    """Examples a step, or the tokens of a step with a minus, which `_cost` divides by the longest example."""
    return config.batch_size if "batch_size" in config else -config.tokens_per_batch


@functools.cache
def _cost(values: str, examples: float) -> Cost:
    config = ConfigDict(json.loads(values))
    task = data.build(config.task, config.data)
    model = nnx.eval_shape(lambda: models.build(config.model.name, config.model, task.spec, jax.random.key(0)))
    shapes = {"/".join(map(str, path)): leaf.get_value() for path, leaf in nnx.to_flat_state(nnx.split(model)[1])}
    spec = task.spec
    if examples < 0:
        examples = -examples / max(spec.max_source_length, spec.max_target_length)
    elif (length_12 := task.lengths("train")) is not None:  # shorter than those of a test of what lies beyond
        S, T = length_12[0].tolist()
        spec = dataclasses.replace(spec, max_source_length=S, max_target_length=T)
    work = (1 + BACKWARD) * flops.forward(model, spec) * examples
    return Cost(params.count(shapes), params.count(shapes, embeddings=False), work)


class Clock:
    """Seconds a run will take, by what recorded ones took, of whatever version and machine; where nothing is recorded,
    by FLOPs.

    A run's FLOPs need its task, and so its text, which is read only where another run is to be told from it. Runs that
    measure time (`timed`) take as long as they are told to measure, however little they train.
    """

    def __init__(self, timed: bool = False) -> None:
        self._timed = timed
        self._cells: dict[str, dict[str, list[tuple[int, float]]]] = {}  # cell -> role -> (steps, seconds) of runs
        self._others: dict[str, list[Due]] = {}  # of recorded cells, by architecture, whose FLOPs nobody asked for
        self._rates: dict[str, list[float]] = {}  # FLOP/s by architecture

    def learn(self, cell: str, role: str, steps: int, seconds: float) -> None:
        if seconds > 0:
            self._cells.setdefault(cell, {}).setdefault(role, []).append((steps, seconds))

    def compare(self, runs: Iterable[Due]) -> None:
        """Runs of recorded cells, to tell other cells from."""
        for due in runs:
            if due.key.name in self._cells:
                self._others.setdefault(due.config.model.name, []).append(due)

    @property
    def measured(self) -> bool:
        return bool(self._cells)

    @property
    def assumed(self) -> str:
        return f"{ASSUMED_SECONDS:g} s a run" if self._timed else f"at {ASSUMED / 1e9:g} GFLOP/s"

    def seconds(self, due: Due) -> float:
        """By runs of its cell and role, of its cell, of the same architecture, or of any, or what is assumed."""
        if roles := self._cells.get(due.key.name):
            mine = roles.get(due.role) or [run for those in roles.values() for run in those]
            return statistics.median(seconds * due.config.steps / steps for steps, seconds in mine)
        if self._timed:
            others = [seconds for roles in self._cells.values() for those in roles.values() for _, seconds in those]
            return statistics.median(others) if others else ASSUMED_SECONDS
        rates = self._rates_of(due.config.model.name)
        rates = rates or [rate for name in {*self._others, *self._rates} for rate in self._rates_of(name)]
        return cost(due.config).flops / (statistics.median(rates) if rates else ASSUMED)

    def _rates_of(self, model: str) -> list[float]:
        known = self._rates.setdefault(model, [])
        known += [cost(due.config).flops / self.seconds(due) for due in self._others.pop(model, [])]
        return known

    def total(self, runs: Iterable[Due]) -> float:
        return sum(self.seconds(due) for due in runs)
