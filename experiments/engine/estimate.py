"""What a run will cost before it starts: parameters and FLOPs from shapes, seconds from finished runs."""

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
from experiments.engine.results import Record
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
    """The cost of one run. No parameter is drawn. A batch of text is assumed to be full of its longest examples."""
    values = config.to_dict()
    values["seed"] = 0
    return _cost(json.dumps({key: values[key] for key in ("task", "data", "model")}), _rows(config) * config.steps)


def _rows(config: ConfigDict) -> float:
    """Examples per step, or, for text, minus the tokens per step, which `_cost` divides by the longest example."""
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
    """How long runs take: as recorded runs did, of any version and machine, or else by their FLOPs.

    A run that measures time (`timed`) takes as long as it is told to measure, however little it trains.
    """

    def __init__(self, timed: bool = False) -> None:
        self._timed = timed
        self._whole: list[float] = []  # seconds of every recorded run
        self._rest: list[float] = []  # seconds of compiling, evaluating, saving and probing
        self._steps: dict[tuple[str, str], list[float]] = {}  # seconds per step, by cell and role; role "": any
        self._rates: dict[str, list[float]] = {}  # FLOP/s by architecture; "": any

    def learn(self, record: Record) -> None:
        if (trained := record.measured("training_seconds")) > 0:
            self._whole.append(record.seconds)
            self._rest.append(record.seconds - trained)
            for role in (record.role, ""):
                self._steps.setdefault((record.key.name, role), []).append(trained / record.config["steps"])
            if flops_read := record.measured("flops_per_token") * record.measured("tokens_seen"):
                for model in (record.config["model.name"], ""):
                    self._rates.setdefault(model, []).append((1 + BACKWARD) * flops_read / trained)

    @property
    def basis(self) -> str:
        """What the estimates are based on, in words."""
        assumed = f"{ASSUMED_SECONDS:g} s per run" if self._timed else f"{ASSUMED / 1e9:g} GFLOP/s"
        return "by recorded runs" if self._whole else f"assuming {assumed}"

    def seconds(self, due: Due) -> float:
        """Estimated from runs of the same cell and role, the same cell, the same architecture, or any."""
        if self._timed and (due.key.name, "") not in self._steps:
            return statistics.median(self._whole or [ASSUMED_SECONDS])
        rest = statistics.median(self._rest or [0.0])
        if known := self._steps.get((due.key.name, due.role)) or self._steps.get((due.key.name, "")):
            return statistics.median(known) * due.config.steps + rest
        rates = self._rates.get(due.config.model.name) or self._rates.get("") or [ASSUMED]
        return cost(due.config).flops / statistics.median(rates) + rest

    def total(self, runs: Iterable[Due]) -> float:
        return sum(map(self.seconds, runs))
