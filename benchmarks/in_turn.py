"""Programs of one process that step in turn: A B C A B C, so that what slows the machine slows all alike.

Programs of different environments have processes of their own (`turns.py`); these share one, with its compiler, its
memory and its device, as a run and its probes do.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from training.machine import backend, mesh

TURN_SECONDS = 0.15  # a turn takes as many calls as fill this
LEAST_ROUNDS = 5
WARM_UP = 1  # rounds thrown away


@dataclasses.dataclass
class Timed:
    """A program that can be called, and what a step of it is."""

    name: str
    call: Callable[[], Any]  # starts one or more steps and returns what to wait for
    flops: float  # of a step's products
    tokens: float = 0.0  # of a step
    steps: int = 1  # of a call
    compile_seconds: float = 0.0
    program_bytes: float = 0.0  # arguments, results and temporaries of the compiled program
    seconds: list[float] = dataclasses.field(default_factory=list)  # a step, one entry a turn

    def turn(self, calls: int) -> float:
        """Seconds of one of so many calls."""
        begun = time.perf_counter()
        for _ in range(calls):
            last = self.call()
        jax.block_until_ready(last)
        return (time.perf_counter() - begun) / calls

    def quantile(self, share: float) -> float:
        return float(np.quantile(self.seconds, share))


def measure(programs: Sequence[Timed], seconds: float) -> None:
    """Fills `seconds` of every program: rounds for so long, and at least LEAST_ROUNDS of them."""
    for program in programs:
        program.turn(1)  # the first call sets up what compiling left
    calls = [max(1, round(TURN_SECONDS / program.turn(1))) for program in programs]
    begun, rounds = 0.0, 0
    while rounds < WARM_UP + LEAST_ROUNDS or time.perf_counter() - begun < seconds:
        if rounds == WARM_UP:
            begun = time.perf_counter()
        for program, count in zip(programs, calls, strict=True):
            taken = program.turn(count) / program.steps
            if rounds >= WARM_UP:
                program.seconds.append(taken)
        rounds += 1


def compiled(function: Callable, *arguments: Any, donate: tuple[int, ...] = ()) -> tuple[Any, float, float]:
    """(the compiled function, seconds that this took, bytes that it needs), past the cache on disk: a program read
    back from there says nothing of what compiling costs."""
    before = jax.config.values["jax_enable_compilation_cache"]
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        begun = time.perf_counter()
        program = jax.jit(function, donate_argnums=donate).lower(*arguments).compile()
        taken = time.perf_counter() - begun
    finally:
        jax.config.update("jax_enable_compilation_cache", before)
    backend.release_memory()
    return program, taken, program_bytes(program)


def program_bytes(program: Any) -> float:
    """What a call holds on each device, by the compiler's plan; a donated argument's memory counts once."""
    plan = program.memory_analysis()
    if plan is None:
        return float("nan")
    whole = plan.argument_size_in_bytes + plan.output_size_in_bytes + plan.temp_size_in_bytes
    return float(whole - plan.alias_size_in_bytes)


def matmul(size: int, dtype: Any, devices: Mesh) -> Timed:
    """A product of two square matrices, its rows shared out over the devices: what this machine can do."""
    x = np.ones((size, size), dtype)
    rows, whole = mesh.put(x, mesh.by_rows(devices)), mesh.put(x, mesh.replicated(devices))
    program, taken, held = compiled(lambda a, b: a @ b, rows, whole)
    return Timed("matmul", lambda: program(rows, whole), 2.0 * size**3, compile_seconds=taken, program_bytes=held)
