"""Programs that take turns: A B C A B C, so that what slows the machine for a while slows all of them alike.

A program has a process of its own (`contender.Running`) or shares this one, as a run and its probes do.
"""

import time
from collections.abc import Callable, Sequence

import numpy as np

TURN_SECONDS = 0.15  # a turn takes as many calls as fill this
LEAST_ROUNDS, WARM_UP = 5, 1  # that count, and before them that are thrown away
Turn = Callable[[int], float]  # makes so many calls of a program; returns the seconds of one


def measure(
    programs: Sequence[Turn], seconds: float, calls=0, settle=0.0, warm_up=WARM_UP, least=LEAST_ROUNDS
) -> list[list[float]]:
    """Seconds of a call of every program, one entry a round: rounds for so many `seconds`, and at least `least` of them
    after the warm-up. A turn is of so many `calls`; by default it fills TURN_SECONDS, by the fastest call in `settle`
    seconds of them."""
    counts = [calls or max(1, round(TURN_SECONDS / _settled(turn, settle))) for turn in programs]
    rounds: list[list[float]] = []
    begun = time.perf_counter()
    while len(rounds) < warm_up + least or time.perf_counter() - begun < seconds:
        begun = time.perf_counter() if len(rounds) == warm_up else begun
        rounds.append([turn(count) for turn, count in zip(programs, counts, strict=True)])
    return [list(taken) for taken in zip(*rounds[warm_up:], strict=True)]


def _settled(turn: Turn, seconds: float) -> float:
    """The least time of a call, after the heap has stopped growing. The first sets up what compiling left."""
    turn(1)
    begun, least = time.perf_counter(), turn(1)
    while time.perf_counter() - begun < seconds:
        least = min(least, turn(1))
    return least


def ratio_interval(first: Sequence[float], other: Sequence[float], draws: int = 2000) -> tuple[float, float, float]:
    """Ratio of medians (above 1: the first is faster) with a 95 % interval, by a bootstrap over rounds."""
    a, b = np.asarray(first), np.asarray(other)
    picked = np.random.default_rng(0).integers(len(a), size=(draws, len(a)))
    low, high = np.quantile(np.median(b[picked], axis=1) / np.median(a[picked], axis=1), [0.025, 0.975])
    return float(np.median(b) / np.median(a)), float(low), float(high)
