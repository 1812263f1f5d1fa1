"""Compile time and memory of a program, its turns, and the speed of a large matrix product on this machine."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from jax.typing import DTypeLike

from benchmarks import turns
from experiments.probes import quiet
from training.machine import backend, mesh


@dataclasses.dataclass
class Called:
    """A program of this process, which takes turns with others; what a step of it is, and its seconds in each turn."""

    call: Callable[[], Any]  # starts one or more steps and returns what to wait for
    flops: float  # of a step's products
    tokens: float = 0.0  # of a step
    steps: int = 1  # of a call
    compile_seconds: float = 0.0
    program_bytes: float = 0.0  # arguments, results and temporaries of the compiled program
    seconds: Sequence[float] = ()

    def turn(self, calls: int) -> float:
        """Seconds of one of so many calls."""
        begun = time.perf_counter()
        for _ in range(calls):
            last = self.call()
        jax.block_until_ready(last)
        return (time.perf_counter() - begun) / calls

    def quantile(self, share: float) -> float:
        return float(np.quantile(self.seconds, share))


def measure(programs: Sequence[Called], seconds: float) -> None:
    """Gives each program its seconds, in rounds that last for so long. No other timed run prepares or measures then."""
    with quiet.HERE.measuring():
        taken = turns.measure([program.turn for program in programs], seconds)
    for program, of_calls in zip(programs, taken, strict=True):
        program.seconds = [one / program.steps for one in of_calls]


def compiled(
    function: Callable, *arguments: Any, donate: tuple[int, ...] = ()
) -> tuple[jax.stages.Compiled, float, float]:
    """(the compiled function, seconds of compiling, bytes that it needs). The cache on disk is not used: a program read
    from it says nothing about compiling."""
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


def program_bytes(program: jax.stages.Compiled) -> float:
    """Bytes that a call holds on each device, by the compiler's plan. A donated argument's memory counts once."""
    plan = program.memory_analysis()
    if plan is None:
        return float("nan")
    whole = plan.argument_size_in_bytes + plan.output_size_in_bytes + plan.temp_size_in_bytes
    return float(whole - plan.alias_size_in_bytes)


def matmul(size: int, dtype: DTypeLike, devices: Mesh) -> Called:
    """A product of square matrices, its rows shared among the devices: the speed that this machine can reach."""
    x = np.ones((size, size), dtype)
    rows, whole = mesh.put(x, mesh.by_rows(devices)), mesh.put(x, mesh.replicated(devices))
    program, taken, held = compiled(lambda a, b: a @ b, rows, whole)
    return Called(lambda: program(rows, whole), 2.0 * size**3, compile_seconds=taken, program_bytes=held)
