"""A job's process: the runs of its file, one after another, up to the first that fails. What it prints is its log.

python -m experiments.engine.work RUNS/jobs/JOB.json
"""

# Before what takes time to import: being asked to end counts from now on.
from training.machine import signals

# isort: split
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from experiments.engine import jobs, trial
from experiments.engine.jobs import Job
from experiments.engine.statement import ROOT


def start(job: Job, environment: Mapping[str, str] = MappingProxyType({})) -> subprocess.Popen:
    """The process. It ends with this one, of which its standard input is a pipe; a terminal's Ctrl-C does not reach
    it, since this one passes on what it means."""
    command = [sys.executable, "-u", "-m", "experiments.engine.work", str(job.write())]
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    with job.log.open("ab") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **environment, "PYTHONPATH": paths},
        )


def how(job: Job, status: int) -> str:
    """How a process ended, in one line."""
    if status < 0:
        return f"killed by signal {-status} ({signal.Signals(-status).name})"
    lines = job.log.read_text(encoding="utf-8", errors="replace").splitlines() if status and job.log.is_file() else []
    return next((line for line in reversed(lines) if line.strip()), f"exit status {status}")


def _end_with_parent() -> None:
    """A process whose parent was killed saves its run and ends, rather than train for nobody."""
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def main(argv: Sequence[str]) -> int:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    for spec in jobs.read(Path(argv[0])).left:
        print(f"-- {spec.name}: {spec.workdir}")
        if not trial.run(spec):
            return signals.status()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
