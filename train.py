"""Trains one model on one task: the same command starts a run and resumes it.

    python train.py --config=configs/recall.py:gru_attention --workdir=runs/recall-gru-attention
    python train.py --config=configs/multi30k.py:transformer --workdir=runs/de-en --config.data.dir=FOLDER

`train` below is the whole story; its chapters are in training/.
"""

# Before what takes time to import: Ctrl-C counts from now on.
from training.machine import signals

# isort: split
import sys

from training.command import usage

if __name__ == "__main__":
    usage.answer(sys.argv[1:], __doc__)  # before what follows is imported, which takes seconds

import functools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

import data
import models
from data import pipeline, whole_file
from training import counting
from training.command import cli
from training.evaluation import samples, translator, untrained_positions
from training.machine import backend, mesh
from training.machine.clock import Clock, run_start
from training.machine.profiling import Profile
from training.machine.watchdog import Watchdog, still
from training.run import initial, memory, resume, run_folder, run_report
from training.run.checkpoint import Checkpoints
from training.run.claim import claimed
from training.run.tracking import Tracker
from training.step import params
from training.step.intervals import due
from training.step.train_step import Recipe
from training.trainer import Probe, Trainer


def train(
    config: ConfigDict, workdir: Path, *, accept_changes: bool = False, probes: Sequence[Probe] = ()
) -> dict[str, Any]:
    """Trains to the end and returns the summary, or {} when asked to stop before it.

    Raises ValueError or OSError for what a user can mend (bad values before anything is written, a full
    disk later) and NonFiniteError when the loss stops being a number; finished work stays.
    """
    begun = run_start()
    backend.configure(workdir, config.keep_pages, config.cpu_devices, config.deterministic)
    run_folder.check_same_run(workdir, config, accept_changes=accept_changes)
    newest, best = Checkpoints(workdir / "checkpoints", config.keep), Checkpoints(workdir / "best", 1)
    main_process = jax.process_index() == 0

    # What is learned, and by what.
    with run_folder.restored_on_error(workdir), still("reading the data and building the model"):
        recipe, batching = Recipe.of(config), pipeline.Batching.of(config)
        other = initial.read(Path(config.init_from)) if config.init_from and not newest.steps() else None
        if other and "tokenizer" in config.data:
            initial.take_tokenizer(other.workdir, workdir, config.data.tokenizer)
        if "tokenizer" in config.data:  # before text is read, and a tokenizer learned and kept
            memory.check_parameters(config.model, recipe, data.outline(config.task, config.data))
        task = data.build(config.task, config.data, tokenizer_dir=workdir / "tokenizer")
        memory.check(config.model, recipe, batching, task, config.eval_examples)
        model = models.build(config.model.name, config.model, task.spec, jax.random.key(config.seed))
        start = initial.start(other, workdir, params.flatten(model)) if other else None
        if start:
            model = params.Skeleton(model)(start.weights)
        plan = pipeline.train_plan(task, batching)
        trainer = Trainer(
            model,
            task.spec,
            recipe,
            mesh.make(),
            Clock({}),
            best=config.best.metric,
            several_shapes=len(plan.shapes) > 1,
        )
        probes = [*probes, *translator.while_training(config, task, model)]
        validation = list(pipeline.eval_batches(task, "val", batching, limit=config.eval_examples))
        untrained_positions.check_batches(model, validation)
        content = task.content_hash("train", "val")
        run_folder.check_same_data(workdir, content, accept_changes=accept_changes)

    if model.counted:  # not learned step by step
        both = newest, best
        return counting.train(config, workdir, model, task, trainer, both, validation, content, probes, begun)

    with claimed(workdir, jax.process_index()), signals.StopRequest() as stop:
        # Where an earlier start of this run got to.
        with still("reading the checkpoints"):
            past = resume.find(
                workdir, newest, best, trainer.state, trainer.weights, config.steps, config.early_stopping.patience
            )
        if main_process and not (past.summary and run_folder.read_record(workdir, damaged_is_none=True)):
            run_folder.record(workdir, config, content)
            if start:
                initial.note(workdir, start.record)
        if past.summary:
            print(f"{workdir} is finished; its summary stays as it is", file=sys.stderr)
            return past.summary
        if config.init_from and not start and not newest.steps():
            raise ValueError(
                f"{newest.folder}: no whole checkpoint is left of a run that began with those of init_from; "
                "use another --workdir"
            )
        done, trainer.state, ledger, _ = past
        undrawn = False
        clock = trainer.clock = Clock(ledger.seconds)
        patience = config.early_stopping.patience
        if main_process:
            (workdir / "summary.json").unlink(missing_ok=True)  # of a run that now goes further

        with (
            Tracker(workdir, config, first_step=done, active=main_process, clock=clock) as tracker,
            Profile(workdir / "profile", active=config.profile and main_process) as profile,
            trainer.compiling_ahead(
                pipeline.one_of_each_shape(task, batching, plan, start=done),
                validation,
                unneeded=lambda: stop.requested,
                say=tracker.say,
            ),
            Watchdog(tracker.say, done) as watchdog,  # ends first: what the end waits for is no step
        ):
            who = model, config.model.name, config.task
            tracker.say(run_report.opening(*who, task.notes, trainer.weights, done, workdir))
            for line in start.lines if start and not done else []:
                tracker.say(line)
            clock.listeners = [tracker.doing, watchdog.doing]
            batches = watchdog.fed(pipeline.train_batches(task, batching, start=done, plan=plan))
            clock.lap()
            while done < config.steps and not ledger.out_of_patience(patience):
                if stop.agreed(at=done % config.every.log == 0):
                    break
                batch = next(batches)
                ledger.count(batch, trainer.step(done, batch))
                done += 1
                tracker.advance(done)
                watchdog.advance(done)
                if traced := profile.advance(trainer.wait):
                    tracker.say(traced)
                if ledger.start_to_first_step_seconds is None:
                    trainer.wait()
                    ledger.start_to_first_step_seconds = time.time() - begun

                now = due(config.every, config.steps, done)
                if now.log:
                    trainer.wait()
                    row = ledger.row(done, clock.lap(), perplexity=trainer.has_perplexity)
                    tracker.write("train", done, row)
                if now.eval:
                    with clock.pause("eval"):
                        scores = trainer.evaluate(validation)
                        for probe in probes:
                            scores |= probe(trainer.model, task, done)
                    tracker.write("val", done, scores)
                    if ledger.note_evaluation(done, scores, config.best.metric):
                        with clock.pause("save"):
                            best.save(done, {"params": trainer.weights}, {"metrics": scores})
                    undrawn = tracker.mirrored
                if now.save or ledger.out_of_patience(patience):
                    trainer.wait()
                    ledger.hold(done, clock.lap())
                    with clock.pause("save"):
                        newest.save(done, trainer.state, ledger.to_json())
                    if undrawn:  # since an evaluation; only what is saved cannot be lost by drawing
                        with clock.pause("eval"):
                            middle = validation[len(validation) // 2]
                            tracker.show(done, functools.partial(samples.make, trainer.model, task, middle, workdir))
                        undrawn = False
                tracker.mirror()

            if done < config.steps and not ledger.out_of_patience(patience):
                trainer.wait()
                ledger.hold(done, clock.lap())
                with clock.pause("save"):
                    newest.save(done, trainer.state, ledger.to_json())
                tracker.say(f"stopped at step {done} as asked, and saved; the same command goes on from there")
                return {}
            summary = run_report.summarise(ledger, trainer.state["params"], config.best.metric)
            tracker.say(run_report.closing(summary, workdir))
            tracker.summarise(summary)
            if main_process:
                whole_file.write_json(workdir / "summary.json", summary)
            return summary


def main(argv: Sequence[str]) -> None:
    options = cli.parse(argv, __doc__)
    with cli.user_errors(options.config_file, options.config, memory.lower(options.config.model)):
        mesh.start_processes(options.coordinator, options.num_processes, options.process_id)
        done = train(options.config, options.workdir, accept_changes=options.accept_changes)
        if not done:
            sys.exit(signals.status())  # so that neither a loop of runs nor `train && eval` goes on


if __name__ == "__main__":
    main(sys.argv[1:])
