"""One compiled program per batch shape, so that compiling is visible and timed, and its memory is given back."""

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import jax

from training.machine import backend


class Programs:
    """Calls a jitted function of (anything, batch arrays, ...); each shape of batch compiles at its first call."""

    def __init__(
        self,
        function: jax.stages.Wrapped,
        compiling: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext,
    ):
        """`compiling` is entered around each compilation."""
        self._function, self._compiling = function, compiling
        self._compiled: dict[tuple, jax.stages.Compiled] = {}

    def __call__(self, first: Any, arrays: Mapping[str, jax.Array], *rest: Any) -> Any:
        shape = tuple(array.shape for array in arrays.values())
        if shape not in self._compiled:
            with self._compiling():
                compiled = self._function.lower(first, arrays, *rest).compile()
                check_memory(compiled, f"a program for batches of shape {shape[0]}")
                self._compiled[shape] = compiled
                backend.release_memory()
        return self._compiled[shape](first, arrays, *rest)


def check_memory(program: jax.stages.Compiled, name: str) -> None:
    """Raises MemoryError, before anything is run, where a program takes more than its device has: on a CPU the system
    would end the process without a word."""
    if found := program.memory_analysis():
        needed = found.argument_size_in_bytes + found.temp_size_in_bytes + found.output_size_in_bytes
        if (needed := needed - found.alias_size_in_bytes) > backend.device_bytes():
            raise MemoryError(f"{name} takes {needed / 1e9:,.1f} GB")
