"""Ctrl-C while a program imports what `signals.py` needs, a tenth of a second and more: one line.

Imported before anything else, so it needs nothing that Python has not loaded by itself.
"""

import os
import signal
import sys
from types import FrameType

PROGRAMS = ("train.py", "eval.py", "experiments", "benchmarks")


def is_program() -> bool:
    """Whether this process is one of the project's programs, rather than a test or a notebook that imports them."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    file = os.path.abspath(getattr(sys.modules["__main__"], "__file__", None) or "/")
    return os.path.relpath(file, root).split(os.sep)[0] in PROGRAMS


def _end(number: int, frame: FrameType | None) -> None:
    os.write(2, b"error: stopped\n")
    os._exit(128 + number)


if is_program():
    signal.signal(signal.SIGINT, _end)
