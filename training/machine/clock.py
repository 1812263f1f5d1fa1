"""Wall time of a run by activity: training, compile, eval, save, mirror.

The clock that reports throughput stops during every other activity, and names it for the watchdog and the display.
"""

import contextlib
import itertools
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil


class Clock:
    """Adds seconds to `seconds[activity]`; time under no other name is training."""

    def __init__(self, seconds: dict[str, float]):
        self.seconds = seconds
        self.listeners: list[Callable[[str], None]] = []  # told what goes on from now; "" is training
        self._activity = ""
        self._lap_start = time.perf_counter()
        self._apart = 0.0  # seconds of this lap that were not training
        self._inner = 0.0  # seconds of pauses within the pause that is open

    @contextlib.contextmanager
    def pause(self, activity: str) -> Iterator[None]:
        """Counts the body's seconds under `activity`, except those of a pause within it."""
        outer, self._inner = self._inner, 0.0
        interrupted, self._activity = self._activity, activity
        self._tell(activity)
        start = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - start
            own, self._inner = spent - self._inner, outer + spent
            self._apart += own
            self.seconds[activity] = self.seconds.get(activity, 0.0) + own
            self._activity = interrupted
            self._tell(interrupted)

    def _tell(self, activity: str) -> None:
        for listener in self.listeners:
            listener(activity)

    def lap(self) -> float:
        """Seconds of training since the last lap."""
        now = time.perf_counter()
        spent = now - self._lap_start - self._apart
        self._lap_start, self._apart = now, 0.0
        self.seconds["training"] = self.seconds.get("training", 0.0) + spent
        return spent


_runs = itertools.count()


def run_start() -> float:
    """When the run began, as `time.time()`. The first run of a process begins with it, so imports count."""
    return _process_start() if next(_runs) == 0 else time.time()


def _process_start() -> float:
    """To a hundredth of a second; psutil counts from the second in which the machine was booted, rounded."""
    if sys.platform != "linux":
        return psutil.Process().create_time()
    ticks = int(
        Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    )  # field 22 of proc(5)
    return time.time() - (time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))
