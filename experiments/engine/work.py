"""A job's process: it does the runs of its file in order, up to the first that fails. Its output is the log.

python -m experiments.engine.work RUNS/jobs/JOB.json
"""

# Before what takes time to import: being asked to end counts from now on.
from training.machine import signals

# isort: split
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from experiments.engine import jobs, trial


def _end_with_parent() -> None:
    """If the parent is killed, this process saves its run and ends."""
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
