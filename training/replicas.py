"""Trains many runs of one architecture as one program: other seeds, other learning rates.

    python train.py --config=configs/recall.py:gru --workdir=runs/recall-gru --config.replicas=8

`train_replicas` below is the whole story, as `train` in train.py is that of one run. Each run has a folder of its own
in WORKDIR, which is what it would be had it been trained alone.
"""

import contextlib
import filecmp
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

import data
import models
from data import pipeline
from training import replica_configs
from training.evaluation import samples
from training.machine import backend
from training.machine.clock import Clock, run_start
from training.machine.profiling import Profile
from training.machine.signals import StopRequest
from training.replica import Replica, share_out
from training.replica_trainer import ReplicaTrainer, axis_of
from training.run import run_folder, run_report
from training.run.tracking import Display, Tracker
from training.step import params, train_step
from training.step.intervals import due
from training.trainer import Probe


def train_replicas(
    config: ConfigDict, workdir: Path, *, accept_changes: bool = False, probes: Sequence[Probe] = ()
) -> dict[str, dict]:
    """Trains every run to its end and returns the summaries by name, or {} when asked to stop before it.

    A run that is out of patience, or whose loss stops being a number, takes no more part and the others go on. Raises
    what `train` raises, and FloatingPointError for runs that diverged only when the others have come to their end.
    """
    begun = run_start()
    backend.configure(config, workdir)
    check_folder(workdir, config)
    clock = Clock({})
    configs = replica_configs.expand(config)
    runs = [Replica(n, name, one, workdir / name, clock) for n, (name, one) in enumerate(configs.items())]
    for run in runs:
        run_folder.check_same_run(run.workdir, run.config, accept_changes=accept_changes)

    # What is learned, and by what.
    first = runs[0]
    with run_folder.restored_on_error(workdir), run_folder.restored_on_error(first.workdir):
        task = data.build(config.task, config.data, tokenizer_dir=first.workdir / "tokenizer")
        key = jax.random.key
        built = [models.build(config.model.name, config.model, task.spec, key(run.config.seed)) for run in runs]
        trainer = ReplicaTrainer(built[0], task.spec, list(configs.values()), axis_of(config), clock)
        pipeline.train_plan(task, config)  # which fails here, if at all
        validation = list(pipeline.eval_batches(task, "val", config, limit=config.eval_examples))

    with contextlib.ExitStack() as held, StopRequest() as stop:
        # Where earlier starts of these runs got to.
        states = {run.number: train_step.init_state(params.flatten(built[run.number]), config) for run in runs}
        for run in runs:
            held.enter_context(run_folder.claimed(run.workdir))
            share_tokenizer(first.workdir / "tokenizer", run.workdir / "tokenizer")
            states[run.number] = run.restore(states[run.number])
            run.tracker = Tracker(run.workdir, run.config, first_step=run.done, active=not run.over, shown=False)
            held.enter_context(run.tracker)
            if run.over:
                print(f"{run.workdir} is finished; its summary stays as it is", file=sys.stderr)
            elif run.trained:  # and was killed before it could say so
                run.end(states[run.number], len(runs))
        done = min((run.done for run in runs if not run.over), default=config.steps)
        trainer.place(states)
        batches = pipeline.train_batches_side_by_side(task, list(configs.values()), start=done)

        with Display(config, done) as display, Profile(workdir / "profile", active=config.profile) as profile:
            display.say(run_report.opening(config, states[0]["params"], task, done, workdir))
            display.say(run_report.opening_of_many(list(configs), trainer.axis, trainer.devices.size))
            window: list[tuple[list[Replica], dict[str, Any]]] = []  # who took each step since the last row
            clock.tell = display.doing
            clock.lap()
            while (left := [run for run in runs if not run.over]) and not stop.requested:
                going = [run for run in left if run.done == done]  # the others were saved later, and wait
                batch_N = next(batches)
                window.append((going, trainer.step(done, batch_N, [run.number for run in going])))
                done += 1
                for run in going:
                    run.count(batch_N[run.number])
                display.advance(done)
                if traced := profile.advance(trainer.wait):
                    display.say(traced)
                for run in going:
                    if run.ledger.start_to_first_step_seconds is None:
                        trainer.wait()
                        run.ledger.start_to_first_step_seconds = time.time() - begun

                now = due(config, done)
                if now.log:
                    trainer.wait()
                    share_out(window)
                    seconds = clock.lap()
                    rows = [run.write_row(seconds, perplexity=trainer.has_perplexity) for run in going]
                    display.say_all("train", done, [row for row in rows if row])
                    for run in going:
                        if run.failure:
                            display.say(f"{run.name}: {run.failure}; what it saved stays, and the others go on")
                    going = [run for run in going if not run.failure]
                if now.eval or now.save:
                    states = trainer.fetch(run.number for run in going)
                if now.eval:
                    with clock.pause("eval"):
                        scores = trainer.evaluate(validation)
                        for run in going:
                            model = trainer.model(states[run.number])
                            for probe in probes:
                                scores[run.number] |= probe(model, task, done)
                            if run.tracker.mirrored:
                                middle = validation[len(validation) // 2]
                                samples.show(run.tracker, model, task, middle, done, run.workdir)
                    for run in going:
                        run.note_evaluation(scores[run.number], trainer.weights(states[run.number]))
                    display.say_all("val", done, [scores[run.number] for run in going])
                for run in going:
                    if now.save or run.trained:
                        run.save(states[run.number])
                    if run.trained:
                        run.end(states[run.number], len(runs))

            if left:
                share_out(window)
                states = trainer.fetch(run.number for run in left)
                for run in left:
                    if run.done == done:
                        run.stop(states[run.number])
                display.say(f"stopped at step {done} as asked, and saved; the same command goes on from there")
                return {}
            summaries = {run.name: run.summary for run in runs if run.summary is not None}
            if len(summaries) < len(runs):
                failures = "; ".join(f"{run.name}: {run.failure}" for run in runs if run.failure)
                raise FloatingPointError(f"{workdir}: {failures}; {len(summaries)} of {len(runs)} runs are finished")
            display.say(run_report.closing_of_many(summaries, workdir))
            return summaries


def check_folder(workdir: Path, config: ConfigDict) -> None:
    """Raises ValueError where several runs cannot be made here."""
    if jax.process_count() > 1:
        raise ValueError(
            f"replicas = {config.replicas} train in one process, not in {jax.process_count()}; start one without "
            "--num_processes, or train each seed by itself"
        )
    if (workdir / "config.json").exists():
        raise ValueError(f"--workdir = {workdir} is the folder of a single run; give replicas one of their own")


def share_tokenizer(trained: Path, folder: Path) -> None:
    """Gives a run the tokenizer that all share. Raises ValueError where it already has another one."""
    if not trained.is_dir() or trained == folder:
        return
    if not folder.exists():
        partial = folder.with_name("tokenizer.tmp")
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(trained, partial)
        partial.rename(folder)
    names = sorted(path.name for path in trained.iterdir())
    if filecmp.cmpfiles(trained, folder, names, shallow=False)[0] != names:
        raise ValueError(f"{folder} is not the tokenizer of {trained}, and replicas share one; use another --workdir")
