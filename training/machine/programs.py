"""One compiled program per batch shape: waiting for it is seen and timed, and a thread compiles what comes next.

Which batches come, and in which order, never depends on when a program is ready (data/plan.py).
"""

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from typing import Any

import jax
import numpy as np

from training.machine import backend

Arrays = Mapping[str, jax.Array | np.ndarray]


class Programs:
    """Calls a jitted function of (anything, batch arrays, ...); each shape of batch has its compiled program."""

    def __init__(
        self,
        function: jax.stages.Wrapped,
        compiling: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext,
        name: str = "",
    ):
        """`compiling` is entered around each wait for a program; `name` is what errors call it, else by its shape."""
        self._function, self._compiling, self._name = function, compiling, name
        self._programs: dict[tuple, Future[jax.stages.Compiled]] = {}
        self._lock = threading.Lock()

    def __call__(self, first: Any, arrays: Arrays, *rest: Any) -> Any:
        program = self._programs.get(_shape(arrays))
        if program is None or not program.done():
            with self._compiling():
                program = self.prepare(first, arrays, *rest)
                program.exception()  # waits, where another thread is compiling it
        return program.result()(first, arrays, *rest)

    def prepare(self, first: Any, arrays: Arrays, *rest: Any) -> Future[jax.stages.Compiled]:
        """The program for such arrays, compiled by this thread unless one has begun it; only shapes are read."""
        shape, mine = _shape(arrays), Future[jax.stages.Compiled]()
        with self._lock:
            program = self._programs.setdefault(shape, mine)
        if program is mine:
            try:
                compiled = self._function.lower(first, arrays, *rest).compile()
                check_memory(compiled, self._name or f"a program for batches of shape {shape[0]}")
                program.set_result(compiled)
                backend.release_memory()
            except BaseException as error:
                program.set_exception(error)
        return program


def _shape(arrays: Arrays) -> tuple:
    return tuple(array.shape for array in arrays.values())


def abstract(tree: Any) -> Any:
    """Shapes, dtypes and places of arrays that will be given away before they are asked for again."""
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding, weak_type=x.weak_type), tree
    )


PATIENCE = 5.0
"""Seconds until it is said what the end of a run waits for."""


def can_be_ahead() -> bool:
    """Whether a thread may compile while another computes. Several processes must compile in one order; on a GPU XLA
    tries kernels while it compiles, which spoils the CUDA graph that a step records (docs/log.md, "first time on a
    GPU")."""
    return jax.process_count() == 1 and jax.default_backend() != "gpu"


@contextlib.contextmanager
def ahead(
    prepare: Iterable[Callable[[], object]], unneeded: Callable[[], bool], say: Callable[[str], None]
) -> Iterator[None]:
    """Calls the functions one after the other in a thread while the body runs, and no further one after it, or once
    they are `unneeded`. A program that compiles cannot be interrupted: the end waits for it, and says so."""
    ended = threading.Event()

    def work() -> None:
        with contextlib.suppress(Exception):  # whoever needs the program meets the same
            for one in prepare:
                if ended.is_set() or unneeded():
                    return
                one()

    thread = threading.Thread(target=work, name="compile")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(PATIENCE)
        if thread.is_alive():
            say("waiting for a program that still compiles")
            thread.join()


def check_memory(program: jax.stages.Compiled, name: str) -> None:
    """Raises MemoryError before anything runs if a program needs more than its device has. On a CPU the system would
    end the process without a word."""
    if found := program.memory_analysis():
        needed = found.argument_size_in_bytes + found.temp_size_in_bytes + found.output_size_in_bytes
        if (needed := needed - found.alias_size_in_bytes) > backend.device_bytes():
            raise MemoryError(f"{name} takes {needed / 1e9:,.1f} GB")


def check_decoding(program: jax.stages.Compiled) -> None:
    """As `check_memory`, of a program that decodes."""
    check_memory(program, "a program that decodes")
