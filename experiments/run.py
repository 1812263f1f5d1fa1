"""Answers a question: runs what is missing, then writes table, figure and verdict.

    python -m experiments.run                                    the questions, one a line
    python -m experiments.run long_range --scale=cpu --jobs=2    goes on where an earlier start was stopped
    python -m experiments.run long_range --scale=cpu --dry-run   the runs, their sizes and what they will cost
    python -m experiments.run QUESTION --data=FOLDER             for runs on text: where it lies, if not downloaded
    python -m experiments.run QUESTION --fresh                   everything anew, then what moved since the table

What is finished stays: Ctrl-C, a kill, or a run that fails cost nothing that was done. `results/QUESTION/SCALE/` holds
what comes out, `runs/QUESTION/SCALE/` the runs; with `--fresh`, a folder `fresh` in both.
"""

# Before what takes time to import: Ctrl-C counts from now on.
from training.machine import signals

# isort: split
import argparse
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import FrameType

import jax

from experiments.analysis import moved, table
from experiments.analysis.finding import Finding
from experiments.engine import estimate, results, schedule, version
from experiments.engine.progress import Progress, duration
from experiments.engine.results import Folders, Record, Store
from experiments.engine.schedule import Due, Key
from experiments.engine.trial import Job
from experiments.engine.version import Version
from experiments.engine.workers import DONE, FAILED, STOPPED, End, Worker, first_end
from experiments.questions import QUESTIONS, find
from experiments.questions.question import SCALES, Question
from training.command.cli import FAILURE, Parser, check_folder, user_errors
from training.command.printed import print_whole
from training.mirrors import wandb_account

AGAIN = " (--fresh runs them again beside, and says what moved)"
TICK = 0.5  # seconds between looks at the clock and the bars


