"""Many seeds as one program beside one seed alone: what does a step of each of them cost?

    python -m benchmarks.replicas                    8 seeds of recall, three architectures, 1 and 2 devices
    python -m benchmarks.replicas gru --devices 1    on a GPU
    python -m benchmarks.replicas gru --whole 600    8 whole runs one after another, and as one program

Each way to train (alone or 8 at once, mapped or vectorised, on how many devices) is a process with its own input
pipeline; they live at the same time and step in turn. A ratio above 1 says how much sooner 8 seeds are trained as one
program than one after another in the fastest way to train one.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from rich.table import Table

import data
import models
from benchmarks import protocol
from benchmarks.turns import ROOT, ratio_interval
from configs import recall
from data import pipeline
from training import replica_configs
from training.command import cli
from training.command.printed import print_whole
from training.machine import backend, mesh, provenance
from training.machine.clock import Clock
from training.replica_trainer import ReplicaTrainer
from training.run.run_folder import write_json
from training.step import params, train_step
from training.trainer import Trainer

MODELS = ("gru", "gru_attention", "transformer")
WARM_UP = 1  # rounds thrown away


@dataclasses.dataclass(frozen=True)
class Way:
    """One way to train the recall preset of a model."""

    model: str
    seeds: int
    axis: str  # alone, mapped, vectorised
    devices: int

    @property
    def name(self) -> str:
        return f"{'1 seed' if self.axis == 'alone' else f'{self.seeds} seeds, {self.axis}'}, {self.devices} devices"


def ways(model: str, seeds: int, devices: Sequence[int]) -> list[Way]:
    return [Way(model, seeds, axis, n) for axis in ("alone", "mapped", "vectorised") for n in devices]


def config_of(way: Way) -> ConfigDict:
    config = recall.get_config(way.model)
    config.cpu_devices, config.replicas = way.devices, 1 if way.axis == "alone" else way.seeds
    return config


def build(way: Way) -> protocol.Program:
    """The program of a way: the trainer of `train.py`, or of its replicas, and its batches as they come."""
    config = config_of(way)
    task = data.build(config.task, config.data)
    configs = list(replica_configs.expand(config).values())
    built = [models.build(way.model, one.model, task.spec, jax.random.key(one.seed)) for one in configs]
    count, done = params.count(params.flatten(built[0])), iter(range(1 << 62))
    if way.axis == "alone":
        trainer = Trainer(built[0], task.spec, configs[0], mesh.make(), Clock({}))
        batches = pipeline.train_batches(task, configs[0])
        take: Callable[[], Any] = lambda: trainer.step(next(done), next(batches))  # noqa: E731
        return protocol.Program(count, lambda: 0.0, take, trainer.wait, provenance.device_memory_bytes)
    together = ReplicaTrainer(built[0], task.spec, configs, way.axis, Clock({}))
    together.place({n: train_step.init_state(params.flatten(model), config) for n, model in enumerate(built)})
    side_by_side, everyone = pipeline.train_batches_side_by_side(task, configs), range(way.seeds)
    take = lambda: together.step(next(done), next(side_by_side), everyone)  # noqa: E731
    return protocol.Program(count, lambda: 0.0, take, together.wait, provenance.device_memory_bytes)


class Running:
    """A way's process. Use as a context manager."""

    def __init__(self, way: Way):
        words = [
            sys.executable,
            "-m",
            "benchmarks.replicas",
            "--serve",
            json.dumps(dataclasses.asdict(way)),
        ]
        environment = os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}  # several share a GPU's memory
        self._process = subprocess.Popen(
            words, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        )

    def ask(self, command: str) -> dict[str, float]:
        """The process's answer. Raises RuntimeError if it died, whose errors are on stderr."""
        assert self._process.stdin and self._process.stdout
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(command + "\n")
            self._process.stdin.flush()
        if not (line := self._process.stdout.readline()):
            raise RuntimeError(f"the process ended with status {self._process.wait()}; what it said is above")
        return json.loads(line)

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.communicate()


def rounds(running: Sequence[Running], taking_part: Sequence[Way], count: int) -> Iterator[list[float]]:
    """Seconds a seed and step of every way, round after round.

    A turn takes about a second, after as many steps that are not timed: they use up the batches that were made while
    others stepped.
    """
    steps = [2] * len(running)
    for number in range(count + WARM_UP):
        turn = []
        for n, (process, way) in enumerate(zip(running, taking_part, strict=True)):
            process.ask(f"step {steps[n]}")
            spent = process.ask(f"step {steps[n]}")["seconds"] / steps[n]
            steps[n] = max(4, round(1 / spent))
            turn.append(spent / (1 if way.axis == "alone" else way.seeds))
        if number >= WARM_UP:
            yield turn


