"""What a run will cost before it starts: parameters and FLOPs from shapes, seconds from finished runs."""

import dataclasses
import functools
import json
import math
import statistics
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import jax
from flax import nnx
from ml_collections import ConfigDict

import data
import models
from experiments.engine.results import PUBLISHED, SECONDS, Record
from experiments.engine.schedule import Due
from experiments.engine.statement import ROOT
from models import flops
from training.step import params

NEAREST = 5  # committed runs that tell how fast a run will be, where none of its own is finished
LEAST_SECONDS = 5.0  # of training, for a committed run to tell
ASSUMED = 1e11  # FLOP/s without any: large products on two cores
ACCELERATED, SHORTEST_STEP, REST = 2e13, 2e-3, 60.0  # the same of a GPU or TPU, and seconds of a step and of the rest
ASSUMED_SECONDS = 30.0  # of a run that measures time
BY_COMMITTED = "by committed runs of such architectures with about as much work per step, on any"  # CPU or GPU
BY_GUESS = f"assuming {ACCELERATED / 1e12:g} TFLOP/s, {SHORTEST_STEP * 1e3:g} ms per step and {REST:g} s more per run"
BACKWARD = 2  # as much work as forward, so many times


class Cost(NamedTuple):
    num_params: int
    num_params_non_embedding: int
    flops: float  # of all training steps


def cost(config: ConfigDict) -> Cost:
    """The cost of one run. No parameter is drawn. A batch of text is assumed to be full of its longest examples."""
    values, fixed = config.to_dict(), "batch_size" in config
    of_one, tokens = _cost(json.dumps({key: values[key] for key in ("task", "data", "model")}), fixed)
    examples = config.batch_size if fixed else config.tokens_per_batch / tokens
    return of_one._replace(flops=of_one.flops * examples * config.steps)


@functools.cache
def _cost(values: str, fixed: bool) -> tuple[Cost, int]:
    """(of one example, its tokens), whatever the number of steps; `fixed`: a batch has a number of examples."""
    config = ConfigDict(json.loads(values))
    task = data.build(config.task, config.data)
    model = nnx.eval_shape(lambda: models.build(config.model.name, config.model, task.spec, jax.random.key(0)))
    shapes = {"/".join(map(str, path)): leaf.get_value() for path, leaf in nnx.to_flat_state(nnx.split(model)[1])}
    spec = task.spec
    if fixed:  # a test of what lies beyond training may have longer ones
        S, T = spec.trained_lengths
        spec = dataclasses.replace(spec, max_source_length=S, max_target_length=T)
    work = (1 + BACKWARD) * flops.forward(model, spec)
    tokens = max(spec.max_source_length, spec.max_target_length)
    return Cost(params.count(shapes), params.count(shapes, embeddings=False), work), tokens


class Rate(NamedTuple):
    """How fast a run trained."""

    model: str
    work: float  # FLOPs of a step
    speed: float  # FLOP/s
    rest: float = 0.0  # seconds of compiling, evaluating, saving and probing


@functools.cache
def committed() -> tuple[Rate, ...]:
    """Of every run in the committed tables on a platform (CPU, GPU, TPU) as this one, whatever its machine; those that
    hardly trained are left out."""
    from pyarrow import parquet

    found: list[Rate] = []
    key, needed = ["run", "seed", "role", "device", "config"], ["training_seconds", "flops_per_token", "tokens_seen"]
    wanted = [("probe", "==", "run"), ("measure", "in", {*needed, *SECONDS})]
    for path in sorted((ROOT / PUBLISHED).glob("*/*/table.parquet")):
        rows = parquet.read_table(path, columns=[*key, "measure", "value"], filters=wanted).to_pandas()
        for (*_, device, text), run in rows.pivot_table("value", key, "measure").dropna(subset=needed).iterrows():
            if _here(device) and (trained := run["training_seconds"]) >= LEAST_SECONDS:
                config, work = json.loads(text), (1 + BACKWARD) * run["flops_per_token"] * run["tokens_seen"]
                rest = run.reindex(SECONDS).sum() - trained
                found.append(Rate(config["model.name"], work / config["steps"], work / trained, rest))
    return tuple(found)


