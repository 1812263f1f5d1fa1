"""Wall time of a run, told apart: training, compile, eval, save.

The clock that reports throughput stops while anything else runs.
"""

import contextlib
import time
from collections.abc import Iterator

import psutil


class Clock:
    """Adds seconds to `seconds[activity]`; what is under no other name is training."""

    def __init__(self, seconds: dict[str, float]):
        self.seconds = seconds
        self._lap_start = time.perf_counter()
        self._apart = 0.0  # seconds of this lap that were not training

    @contextlib.contextmanager
    def pause(self, activity: str) -> Iterator[None]:
        """Counts the body's seconds under `activity`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - start
            self._apart += spent
            self.seconds[activity] = self.seconds.get(activity, 0.0) + spent

    def lap(self) -> float:
        """Seconds of training since the last lap."""
        now = time.perf_counter()
        spent = now - self._lap_start - self._apart
        self._lap_start, self._apart = now, 0.0
        self.seconds["training"] = self.seconds.get("training", 0.0) + spent
        return spent


def seconds_since_process_start() -> float:
    """From the operating system's start of this process, so that imports count."""
    return time.time() - psutil.Process().create_time()
