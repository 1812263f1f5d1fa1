"""Processes that do jobs one after another: what one compiles, the next run finds in the cache, and a crash of one
process costs the run that it was in, and no other.
"""

import contextlib
import dataclasses
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from experiments.engine import trial
from experiments.engine.trial import Job

DONE, STOPPED, FAILED = "done", "stopped", "failed"
PATIENCE = 60.0  # seconds that a worker has to save its run when it is asked to end
LOG = "log.txt"  # in the run's folder: what training and probes print


@dataclasses.dataclass(frozen=True)
class End:
    """How a job ended."""

    job: Job
    how: str
    seconds: float
    message: str = ""  # one line, where it failed


class Worker:
    """One process. It takes SIGTERM as a request to save its run and end; Ctrl-C reaches it through its parent."""

    def __init__(self, number: int, of: int):
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, number, of))
        self._process.start()
        theirs.close()
        self.job: Job | None = None
        self._since = 0.0

    @property
    def waited_for(self) -> list[Any]:
        return [self._pipe, self._process.sentinel]

    def give(self, job: Job) -> None:
        self.job, self._since = job, time.monotonic()
        self._pipe.send(job)

    def poll(self) -> End | None:
        """How the job ended, where it has; a process that died is one way."""
        if self.job is None:
            return None
        how, message = FAILED, ""
        try:
            if self._pipe.poll():
                how, message = self._pipe.recv()
            elif self._process.is_alive():
                return None
            else:
                raise EOFError
        except (EOFError, ConnectionResetError):
            self._process.join(PATIENCE)
            code = self._process.exitcode or 0
            died = f"killed by signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"exit status {code}"
            message = f"its process died: {died}"
        job, self.job = self.job, None
        return End(job, how, time.monotonic() - self._since, message)

    @property
    def alive(self) -> bool:
        return self._process.is_alive()

    def ask_to_stop(self) -> None:
        if self._process.is_alive() and self._process.pid:
            os.kill(self._process.pid, signal.SIGTERM)

    def end(self) -> None:
        """Ends the process: at once where it is idle, after saving where it is not, by force after PATIENCE."""
        with contextlib.suppress(OSError):
            if self.job is None:
                self._pipe.send(None)
            else:
                self.ask_to_stop()
        self._process.join(PATIENCE)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def first_end(workers: list[Worker], timeout: float) -> End | None:
    """The first job found to have ended, after waiting at most `timeout` seconds; None where none has."""
    busy = [worker for worker in workers if worker.job]
    if busy:
        wait([thing for worker in busy for thing in worker.waited_for], timeout)
    return next((end for worker in busy if (end := worker.poll())), None)


def _work(pipe: Connection, number: int, of: int) -> None:
    """The life of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the parent passes on what it means
    _share_machine(number, of)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        try:
            job = pipe.recv()
        except (EOFError, OSError):
            return
        if job is None:
            return
        with _logged(Path(job.workdir)):
            answer = _do(trial.run, job)
        with contextlib.suppress(OSError):  # nobody may be there any more
            pipe.send(answer)


def _do(run: Any, job: Job) -> tuple[str, str]:
    try:
        return (DONE, "") if run(job) else (STOPPED, "")
    except Exception as error:
        traceback.print_exc()
        return FAILED, " ".join(f"{type(error).__name__}: {error}".split())


def _share_machine(number: int, of: int) -> None:
    """Gives each of several workers its own processors, and its share of an accelerator's memory.

    JAX has been imported, and reads both when it makes its first array.
    """
    if of == 1:
        return
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[number % len(cores) :: of] or cores)
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", f"{0.9 / of:.3f}")


def _end_with_parent() -> None:
    """A worker whose parent was killed saves its run and ends, rather than train for nobody."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)


@contextlib.contextmanager
def _logged(folder: Path) -> Iterator[None]:
    """Sends what the body prints, from whatever library, to the run's log."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = os.dup(1), os.dup(2)
    with (folder / LOG).open("a", encoding="utf-8") as log:
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, saved in enumerate(kept, start=1):
                os.dup2(saved, number)
                os.close(saved)
