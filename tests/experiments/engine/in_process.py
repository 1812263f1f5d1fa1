"""Executors for tests: one that does jobs in this process, and one that only writes their rows."""

import dataclasses
import json
from collections.abc import Callable, Sequence

from experiments.analysis.table import FORMAT
from experiments.engine import trial
from experiments.engine.jobs import End, Job
from experiments.engine.trial import Spec
from tests.training.runs import compiled_in_haste


class InProcess:
    """Does the runs of its jobs, one after another, up to the first that fails."""

    def __init__(self, slots: int = 1, *_: object):
        self.slots = slots
        self.running: list[Job] = []
        self.started: list[str] = []

    def start(self, jobs: Sequence[Job]) -> None:
        taken = list(jobs[: self.slots - len(self.running)])
        self.running += taken
        self.started += [job.name for job in taken]

    def wait(self, seconds: float) -> list[End]:
        job = self.running.pop(0)
        try:
            with compiled_in_haste():
                for spec in job.left:
                    self.do(spec)
        except Exception as error:
            return [End(job, f"{type(error).__name__}: {error}")]
        return [End(job, "exit status 0")]

    def do(self, spec: Spec) -> None:
        one_device = {**spec.config, "cpu_devices": 1}  # of which this process cannot get more
        trial.run(dataclasses.replace(spec, config=one_device))

    def stop(self) -> str:
        self.running = []
        return "nothing is saved"

    def close(self) -> None:
        pass


class Pretending(InProcess):
    """Writes rows with the loss that `loss(spec)` says, and trains nothing."""

    def __init__(self, slots: int = 1, loss: Callable[[Spec], float] = lambda spec: 1.0):
        super().__init__(slots)
        self.loss = loss

    def do(self, spec: Spec) -> None:
        measured = {"best_loss": self.loss(spec), "training_seconds": 2.0}
        write_rows(spec, measured)


def write_rows(spec: Spec, measured: dict[str, float]) -> None:
    origin = {"commit": "c", "began": "2026-01-01T00:00:00+00:00", "device": "1 x abacus (cpu, wood)"}
    run = {**spec.columns, **origin, "versions": "{}", "trees": "{}", "text": "{}"}
    fields = ["probe", "step", "measure", "value", "place", "part", "answers"]
    rows = [["run", spec.config["steps"], name, value, float("nan"), "", 1.0] for name, value in measured.items()]
    spec.rows.parent.mkdir(parents=True, exist_ok=True)
    spec.rows.write_text(json.dumps({"format": FORMAT, "run": run, "fields": fields, "measurements": rows}))
