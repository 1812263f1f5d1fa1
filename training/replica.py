"""One run of several that train as one program: its folder, what it has counted, where it stands.

The folder is what it would be had the run been trained alone, so that eval.py reads it and train.py goes on with it.
"""

import json
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from data.batch import Batch
from training.machine.clock import Clock
from training.run import run_folder, run_report
from training.run.checkpoint import Checkpoints
from training.run.ledger import Ledger, NonFiniteError
from training.run.tracking import Row, Tracker
from training.step.params import Params
from training.step.train_step import State


class Replica:
    """`done` counts the steps that it has taken; a run that was saved later than others waits for them."""

    tracker: Tracker

    def __init__(self, number: int, name: str, config: ConfigDict, workdir: Path, clock: Clock):
        """`number` is its slot, `clock` that of the program."""
        self.number, self.name, self.config, self.workdir = number, name, config, workdir
        self.done, self.ledger = 0, Ledger()
        self.summary: dict[str, Any] | None = None
        self.failure: NonFiniteError | None = None
        self._newest, self._best = Checkpoints(workdir / "checkpoints", config.keep), Checkpoints(workdir / "best", 1)
        self._clock = clock
        self._earlier: dict[str, float] = {}  # seconds of earlier starts

    def restore(self, state: State) -> State:
        """Goes to where an earlier start got to; returns the state of it, or the one given where there was none."""
        if restored := self._newest.restore_newest(state):
            self.done, state, meta = restored
            self.ledger = Ledger(**meta)
            self._earlier = dict(self.ledger.seconds)
        path = self.workdir / "summary.json"
        if not self.trained:
            path.unlink(missing_ok=True)  # of a run that now goes further
        elif path.is_file():
            self.summary = json.loads(path.read_text())
        run_folder.record(self.workdir, self.config)
        return state

    @property
    def trained(self) -> bool:
        """To its last step, or out of patience."""
        return self.done >= self.config.steps or self.ledger.out_of_patience(self.config.early_stopping.patience)

    @property
    def over(self) -> bool:
        """Whether nothing more is to be done for it."""
        return self.summary is not None or self.failure is not None

    def count(self, batch: Batch) -> None:
        """One step; its metrics follow through `ledger.note`."""
        self.ledger.count(batch)
        self.done += 1

    def write_row(self, seconds: float, *, perplexity: bool) -> Row | None:
        """Records the steps since the last row, which took `seconds`; None where one of them ended the run."""
        self._read_clock()
        try:
            row = self.ledger.row(self.done, seconds, perplexity=perplexity)
        except NonFiniteError as error:
            self.fail(error)
            return None
        self.tracker.write("train", self.done, row)
        return row

    def note_evaluation(self, scores: dict[str, float], weights: Params) -> None:
        """Records an evaluation, and the weights where they are the best so far."""
        self.tracker.write("val", self.done, scores)
        if self.ledger.note_evaluation(self.done, scores, self.config.best.metric):
            with self._clock.pause("save"):
                self._best.save(self.done, {"params": weights}, {"metrics": scores})

    def save(self, state: State) -> None:
        self._read_clock()
        with self._clock.pause("save"):
            self._newest.save(self.done, state, self.ledger.to_json())

    def stop(self, state: State) -> None:
        """Saves where it stands, in the middle of a window, unless a step of that ended the run."""
        try:
            self.ledger.check(self.done)
            self.save(state)
        except NonFiniteError as error:
            self.fail(error)

    def end(self, state: State, replicas: int) -> None:
        """Writes the summary of a run that is trained."""
        self.summary = run_report.summarise(self.config, state["params"], self.ledger, replicas=replicas)
        self.tracker.summarise(self.summary)
        self.tracker.close(failed=False)
        run_folder.write_json(self.workdir / "summary.json", self.summary)

    def fail(self, error: NonFiniteError) -> None:
        """Takes no more part; what was saved stays."""
        self.failure = error
        self.tracker.close(failed=True)

    def _read_clock(self) -> None:
        for activity, seconds in self._clock.seconds.items():
            self.ledger.seconds[activity] = self._earlier.get(activity, 0.0) + seconds


def share_out(window: list[tuple[list[Replica], dict[str, Any]]]) -> None:
    """Gives each run the metrics of the steps that it took part in, out of (runs, metrics (N,)); empties the window."""
    for (runs, _), metrics in zip(window, jax.device_get([metrics for _, metrics in window]), strict=True):
        for run in runs:
            run.ledger.note({name: value_N[run.number] for name, value_N in metrics.items()})
    window.clear()