class Engine:
    """Runs a question's missing runs at a scale, in `jobs` processes."""

    def __init__(self, question: Question, name: str, scale: str, options: argparse.Namespace):
        """Raises ValueError for a grid, a probe, a filter or a table that cannot be used; nothing has been written."""
        self.question, self.name, self.scale = question, name, scale
        usual = Folders.of(name, scale, options.runs, options.results)
        self.folders = usual.beside() if options.fresh else usual
        self.published = usual.tables()[-1:] if options.fresh else []  # what is run anew is compared to
        self.grid = schedule.grid(question, scale)
        if options.data:
            self.grid = schedule.with_text(self.grid, options.data)
        self.chosen = schedule.select(self.grid, options.only)
        self.store = Store(self.folders)
        self.alone = schedule.alone(question, self.grid)
        self.jobs, self.wandb = 1 if self.alone else options.jobs, options.wandb
        self.clock = estimate.Clock(timed=self.alone)
        self.failed: dict[Key, str] = {}
        self._stop: str = ""  # why to stop
        self._signals = 0
        self._deadline = time.monotonic() + 60 * options.budget if options.budget else None
        for record in (*self.store, *(Store(usual) if options.fresh else ())):
            self.clock.learn(record.key.name, record.role, record.steps, record.seconds)
        plan = schedule.plan(self.grid, self.score)
        self.clock.compare([*plan.due, *map(schedule.assumed, plan.waiting)])

    def finished(self, due: Due) -> Record | None:
        return self.store.finished(due.key, Version.of(self.question, due))

    def outdated(self) -> str:
        """One line on the runs that are in a table and count no longer, or nothing."""
        due = schedule.plan(self.chosen, self.score).due
        said = [why for one in due if (why := self.store.outdated(one.key, Version.of(self.question, one)))]
        more = f", and {len(said) - 1} more" * (len(said) > 1)
        return f"{said[0]}{more}; they run again" if said else ""

    def score(self, due: Due) -> float | None:
        """The metric of a finished trial, by which its value is chosen."""
        record = self.finished(due)
        if record is None or due.run.tuning is None:
            return None
        measure = f"best_{due.run.tuning.metric}"
        return next((row["value"] for row in record.rows if row["measure"] == measure), float("nan"))

    def todo(self) -> list[Due]:
        """What can be started now, in order."""
        due = schedule.plan(self.chosen, self.score).due
        return [one for one in due if one.key not in self.failed and not self.finished(one)]

    def unfinished(self) -> list[Due]:
        """What is known to be missing: trials and runs that could be started, and those that wait for trials."""
        plan = schedule.plan(self.chosen, self.score)
        waiting = [schedule.assumed(run) for run in plan.waiting]
        return [one for one in plan.due if not self.finished(one)] + waiting

    # ---- running -----------------------------------------------------------------------------------------------

    def go(self) -> None:
        """Runs until nothing is left, or something asks to stop."""
        left = self.unfinished()
        if not left:
            print(f"every run is finished{AGAIN}; table, figure and verdict are written anew", file=sys.stderr)
            return
        before = {number: signal.signal(number, self._note) for number in signals.asking()}
        workers: list[Worker] = []
        try:
            jobs = min(self.jobs, len(left))
            with Progress(len(left), self.clock.total(left), jobs) as self.progress:
                self._loop(workers, jobs)
        finally:
            for worker in workers:
                worker.ask_to_stop() if worker.job else None
            for worker in workers:
                worker.end()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _loop(self, workers: list[Worker], jobs: int) -> None:
        waiting: list[Due] = []
        running: dict[str, Due] = {}  # by folder
        left: list[Due] = []
        changed = True
        while True:
            self._watch_clock(workers)
            if changed:
                waiting = [one for one in self.todo() if one.key not in {due.key for due in running.values()}]
                left = [one for one in self.unfinished() if one.key not in self.failed]
                self.progress.expect(len(left))
                changed = False
            if not self._stop:
                while waiting and len(running) < jobs:
                    one = _next(waiting, running.values())
                    waiting.remove(one)
                    worker = self._idle(workers, jobs)
                    job = self._job(one)
                    running[job.workdir] = one
                    worker.give(job)
                    self.progress.begin(job, one.config.steps, self.clock.seconds(one))
            if not running:
                return
            started = {one.key for one in running.values()}
            behind = [one for one in left if one.key not in started]  # those that wait for trials, too
            if end := first_end(workers, TICK):
                self._take(running.pop(end.job.workdir), end)
                changed = True
                if self.alone:
                    workers.pop().end()  # what one run left in memory must not slow the next
            self.progress.advance(self.clock.total(behind))

    def _idle(self, workers: list[Worker], jobs: int) -> Worker:
        """A worker without a job: one that lives, or a new one in its place."""
        for number, worker in enumerate(workers):
            if worker.job is None:
                if not worker.alive:
                    workers[number] = Worker(number, jobs)
                return workers[number]
        workers.append(Worker(len(workers), jobs))
        return workers[-1]

    def _job(self, due: Due) -> Job:
        wanted = Version.of(self.question, due)
        config = due.config.to_dict()
        config["wandb"] = {**config["wandb"], "group": f"{self.name}-{self.scale}", "name": due.key.name}
        return Job(
            name=str(due.key),
            workdir=str(results.workdir(self.folders, due, wanted)),
            config=config,
            columns=results.columns_of(due, wanted),
            probes=schedule.probes_of(self.question, due),
            wandb=self.wandb,
            in_haste=self.scale == "smoke",
        )

    def _take(self, due: Due, end: End) -> None:
        asked = any(name in end.message for name in ("SIGTERM", "SIGHUP"))
        how = STOPPED if end.how == FAILED and self._stop and asked else end.how
        if how == DONE:
            self.store.reread(Path(end.job.workdir))
            if record := self.finished(due):
                self.clock.learn(due.key.name, due.role, record.steps, record.seconds)
            else:
                how, end = FAILED, End(end.job, FAILED, end.seconds, "its rows were not written")
        if how == FAILED:
            self.failed[due.key] = f"{end.message}; see {end.job.workdir}/log.txt"
        self.progress.end(end.job, how, end.seconds, end.message)

    def _watch_clock(self, workers: list[Worker]) -> None:
        if self._deadline is not None and time.monotonic() > self._deadline and not self._stop:
            self._ask("the budget is spent", workers)
        if self._signals and not self._stop:
            self._ask("stopped as asked", workers)
        if self._signals > 1:
            raise KeyboardInterrupt

    def _ask(self, why: str, workers: list[Worker]) -> None:
        self._stop = why
        self.progress.say(f"{why}; saving what is running")
        for worker in workers:
            if worker.job:
                worker.ask_to_stop()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1
        self.received = number

    # ---- what comes out ----------------------------------------------------------------------------------------

    def publish(self) -> Sequence[Finding]:
        """Writes table and commands from every finished run of the grid, and figure and verdict as soon as one of them
        is reported: trials alone are kept, for the next sitting, and show nothing. Returns the findings."""
        finished = [(one, record) for one in schedule.plan(self.grid, self.score).due if (record := self.finished(one))]
        if not finished:
            return []
        everything = results.as_table([record for _, record in finished])
        if aside := results.put_by(self.folders.results, everything):
            print(f"the table had runs that no longer count; it is kept as {aside}", file=sys.stderr)
        table.write(everything, self.folders.results)
        if changed := version.since(everything):
            print(changed, file=sys.stderr)
        results.write_commands(self.name, self.scale, [one for one, _ in finished], self.folders.results)
        if not len(results.reported(everything)):
            return []
        return results.draw(self.question, self.name, self.scale, everything, self.folders.results, len(self.grid))

    def moved(self) -> list[str]:
        """What is run anew beside what is committed."""
        if not self.published:
            return []
        before, after = (results.reported(table.read(path)) for path in (*self.published, *self.folders.tables()))
        return moved.lines(before, after, results.OF_THE_MACHINE)

    def close(self) -> int:
        """Says what came out, and returns the exit status."""
        findings, left = self.publish(), self.unfinished()
        if findings:
            print(*results.said(self.question, self.scale, findings), *self.moved(), sep="\n")
            print(f"{self.folders.results}/figure.png")
        for key, message in self.failed.items():
            print(f"failed: {key}: {message}", file=sys.stderr)
        if left:
            why = f" ({self._stop})" if self._stop else ""
            again = "the same command goes on from here"
            runs = "1 run is" if len(left) == 1 else f"{len(left)} runs are"
            print(f"{runs} not finished{why}; {again}", file=sys.stderr)
        if self._signals:
            return signals.status(self.received)
        return FAILURE if self.failed else 0


