"""Reports a run that makes no progress: what it waits for, at which step, and for how long."""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

T = TypeVar("T")

LIMIT = 60.0  # seconds

WAITS_FOR = {
    "": "the device",
    "eval": "the evaluation",
    "save": "the checkpoint to be written",
    "mirror": "wandb, TensorBoard or Trackio",
}
"""By what the clock calls it."""


class Watchdog:
    """Looks from a thread of its own. Use as a context manager around the steps.

    It speaks after `limit` seconds (0: LIMIT) in which nothing was done, then only of a stand twice as long as the one
    before: where steps are slow by themselves, that is said once. Of each program that compiles so long it
    speaks by itself.
    """

    def __init__(
        self,
        say: Callable[[str], None],
        done: int = 0,
        *,
        limit: float = 0.0,
        now: Callable[[], float] = time.monotonic,
    ):
        self._say, self._limit, self._now = say, limit or LIMIT, now
        self._done, self._activity, self._since = done, "", now()
        self._programs, self._first, self._compiling = 0, self._limit, self._limit
        self._over = threading.Event()

    def __enter__(self) -> "Watchdog":
        self._since = self._now()
        threading.Thread(target=self._watch, daemon=True, name="watchdog").start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()

    def advance(self, done: int) -> None:
        """A step was handed to the device, which takes some before it makes one wait."""
        self._done, self._since = done, self._now()

    def doing(self, activity: str) -> None:
        """What goes on from now, in the clock's words."""
        self._activity, self._since = activity, self._now()
        if activity == "compile":
            self._programs, self._compiling = self._programs + 1, self._first

    def fed(self, batches: Iterator[T]) -> Iterator[T]:
        """The batches; whoever asks for one waits for it."""
        while True:
            self.doing("the next batch")
            batch = next(batches, None)
            self.doing("")
            if batch is None:
                return
            yield batch

    def look(self) -> None:
        """Speaks where it is time to."""
        stood, activity = self._now() - self._since, self._activity
        if activity == "compile":
            if stood >= self._compiling:
                self._say(f"step {self._done:,}: program {self._programs} has been compiling for {stood:.0f} s")
                self._compiling = 2 * stood
        elif stood >= self._limit:
            self._say(
                f"step {self._done:,}: {stood:.0f} s without a step, waiting for {WAITS_FOR.get(activity, activity)}"
            )
            self._limit = 2 * stood

    def _watch(self) -> None:
        while not self._over.wait(min(self._limit / 4, 5.0)):
            self.look()


@contextlib.contextmanager
def still(what: str, *, limit: float = 0.0) -> Iterator[None]:
    """Says on stderr that the body, which has no steps, goes on: after `limit` seconds (0: LIMIT), and whenever it has
    taken twice as long as when that was last said."""
    over, begun, next_word = threading.Event(), time.monotonic(), limit or LIMIT

    def watch() -> None:
        nonlocal next_word
        while not over.wait(begun + next_word - time.monotonic()):
            print(f"{what}: {next_word:.0f} s so far", file=sys.stderr, flush=True)
            next_word *= 2

    threading.Thread(target=watch, daemon=True, name="still").start()
    try:
        yield
    finally:
        over.set()
