"""Signals that ask a program to end, from the first moment on. Every program imports this before anything slow.

Until a run trains there is nothing to save: Ctrl-C ends the process with one line. While it trains, SIGTERM, SIGHUP
and Ctrl-C let the step finish, and a second Ctrl-C does not wait. The exit status is the shell's: 128 + the signal's
number. If there is nothing to save, SIGTERM and SIGHUP end the process by themselves, with that same status.
"""

# Before what takes time to import.
from training.machine import at_once

# isort: split
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, ClassVar

from training.machine import last_words, lasting_streams, limits, xla_flags

Handler = Callable[[int, FrameType | None], Any] | int | None  # as `signal.signal` takes and returns it

_undo: list[Callable[[], None]] = []


def asking() -> list[signal.Signals]:
    """The signals that ask to end. `nohup` takes SIGHUP out; a terminal's Ctrl-C reaches a child through its parent."""
    numbers = [signal.SIGTERM]
    if not _is_child():
        numbers.append(signal.SIGINT)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    return numbers


def status(number: int | None = None) -> int:
    """The exit status after an early end because of a signal, here or in another process of the run."""
    return 128 + (number or StopRequest.received or signal.SIGTERM)


@contextlib.contextmanager
def undone_at_once(undo: Callable[[], None]) -> Iterator[None]:
    """Makes Ctrl-C call `undo` if it ends the process within the body."""
    _undo.append(undo)
    try:
        yield
    finally:
        _undo.remove(undo)


class StopRequest:
    """`stop.requested` turns True when the process is asked to end. Use as a context manager."""

    received: ClassVar[int | None] = None  # the last signal that asked, for the exit status

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[int, Handler] = {}

    def __enter__(self) -> "StopRequest":
        for number in asking():
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def agreed(self, *, at: bool) -> bool:
        """Whether to end now. One process ends when asked; several must end at the same step, and ask each other
        only where `at` is true, since asking costs a round trip."""
        import jax
        import numpy as np
        from jax.experimental import multihost_utils

        if jax.process_count() == 1:
            return self.requested
        return at and bool(multihost_utils.process_allgather(np.asarray(self.requested)).any())

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested, StopRequest.received = True, number


def _end_at_once(number: int, frame: FrameType | None) -> None:
    """Raises nothing: an exception would be lost, or told with a traceback, wherever a library calls back."""
    for act in (*reversed(_undo), sys.stdout.flush, lambda: os.write(2, b"error: stopped\n")):
        with contextlib.suppress(Exception):
            act()
    os._exit(status(number))


def _is_child() -> bool:
    """Whether another program of the project started this one; it has that name before it has its parent."""
    there = sys.modules.get("multiprocessing.process")  # whose import takes long, and every child has it
    return there is not None and there.current_process().name != "MainProcess"


if _is_child():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
elif at_once.is_program():
    signal.signal(signal.SIGINT, _end_at_once)
    last_words.install()
    lasting_streams.install()
    limits.check()
    xla_flags.check()
