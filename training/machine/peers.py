"""One line where another process of a run is gone, in place of the report of JAX's C++ code, which then aborts.

That code asks nobody before it ends the process, so what it writes goes through this file, run as a process of its own.
"""

import contextlib
import os
import signal
import subprocess
import sys

LOST = "another process of this run has ended; start all of them again to go on from the last checkpoint"
NEVER = "process 0 of this run has not answered for five minutes; start all of them, and look at --coordinator"
REPORT = (
    "Polled an error from coordination service",
    "preemption notice from coordination service: UNAVAILABLE",
    "JAX distributed service detected fatal errors",
    LOST,
)


def tell_in_one_line(process_id: int | None) -> None:
    """Filters what this process writes to stderr, but for a first one that draws its bar on a terminal."""
    if not process_id and os.isatty(2):
        return
    # In a session of its own, so that a terminal's Ctrl-C does not end it before this process.
    command = [sys.executable, "-S", "-E", __file__]
    reads, writes = os.pipe()
    subprocess.Popen(command, stdin=reads, stdout=subprocess.DEVNULL, start_new_session=True)
    os.close(reads)
    os.dup2(writes, 2)
    os.close(writes)


def filtered() -> None:
    """Passes lines on from stdin to stderr up to the first of a report, which becomes LOST."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)  # Slurm signals every process of a step
    gone = False
    for line in sys.stdin.buffer:
        if not gone:
            gone = any(part.encode() in line for part in REPORT)
            said = NEVER if b"DEADLINE_EXCEEDED" in line else LOST
            with contextlib.suppress(OSError):  # nobody reads any more
                os.write(2, f"error: {said}\n".encode() if gone else line)


if __name__ == "__main__":
    filtered()
