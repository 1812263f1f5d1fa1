"""Runs what is due until nothing is due or the user stops it. A run is done when its rows are there."""

import time
from collections.abc import Sequence
from typing import NamedTuple

from experiments.engine import results, text_folder, trial
from experiments.engine.jobs import End, Executor
from experiments.engine.progress import Progress, duration, last_step
from experiments.engine.study import Study
from experiments.engine.trial import Spec
from training.machine.signals import StopRequest

SILENT = 60.0  # seconds after which jobs that have not ended, though asked, are named
TICK = 0.5  # seconds between looks at the clock, the rows and the bar


class Outcome(NamedTuple):
    failed: dict[str, str]  # run -> what its log says last, and where that lies
    stopped: str  # why it ended before everything was done, or nothing


def execute(study: Study, executor: Executor, *, minutes: float = 0.0) -> Outcome:
    """Until all is done, or for so many minutes (0: without end). If a run fails, the others go on."""
    deadline = time.monotonic() + 60 * minutes if minutes else float("inf")
    stopped, remind = "", float("inf")
    ended: list[End] = []
    try:
        with StopRequest() as stop, Progress() as bar:
            sitting = _Sitting(study, executor, bar)
            while True:
                if not stopped and (stop.requested or time.monotonic() > deadline):
                    stopped = "stopped as asked" if stop.requested else "the time limit is reached"
                    bar.end()  # what is left to do is not what is waited for now
                    bar.say(f"{stopped}; {executor.stop()}")
                    remind = time.monotonic() + SILENT
                if sitting.news(ended, stopped):
                    sitting.replan(start=not stopped)
                if not executor.running:
                    return Outcome(sitting.failed, stopped)
                if time.monotonic() > remind:
                    names = ", ".join(job.name for job in executor.running)
                    bar.say(f"waiting for {names} to save and end; Ctrl-C twice ends them by force")
                    remind = float("inf")
                sitting.show()
                ended = executor.wait(TICK)
    finally:
        executor.close()


class _Sitting:
    """From one start of the command to its end: what has been reported, and what is left."""

    def __init__(self, study: Study, executor: Executor, bar: Progress):
        self._study, self._executor, self._bar = study, executor, bar
        self._told: set[str] = set()  # folders of runs that were finished here, or failed
        self._lost: set[str] = set()  # those that failed
        self._worked = 0.0  # seconds
        self.failed: dict[str, str] = {}
        self.replan(start=True)

    def replan(self, *, start: bool) -> None:
        """Plans again, and gives the executor what is due and not running."""
        plan = self._study.plan()
        due = [one for one in plan.due if self._study.workdir(one) not in self._lost]
        self._left = len(due) + len(plan.waiting)
        self._seconds = self._study.clock.total([*due, *plan.waiting])
        if start:
            running = {spec.workdir for spec in self._running()}
            idle = [one for one in due if self._study.workdir(one) not in running]
            self._executor.start(self._study.jobs(idle, self._executor.slots))

    def news(self, ended: Sequence[End], stopped: str) -> bool:
        """Reports runs that have finished or failed since; returns whether there were any, or a job has ended."""
        specs = [*self._running(), *(spec for end in ended for spec in end.job.runs)]
        finished = [spec for spec in specs if spec.workdir not in self._told and spec.rows.exists()]
        for spec in finished:
            seconds = results.seconds(trial.read(spec.rows))
            self._worked += seconds
            self._tell(spec, duration(seconds) if seconds else "diverged")
        for end in ended:
            if (left := end.job.left) and not stopped:  # the first is where it ended
                how = text_folder.told(end.how)
                self.failed[left[0].name] = f"{how}; see {end.job.log}"
                self._lost.add(left[0].workdir)
                self._tell(left[0], f"failed: {how}")
        return bool(finished or ended)

    def _tell(self, spec: Spec, what: str) -> None:
        self._told.add(spec.workdir)
        self._left -= 1
        self._bar.say(f"[{len(self._told)}/{len(self._told) + self._left}] {spec.name}: {what}")

    def show(self) -> None:
        """Moves the bar, also by the steps of running jobs."""
        running = [spec for spec in self._running() if spec.workdir not in self._told]
        done = sum(last_step(spec.rows.parent) / spec.config["steps"] for spec in running)
        part = min(1.0, done / max(self._left, 1)) * self._seconds
        runs = len(self._told) + self._left
        self._bar.show(len(self._told), runs, self._worked + part, self._seconds - part, self._executor.slots)

    def _running(self) -> list[Spec]:
        return [spec for job in self._executor.running for spec in job.runs]
