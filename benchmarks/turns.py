"""Programs that take turns: A B C A B C, so that what slows the machine for a while slows all of them alike.

A program has a process of its own (`contender.Running`) or shares this one (`Timed`), as a run and its probes do.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

TURN_SECONDS = 0.15  # a turn takes as many calls as fill this
LEAST_ROUNDS = 5
WARM_UP = 1  # rounds thrown away


@dataclasses.dataclass
class Timed:
    """A program that can be called, and what a step of it is; `seconds` are a step's, one entry a turn."""

    name: str
    call: Callable[[], Any]  # starts one or more steps and returns what to wait for
    flops: float  # of a step's products
    tokens: float = 0.0  # of a step
    steps: int = 1  # of a call
    compile_seconds: float = 0.0
    program_bytes: float = 0.0  # arguments, results and temporaries of the compiled program
    seconds: list[float] = dataclasses.field(default_factory=list)

    def turn(self, calls: int) -> float:
        """Seconds of one of so many calls."""
        begun = time.perf_counter()
        for _ in range(calls):
            last = self.call()
        jax.block_until_ready(last)
        return (time.perf_counter() - begun) / calls

    def quantile(self, share: float) -> float:
        return float(np.quantile(self.seconds, share))


def measure(programs: Sequence[Timed], seconds: float, calls=0, settle=0.0, warm_up=WARM_UP, least=LEAST_ROUNDS):
    """Fills `seconds` of every program: rounds for so long, and at least `least` of them after the warm-up. A turn is
    of so many `calls`; by default it fills TURN_SECONDS, by the fastest call in `settle` seconds of them."""
    for program in () if calls else programs:
        program.turn(1)  # the first call sets up what compiling left
    counts = [calls or max(1, round(TURN_SECONDS / _settled(program, settle))) for program in programs]
    begun, rounds = 0.0, 0
    while rounds < warm_up + least or time.perf_counter() - begun < seconds:
        begun = time.perf_counter() if rounds == warm_up else begun
        for program, count in zip(programs, counts, strict=True):
            taken = program.turn(count) / program.steps
            if rounds >= warm_up:
                program.seconds.append(taken)
        rounds += 1


def _settled(program: Timed, seconds: float) -> float:
    """The least time of a call, after the heap has stopped growing."""
    begun, least = time.perf_counter(), program.turn(1)
    while time.perf_counter() - begun < seconds:
        least = min(least, program.turn(1))
    return least


def ratio_interval(first: Sequence[float], other: Sequence[float], draws: int = 2000) -> tuple[float, float, float]:
    """Ratio of medians (above 1: the first is faster) with a 95 % interval, by a bootstrap over rounds."""
    a, b = np.asarray(first), np.asarray(other)
    picked = np.random.default_rng(0).integers(len(a), size=(draws, len(a)))
    low, high = np.quantile(np.median(b[picked], axis=1) / np.median(a[picked], axis=1), [0.025, 0.975])
    return float(np.median(b) / np.median(a)), float(low), float(high)
