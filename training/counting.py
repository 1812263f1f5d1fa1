"""Trains a model by counting: the whole text in one step, without gradients. The run's folder is as any other's.

There is nothing to resume: a run that was ended before its checkpoint counts again, which takes seconds.
"""

import functools
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from data import whole_file
from data.batch import Batch
from data.task import Task
from data.tasks.language import Language
from models.contract import Architecture
from training.evaluation import samples
from training.machine import mesh
from training.machine.clock import Clock
from training.machine.watchdog import Watchdog, still
from training.run import resume, run_folder, run_report
from training.run.checkpoint import Checkpoints
from training.run.claim import claimed
from training.run.ledger import Ledger
from training.run.tracking import Tracker
from training.step import params
from training.trainer import Probe, Trainer


def train(
    config: ConfigDict,
    workdir: Path,
    model: Architecture,
    task: Task,
    trainer: Trainer,
    checkpoints: tuple[Checkpoints, Checkpoints],
    validation: Sequence[Batch],
    content: Mapping[str, str],
    probes: Sequence[Probe],
    begun: float,
) -> dict[str, Any]:
    """Counts the training split, evaluates and keeps the model, and returns the summary, as `train.train` does, which
    has prepared all of this; `checkpoints` are the newest and the best, and the run began at `begun`."""
    if not isinstance(task, Language):
        name = config.model.name
        raise ValueError(f"model = {name!r} is of running text, which {config.task} has none of; use shakespeare")
    (newest, best), main_process = checkpoints, jax.process_index() == 0
    with claimed(workdir, jax.process_index()):
        clock = trainer.clock = Clock({})
        with still("counting"):
            tokens_N = task.tokens("train")
            counted = model.count(tokens_N)
        trainer.state = {"params": jax.device_put(params.flatten(model), mesh.replicated(mesh.make()))}
        trainer.wait()
        seconds = clock.lap()
        past = resume.find(workdir, newest, best, trainer.state, trainer.weights, config.steps, 0)
        if main_process and not (past.summary and run_folder.read_record(workdir, damaged_is_none=True)):
            run_folder.record(workdir, config, content)
        if past.summary:
            print(f"{workdir} is finished; its summary stays as it is", file=sys.stderr)
            return past.summary
        if main_process:
            (workdir / "summary.json").unlink(missing_ok=True)
        with (
            Tracker(workdir, config, first_step=past.done, active=main_process, clock=clock) as tracker,
            Watchdog(tracker.say, past.done) as watchdog,
        ):
            clock.listeners = [tracker.doing, watchdog.doing]
            notes = [*task.notes, *counted.notes]
            who = model, config.model.name, config.task
            tracker.say(run_report.opening(*who, notes, trainer.weights, past.done, workdir))
            ledger = past.ledger
            if not past.done:
                ledger = Ledger(target_tokens=len(tokens_N), filled=len(tokens_N), positions=len(tokens_N))
                ledger.start_to_first_step_seconds = time.time() - begun
                tracker.write("train", 1, ledger.counted_row(counted.nll, seconds, perplexity=trainer.has_perplexity))
                with clock.pause("eval"):
                    scores = trainer.evaluate(validation)
                    for probe in probes:
                        scores |= probe(trainer.model, task, 1)
                tracker.write("val", 1, scores)
                ledger.note_evaluation(1, scores, config.best.metric)
                ledger.seconds = clock.seconds
                with clock.pause("save"):
                    best.save(1, {"params": trainer.weights}, {"metrics": scores})
                    newest.save(1, trainer.state, ledger.to_json())
                if tracker.mirrored:
                    middle = validation[len(validation) // 2]
                    tracker.show(1, functools.partial(samples.make, trainer.model, task, middle, workdir))
            summary = run_report.summarise(ledger, trainer.weights, config.best.metric)
            tracker.say(run_report.closing(summary, workdir))
            tracker.summarise(summary)
            if main_process:
                whole_file.write_json(workdir / "summary.json", summary)
            return summary
