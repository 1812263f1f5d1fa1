"""Runs what is missing of a question, in processes that it looks after, and writes what comes out."""

import signal
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import FrameType

from experiments.analysis import moved, table
from experiments.analysis.finding import Finding
from experiments.engine import estimate, results, schedule, version
from experiments.engine.progress import Progress
from experiments.engine.results import Folders, Record, Store
from experiments.engine.schedule import Due, Key
from experiments.engine.trial import Job
from experiments.engine.version import Version
from experiments.engine.workers import DONE, FAILED, STOPPED, End, Worker, first_end
from experiments.questions.question import Question
from training.command.cli import FAILURE
from training.machine import signals

TICK = 0.5  # seconds between looks at the clock and the bars


class Engine:
    """Runs a question's missing runs at a scale, in `jobs` processes."""

    def __init__(
        self,
        question: Question,
        name: str,
        scale: str,
        folders: Folders,
        *,
        fresh: bool = False,
        only: str = "",
        data: str = "",
        jobs: int = 1,
        budget: float = 0.0,
        wandb: str = "disabled",
    ):
        """`fresh` runs everything anew, in folders beside; `only` chooses runs; `data` is the folder of the text that
        they read; `budget` is in minutes (0: none).

        Raises ValueError for a grid, a probe, a filter or a table that cannot be used; nothing has been written.
        """
        self.question, self.name, self.scale, self.fresh = question, name, scale, fresh
        self.folders = folders.beside() if fresh else folders
        self.published = folders.tables()[-1:] if fresh else []  # what is run anew is compared to
        self.grid = schedule.grid(question, scale)
        if data:
            self.grid = schedule.with_text(self.grid, data)
        self.chosen = schedule.select(self.grid, only)
        self.store = Store(self.folders)
        self.alone = schedule.alone(question, self.grid)
        self.jobs, self.wandb = 1 if self.alone else jobs, wandb
        self.clock = estimate.Clock(timed=self.alone)
        self.failed: dict[Key, str] = {}
        self._stop: str = ""  # why to stop
        self._signals = 0
        self._deadline = time.monotonic() + 60 * budget if budget else None
        for record in (*self.store, *(Store(folders) if fresh else ())):
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

    def all_finished(self) -> str:
        """What to say where nothing is left to run, and how to run all of it nonetheless."""
        if not self.fresh:
            return "every run is finished (--fresh runs them again beside, and says what moved)"
        places = [str(folder) for folder in (self.folders.runs, self.folders.results) if folder.exists()]
        return f"every run is finished, in {self.folders.runs} (to run anew, remove {' and '.join(places)})"

    # ---- running -----------------------------------------------------------------------------------------------

    def go(self) -> None:
        """Runs until nothing is left, or something asks to stop."""
        left = self.unfinished()
        if not left:
            print(f"{self.all_finished()}; table, figure and verdict are written anew", file=sys.stderr)
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
