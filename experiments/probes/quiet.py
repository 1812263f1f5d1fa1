"""Timed runs side by side on an accelerator: any number of processes prepare, or one measures and the others wait.

Preparing (to start, trace and compile) takes a minute in which the accelerator only tries kernels. Measuring takes
seconds, which those trials would disturb. The locks are files of this user in the temporary folder; a process that dies
gives its own back. Waiting counts as time of the run, not of what is measured.
"""

import contextlib
import fcntl
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path


class Quiet:
    """A room that many share to prepare in and one has alone to measure in. Whoever waits to measure holds the door:
    nobody else comes in to prepare."""

    def __init__(self, folder: Path | None = None):
        self._folder = folder
        self._place: contextlib.ExitStack | None = None  # held while this process prepares

    @contextlib.contextmanager
    def preparing(self) -> Iterator[None]:
        """Waits until nobody measures, or waits to."""
        with contextlib.ExitStack() as self._place:
            self._enter(self._place)
            try:
                yield
            finally:
                self._place = None

    @contextlib.contextmanager
    def measuring(self) -> Iterator[None]:
        """Waits until nobody prepares or measures. Within `preparing`, this process gives its place up meanwhile."""
        if self._place:
            self._place.close()
        with self._held("door", fcntl.LOCK_SH), self._held("room", fcntl.LOCK_EX):
            yield
        if self._place:
            self._enter(self._place)

    def _enter(self, place: contextlib.ExitStack) -> None:
        with self._held("door", fcntl.LOCK_EX):
            place.enter_context(self._held("room", fcntl.LOCK_SH))

    @contextlib.contextmanager
    def _held(self, name: str, how: int) -> Iterator[None]:
        path = (self._folder or Path(tempfile.gettempdir())) / f"longreach-{os.getuid()}-{name}.lock"
        with path.open("a", encoding="utf-8") as file:
            try:
                fcntl.flock(file, how | fcntl.LOCK_NB)
            except BlockingIOError:
                print(f"waiting for other timed runs on this machine ({path})", file=sys.stderr, flush=True)
                fcntl.flock(file, how)
            try:
                yield
            finally:
                fcntl.flock(file, fcntl.LOCK_UN)


HERE = Quiet()