def _next(waiting: Sequence[Due], running: Iterable[Due]) -> Due:
    """The first whose cell is not running: two runs of one cell that start together compile every program twice."""
    cells = {one.key.name for one in running}
    return next((one for one in waiting if one.key.name not in cells), waiting[0])


def dry_run(engine: Engine, jobs: int) -> None:
    """Lists what would run: sizes, work, and time by the runs that are finished."""
    from rich.table import Table as Listing

    left = engine.unfinished()
    if not left:
        print(f"{engine.name} at {engine.scale}: every run is finished{AGAIN}")
        return
    listing = Listing(title=f"{engine.name} at {engine.scale}: {len(left)} runs to do", title_justify="left")
    listing.add_column("run")
    for column in ("seeds", "parameters", "without embeddings", "TFLOP", "minutes"):
        listing.add_column(column, justify="right")
    cells: dict[str, list[Due]] = {}
    for due in left:
        cells.setdefault(f"{due.key.name}{' (trials)' if due.role == schedule.TUNE else ''}", []).append(due)
    for name, mine in cells.items():
        cost = estimate.cost(mine[0].config)
        work, minutes = sum(estimate.cost(due.config).flops for due in mine), engine.clock.total(mine) / 60
        listing.add_row(
            name,
            str(len(mine)),
            f"{cost.num_params:,}",
            f"{cost.num_params_non_embedding:,}",
            f"{work / 1e12:.3g}",
            f"{minutes:.1f}",
        )
    print_whole(listing)
    basis = "by recorded runs" if engine.clock.measured else f"assumed {engine.clock.assumed}"
    total = engine.clock.total(left)
    print(f"about {duration(total / jobs)} with --jobs={jobs}, {basis}; trials that extend a grid come on top")


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument("question", nargs="?", default="", help="a name of experiments/questions")
    parser.add_argument("--scale", default="cpu", choices=SCALES)
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time; on a CPU they share out its cores")
    parser.add_argument("--only", default="", help="runs whose name holds this, or task=recall,system=gru")
    parser.add_argument("--dry-run", action="store_true", help="list the runs with sizes and cost")
    parser.add_argument("--budget", type=float, default=0.0, help="minutes, after which it stops and saves; 0: none")
    parser.add_argument("--fresh", action="store_true", help="run anew beside what is finished, and compare at the end")
    parser.add_argument("--wandb", default="disabled", choices=("disabled", "auto", "online", "offline"))
    parser.add_argument("--data", default="", help="folder of the text that the runs read; without it, downloaded")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where the runs go")
    parser.add_argument("--results", type=Path, default=results.OWN, help="where table and figure go")
    options = parser.parse_args(argv)
    if options.jobs < 1:
        parser.error(f"--jobs = {options.jobs} is no number of processes; use 1 or more")
    if not options.budget >= 0:
        parser.error(f"--budget = {options.budget} is no number of minutes; use 0 (none) or more")
    return options


def main(argv: Sequence[str]) -> int:
    options = parse(argv)
    if not options.question:
        for name, question in QUESTIONS.items():
            print(f"{name:16} {question.CLAIM}")
        return 0
    jax.config.update("jax_platforms", "cpu")  # of this process, which counts; an accelerator is its workers' alone
    with user_errors():
        engine = Engine(find(options.question), options.question, options.scale, options)
        if options.jobs > engine.jobs:
            said = f"{options.question} measures time, so one run at a time has the whole machine"
            print(f"--jobs = {options.jobs}: {said}", file=sys.stderr)
        if options.wandb != "disabled":
            wandb_account.mode_of(options.wandb)
        check_folder("--runs", options.runs)
        check_folder("--results", options.results)
        if outdated := engine.outdated():
            print(outdated, file=sys.stderr)
        if options.dry_run:
            dry_run(engine, engine.jobs)
            return 0
        engine.go()
        return engine.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
