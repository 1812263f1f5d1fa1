"""Stopping on request: SIGTERM and Ctrl-C let the step finish; a second Ctrl-C does not wait."""

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any, ClassVar

import jax
import numpy as np
from jax.experimental import multihost_utils

Handler = Callable[[int, FrameType | None], Any] | int | None  # as `signal.signal` takes and returns it


class StopRequest:
    """`stop.requested` turns True when the process is asked to end. Use as a context manager."""

    received: ClassVar[int | None] = None  # the last signal that asked, for the exit status

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[int, Handler] = {}

    def __enter__(self) -> "StopRequest":
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def agreed(self, *, at: bool) -> bool:
        """Whether to end now. One process ends when asked; several must end at the same step, and ask each other
        only where `at` is true, since asking costs a round trip."""
        if jax.process_count() == 1:
            return self.requested
        return at and bool(multihost_utils.process_allgather(np.asarray(self.requested)).any())

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested, StopRequest.received = True, number
