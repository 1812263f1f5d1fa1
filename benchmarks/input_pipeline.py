"""What the input pipeline delivers beside what training consumes, and what a step costs beyond its program.

    python -m benchmarks.input_pipeline --data=FOLDER     FOLDER holds train.de.gz, train.en.gz, val...

For the fastest model of a text task and of a synthetic one, and a slower one: batches a second from the pipeline alone,
and from the training loop; and the loop's time a step over that of its compiled program alone, on batches that lie on
the device.
"""

import itertools
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

import data
import models
from data import pipeline
from training.command import cli
from training.machine import backend, mesh
from training.machine.clock import Clock
from training.machine.programs import Programs
from training.run.ledger import Ledger
from training.step import train_step
from training.trainer import Trainer

STEPS = 60  # a stretch of training, timed as a whole
ROUNDS = 7


class Found(NamedTuple):
    name: str
    delivered: float  # batches a second, the pipeline alone
    step_seconds: float  # the training loop's, a step
    overheads: list[float]  # the loop's time over its program's, less 1, a round each

    @property
    def times_as_fast(self) -> float:
        """The pipeline alone over the training loop, batches a second."""
        return self.delivered * self.step_seconds


def measure(name: str, config: ConfigDict, seconds: float) -> Found:
    """The loop and its program take turns; then the pipeline runs alone for `seconds`."""
    with tempfile.TemporaryDirectory() as folder:
        task = data.build(config.task, config.data, tokenizer_dir=Path(folder))
        devices = mesh.make()
        model = models.build(config.model.name, config.model, task.spec, jax.random.key(config.seed))
        trainer = Trainer(model, task.spec, config, devices, Clock({}))
        plan = pipeline.train_plan(task, config)

        kept = [
            mesh.place(batch, devices)
            for batch in itertools.islice(pipeline.train_batches(task, config, plan=plan), STEPS)
        ]
        update = mesh.within(devices, train_step.make_train_step(trainer.skeleton, task.spec, config))
        program, dials = Programs(jax.jit(update)), train_step.make_dials(config)(0)

        def loop() -> float:
            """Seconds a step of what `train.py` does between two lines of its log."""
            batches, ledger = pipeline.train_batches(task, config, plan=plan), Ledger()
            batch = next(batches)  # the pipeline is running
            trainer.wait()
            start = time.perf_counter()
            for done in range(STEPS):
                ledger.count(batch, trainer.step(done, batch))
                batch = next(batches)
            trainer.wait()
            return (time.perf_counter() - start) / STEPS

        def alone() -> float:
            """The same steps on batches that lie on the device, by the program alone."""
            start, state = time.perf_counter(), trainer.state
            for arrays in kept:
                state, _ = program(state, arrays, dials)
            jax.block_until_ready(state)
            return (time.perf_counter() - start) / STEPS

        turns = np.array([(loop(), alone()) for _ in range(1 + ROUNDS)])[1:]  # the first compiles
        batches = pipeline.train_batches(task, config, plan=plan)
        next(batches)
        start, count = time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            next(batches)
            count += 1
        delivered = count / (time.perf_counter() - start)
    return Found(name, delivered, float(np.median(turns[:, 0])), list(turns[:, 0] / turns[:, 1] - 1))


def configs(folder: str) -> dict[str, ConfigDict]:
    """The fastest model of each, on text and on a synthetic task, and a synthetic one of more than 5 ms a step."""
    chosen = {f"recall {model}": cli.load(f"configs/recall.py:{model}") for model in ("rnn", "gru")}
    if folder:
        text = cli.load("configs/multi30k.py:gru_attention")
        text.data.update({"dir": folder, "num_buckets": 4})  # few shapes to compile; the pipeline does the same work
        text.cpu_devices = 1  # as the others: a process has one number of devices
        chosen["multi30k gru_attention"] = text
    return chosen


def main(argv: Sequence[str]) -> None:
    parser = cli.Parser(__doc__)
    parser.add_argument("--data", default="", help="folder of Multi30k's files; without it synthetic batches alone")
    parser.add_argument("--seconds", type=float, default=5.0, help="to run each pipeline alone for")
    options = parser.parse_args(argv)
    chosen = configs(options.data)
    with tempfile.TemporaryDirectory() as folder:
        backend.configure(next(iter(chosen.values())), Path(folder) / "run")
        for name, config in chosen.items():
            found = measure(name, config, options.seconds)
            low, middle, high = np.quantile(found.overheads, [0.1, 0.5, 0.9])
            print(
                f"{name}: pipeline alone {found.delivered:,.0f} batches a second, {found.times_as_fast:.1f} times what "
                f"training takes ({1e3 * found.step_seconds:.1f} ms a step); the loop takes {middle:.1%} longer than "
                f"its program alone (10 % to 90 %: {low:.1%} to {high:.1%})"
            )


if __name__ == "__main__":
    main(sys.argv[1:])