def measure(model: str, seeds: int, devices: Sequence[int], count: int) -> dict[str, Any]:
    """Times of every way to train `seeds` seeds of a model, and ratios against the fastest way to train one."""
    taking_part = ways(model, seeds, devices)
    with contextlib.ExitStack() as stack:
        running = [stack.enter_context(Running(way)) for way in taking_part]
        seconds = np.array(list(rounds(running, taking_part, count)))
        memory = [int(process.ask("quit")["peak_memory_bytes"]) for process in running]
    alone = [n for n, way in enumerate(taking_part) if way.axis == "alone"]
    fastest = min(alone, key=lambda n: float(np.median(seconds[:, n])))
    rows = []
    for n, way in enumerate(taking_part):
        ratio, low, high = ratio_interval(seconds[:, n].tolist(), seconds[:, fastest].tolist())
        rows.append({
            "way": way.name, "axis": way.axis, "devices": way.devices, "rounds": len(seconds),
            "median_seconds": float(np.median(seconds[:, n])), "ratio": ratio, "ratio_low": low, "ratio_high": high,
            "peak_memory_bytes": memory[n],
        })  # fmt: skip
    return {"model": model, "seeds": seeds, "ways": rows}


def measure_whole(model: str, seeds: int, devices: int, steps: int) -> dict[str, Any]:
    """Wall time of whole runs, from the start of a process to its end, after one short run of each that fills the
    compilation cache."""
    with tempfile.TemporaryDirectory() as folder:

        def train(name: str, steps: int, *words: str) -> float:
            start = time.perf_counter()
            subprocess.run(
                [
                    sys.executable, "train.py", f"--config=configs/recall.py:{model}", f"--workdir={folder}/{name}",
                    f"--config.steps={steps}", f"--config.schedule.warmup_steps={min(100, steps)}",
                    "--config.wandb.mode=disabled", *words,
                ],
                cwd=ROOT, check=True, capture_output=True,
            )  # fmt: skip
            return time.perf_counter() - start

        many = (f"--config.replicas={seeds}", f"--config.cpu_devices={devices}")
        train("warm-one", 2)
        train("warm-many", 2, *many)
        together = train("many", steps, *many)
        alone = sum(train(f"one-{seed}", steps, f"--config.seed={seed}") for seed in range(seeds))
    return {
        "model": model, "seeds": seeds, "steps": steps, "alone_seconds": alone, "together_seconds": together,
        "ratio": alone / together,
    }  # fmt: skip


def print_table(found: Sequence[dict[str, Any]]) -> None:
    table = Table(title="A step of one seed: median, and how much sooner than alone")
    for column in ("model", "way", "ms a seed", "ratio (95 %)", "peak memory"):
        table.add_column(column, justify="left" if column in ("model", "way") else "right", no_wrap=True)
    for case in found:
        for number, row in enumerate(case["ways"]):
            ratio = f"{row['ratio']:.2f} ({row['ratio_low']:.2f} to {row['ratio_high']:.2f})"
            table.add_row(
                "" if number else case["model"], row["way"], f"{1e3 * row['median_seconds']:.2f}", ratio,
                f"{row['peak_memory_bytes'] / 2**20:,.0f} MiB", end_section=number == len(case["ways"]) - 1,
            )  # fmt: skip
    print_whole(table)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = cli.Parser(__doc__)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"of {', '.join(MODELS)}; none for all")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--devices", type=int, nargs="+", default=[1, 2], help="that a CPU is split into; 1 on a GPU")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--whole", type=int, metavar="STEPS", help="time whole runs of so many steps instead")
    parser.add_argument("--json", type=Path, help="file to write the numbers to")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    unknown = [name for name in options.models if name not in MODELS]
    if unknown:
        parser.error(f"MODEL = {unknown[0]} is not measured; choose from {', '.join(MODELS)}")
    for name, value in (("seeds", options.seeds), ("devices", min(options.devices)), ("rounds", options.rounds)):
        if value < 1:
            parser.error(f"--{name} = {value} is too small; use 1 or more")
    return options


def main(argv: Sequence[str]) -> None:
    options = parse(argv)
    if options.serve:
        way = Way(**json.loads(options.serve))
        backend.configure(config_of(way), Path(tempfile.gettempdir()) / "longreach-replicas" / "run")
        protocol.serve(build(way))
        return
    found = []
    for model in options.models or MODELS:
        print(f"{model}: starting its programs, which compile first", file=sys.stderr, flush=True)
        if options.whole:
            found.append(measure_whole(model, options.seeds, max(options.devices), options.whole))
            print("{model}: {seeds} runs of {steps} steps: {alone_seconds:.1f} s one after another, "
                  "{together_seconds:.1f} s as one program, ratio {ratio:.2f}".format(**found[-1]))  # fmt: skip
        else:
            found.append(measure(model, options.seeds, options.devices, options.rounds))
        if options.json:
            about = {"commit": provenance.commit(), "versions": provenance.versions()}
            write_json(options.json, about | {"found": found})
    if not options.whole:
        print_table(found)


if __name__ == "__main__":
    main(sys.argv[1:])
