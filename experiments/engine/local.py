"""Runs jobs as processes on this machine, several at a time, each with cores of its own."""

import os
import signal
import subprocess
import time
from collections.abc import Sequence

from experiments.engine import process
from experiments.engine.jobs import End, Job

PATIENCE = 60.0  # seconds that a process has to save its run when it must end
LOOK = 0.05  # seconds between looks at the processes


class Local:
    """An executor (`jobs.Executor`)."""

    def __init__(self, slots: int):
        self.slots = slots
        of_memory = os.environ.get("XLA_PYTHON_CLIENT_MEM_FRACTION", f"{0.9 / slots:.3f}")  # an accelerator's
        self._share = {"XLA_PYTHON_CLIENT_MEM_FRACTION": of_memory} if slots > 1 else {}
        self._processes: dict[int, tuple[Job, subprocess.Popen]] = {}  # by slot

    @property
    def running(self) -> list[Job]:
        return [job for job, _ in self._processes.values()]

    def start(self, jobs: Sequence[Job]) -> None:
        free = [slot for slot in range(self.slots) if slot not in self._processes]
        for slot, job in zip(free, jobs, strict=False):
            started = process.start(job.write(), self._share)
            self._processes[slot] = job, started
            pinned = self.slots > 1 and not job.alone and hasattr(os, "sched_setaffinity")
            if pinned:  # before it imports anything that has threads
                cores = sorted(os.sched_getaffinity(0))
                os.sched_setaffinity(started.pid, cores[slot % len(cores) :: self.slots] or cores)

    def wait(self, seconds: float) -> list[End]:
        until = time.monotonic() + seconds
        while True:
            over = [slot for slot, (_, one) in self._processes.items() if one.poll() is not None]
            if over or time.monotonic() > until:
                return [self._end(slot) for slot in over]
            time.sleep(LOOK)

    def _end(self, slot: int) -> End:
        job, ended = self._processes.pop(slot)
        ended.communicate()  # closes its standard input
        return End(job, process.how(job.log, ended.returncode))

    def stop(self) -> str:
        for _, one in self._processes.values():
            one.send_signal(signal.SIGTERM)
        return "saving what is running"

    def close(self) -> None:
        """Asks the processes to end, waits for PATIENCE, and then kills them."""
        self.stop()
        until = time.monotonic() + PATIENCE
        for _, one in self._processes.values():
            try:
                one.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                one.kill()
                one.wait()