def alike(model: str, known: Sequence[Rate]) -> list[Rate]:
    """Those of this kind of architecture."""
    return [rate for rate in known if rate.model.partition("_")[0] == model.partition("_")[0]]


def assumed(model: str, work: float, recorded: Sequence[Rate] = ()) -> tuple[float, float]:
    """(FLOP/s of training steps of so many FLOPs, seconds of the rest): medians of the recorded runs, or else the
    committed ones, whose steps are nearest in work, of this kind of architecture where there are any."""
    if not work:  # a model that is counted
        return ASSUMED, 0.0
    known = recorded or committed()
    nearest = sorted(alike(model, known) or known, key=lambda rate: abs(math.log(rate.work / work)))[:NEAREST]
    medians = [statistics.median(values) for values in zip(*((rate.speed, rate.rest) for rate in nearest), strict=True)]
    if medians:
        return medians[0], medians[1]
    return (ASSUMED, 0.0) if jax.default_backend() == "cpu" else (min(ACCELERATED, work / SHORTEST_STEP), REST)


def _here(device: str) -> bool:
    """Whether that of a row is on such a platform (CPU, GPU, TPU) as this process."""
    return f"({jax.default_backend()}," in device


class Clock:
    """How long runs take: as recorded ones on such a platform did, of any version, else by FLOPs and `committed` runs.

    A run that measures time (`timed`) takes as long as it is told to measure, however little it trains.
    """

    def __init__(self, timed: bool = False) -> None:
        self._timed = timed
        self._whole: list[float] = []  # seconds of every recorded run
        self._rest: list[float] = []  # seconds of compiling, evaluating, saving and probing
        self._steps: dict[tuple[str, str], list[float]] = {}  # seconds per step, by cell and role; role "": any
        self._rates: list[Rate] = []
        self._unlike: set[str] = set()  # architectures of a kind that nothing tells the speed of

    def learn(self, record: Record) -> None:
        if _here(record.device) and (trained := record.measured("training_seconds")) > 0:
            self._whole.append(record.seconds)
            self._rest.append(record.seconds - trained)
            steps = record.config["steps"]
            for role in (record.role, ""):
                self._steps.setdefault((record.key.name, role), []).append(trained / steps)
            if work := (1 + BACKWARD) * record.measured("flops_per_token") * record.measured("tokens_seen"):
                self._rates.append(Rate(record.config["model.name"], work / steps, work / trained))

    @property
    def basis(self) -> str:
        """What the estimates are based on, in words."""
        if self._whole:
            return "by recorded runs"
        if self._timed:
            return f"assuming {ASSUMED_SECONDS:g} s per run"
        platform = jax.default_backend()
        if not committed() and platform != "cpu":
            return BY_GUESS
        unlike = f" (none of {', '.join(sorted(self._unlike))}, which may take several times as long)"
        return f"{BY_COMMITTED} {platform.upper()}{unlike if self._unlike else ''}"

    def seconds(self, due: Due) -> float:
        """Estimated from runs of the same cell and role, the same cell, or those alike in architecture and work."""
        if self._timed and (due.key.name, "") not in self._steps:
            return statistics.median(self._whole or [ASSUMED_SECONDS])
        rest = statistics.median(self._rest or [0.0])
        if known := self._steps.get((due.key.name, due.role)) or self._steps.get((due.key.name, "")):
            return statistics.median(known) * due.config.steps + rest
        work = cost(due.config).flops
        if not alike(due.config.model.name, self._rates or committed()):
            self._unlike.add(due.config.model.name)
        speed, besides = assumed(due.config.model.name, work / due.config.steps, self._rates)
        return work / speed + (rest if self._rest else besides)

    def total(self, runs: Iterable[Due]) -> float:
        return sum(map(self.seconds, runs))
