"""Whole trainings to a loss, each from the start of its process and without a compiled program, one after the other."""

import contextlib
import dataclasses
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import turns
from benchmarks.compare import RATIO, Comparison, spread
from benchmarks.contender import Contender, Running

MOST = 40  # stretches of steps, after which a program has failed


@dataclasses.dataclass(frozen=True)
class ToLoss(Comparison):
    """`least` rounds of trainings, which validate after every stretch of `steps`; validating is not counted."""

    until: float = 0.0  # nats a token of the split val

    @property
    def minutes(self) -> float:
        return 4.0 * self.least * len(self.contenders)

    def measure(self) -> dict[str, Any]:
        """A program that fails is noted and the others go on."""
        failed: dict[str, str] = {}
        found: dict[str, list[dict[str, float]]] = {}
        for _ in range(self.least):
            with tempfile.TemporaryDirectory() as folder:  # with a cache of its own
                for contender in self.contenders:
                    try:
                        found.setdefault(contender.name, []).append(self.trained(contender, Path(folder)))
                    except RuntimeError as error:
                        failed[contender.name] = str(error)
        found = {name: runs for name, runs in found.items() if name not in failed}
        first = [run["seconds"] for run in next(iter(found.values()), [])]
        return {"unit": self.unit, "programs": [row(name, found[name], first) for name in found], "failed": failed}

    def trained(self, contender: Contender, folder: Path) -> dict[str, float]:
        """Of one training: seconds from the start of its process, without those of validating."""
        begun, apart = time.perf_counter(), 0.0
        with contextlib.closing(Running(contender, folder)) as program:
            for stretch in range(1, MOST + 1):
                program.turn(self.steps)
                start = time.perf_counter()
                said = program.ask("describe")
                apart += time.perf_counter() - start
                if said["loss"] <= self.until:
                    seconds = time.perf_counter() - begun - apart
                    compiling = sum(turn.get("compile_seconds", 0.0) for turn in program.answers)
                    memory = program.ask("quit")["peak_memory_bytes"]
                    steps = stretch * self.steps
                    return {**said, "seconds": seconds, "steps": steps, "compiling": compiling, "memory": memory}
        raise RuntimeError(f"it has a loss of {said['loss']:.3f} after {MOST * self.steps} steps")


def row(name: str, runs: list[dict[str, float]], first: list[float]) -> dict[str, Any]:
    """The results of a program's trainings; `first` are the seconds of the first program's."""
    seconds = [run["seconds"] for run in runs]
    medians = {key: float(np.median([run[key] for run in runs])) for key in ("steps", "compiling", "loss")}
    return {
        "program": name,
        "num_params": int(runs[0]["num_params"]),
        "loss": medians["loss"],
        "rounds": len(runs),
        **spread(seconds),
        **dict(zip(RATIO, turns.ratio_interval(first, seconds), strict=True)),
        "per_second": 1 / float(np.median(seconds)),
        "flops_per_second": 0.0,
        "dtype": "float32",
        "peak_memory_bytes": int(max(run["memory"] for run in runs)),
        "besides": {"steps": medians["steps"], "waiting for programs, s": medians["compiling"]},
    }
