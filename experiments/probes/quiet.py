"""Timed runs side by side on an accelerator: any number of processes prepare, or one measures and the others wait.

Preparing (to start, trace and compile) takes a minute of which the accelerator has no part but trials of kernels;
measuring takes seconds, which those trials would disturb. The locks are files of this user on this machine, and a
process that dies gives its own back.
"""

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


class Quiet:
    """A room that many share to prepare in, and one has to itself to measure in; who waits for that closes the door."""

    def __init__(self, folder: Path):
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
        with (self._folder / f"longreach-{os.getuid()}-{name}.lock").open("a") as file:  # given back when it is closed
            fcntl.flock(file, how)
            yield


HERE = Quiet(Path(tempfile.gettempdir()))
