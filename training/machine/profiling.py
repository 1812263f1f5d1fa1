"""`--config.profile=true`: a trace of a few steps, for TensorBoard's or XProf's viewer. It never ends a run."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import jax

AFTER, STEPS = 20, 5  # steps before the trace, which compile and warm up, and steps in it


class Profile:
    """Traces steps of this process into RUN/profile. Use as a context manager."""

    def __init__(self, folder: Path, *, active: bool):
        self._folder, self._active = folder, active
        self._steps, self._tracing = 0, False

    def __enter__(self) -> "Profile":
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(Exception):
            self._stop()

    def advance(self, wait: Callable[[], None]) -> str:
        """After each step; `wait` waits for the device. Returns what to say: where the trace is, if anywhere."""
        self._steps += 1
        if not self._active or self._steps not in (AFTER, AFTER + STEPS):
            return ""
        wait()
        try:
            if self._steps == AFTER:
                jax.profiler.start_trace(self._folder)
                self._tracing = True
                return ""
            self._stop()
        except Exception as error:  # of a full disk, of another trace in this process
            self._active = False
            return f"profile: {(str(error).splitlines() or [type(error).__name__])[0]}; the run goes on without it"
        return f"{STEPS} steps traced into {self._folder}; `xprof {self._folder}` shows them (pip install xprof)"

    def _stop(self) -> None:
        if self._tracing:
            self._tracing = False
            jax.profiler.stop_trace()
