"""A job on a cluster's node: its process, and what to do when Slurm says that time is up.

submitit starts this. Its own handlers would pickle and requeue at once. Here the run saves first and goes on from its
checkpoint when it is started again. It is not requeued if it wrote no checkpoint within a whole time limit.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType

from experiments.engine import process


def supervise(file: str) -> None:
    """On USR2, which comes before the time limit (`slurm.py`): save and requeue. On TERM, a cancellation or a
    preemption after which Slurm requeues by itself: save."""
    job = Path(file)
    asked: list[int] = []
    running: subprocess.Popen | None = None
    before = _progress(job)

    def end(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        if running:
            running.send_signal(signal.SIGTERM)

    for number in (signal.SIGUSR2, signal.SIGTERM):
        signal.signal(number, end)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Slurm signals every process of a step: the job's own, which USR2 would end, keeps it blocked.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    running = process.start(job)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR2])
    if asked:
        running.send_signal(signal.SIGTERM)
    status = running.wait()
    if signal.SIGUSR2 not in asked or not process.left(job):
        sys.exit(max(status, 0) or (1 if status else 0))
    if _progress(job) == before:
        with job.with_suffix(process.LOG).open("a", encoding="utf-8") as log:
            log.write("the time limit passed without a checkpoint; give more minutes\n")
        sys.exit(1)
    subprocess.run(["scontrol", "requeue", _job_id()], check=True)


def _job_id() -> str:
    of_array = os.environ.get("SLURM_ARRAY_JOB_ID")
    return f"{of_array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if of_array else os.environ["SLURM_JOB_ID"]


def _progress(job: Path) -> list[tuple[str, list[str]]]:
    """The unfinished runs and their checkpoints."""
    left = process.left(job)
    return [(str(folder), sorted(path.name for path in folder.glob("checkpoints/*"))) for folder in left]
