"""Standard error that outlives whoever reads it: `train.py 2>&1 | head`, a closed terminal, a full disk under a log.

A run's record is its folder, so what nobody can read any more costs no step.
"""

import os
import sys
from typing import Any, TextIO, cast


class Lasting:
    """Passes everything on to a stream until the stream refuses; from then on nothing is said and nothing raised."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError:
            self._give_up()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            self._give_up()

    def _give_up(self) -> None:
        """What libraries write to the descriptor, and what the stream still holds, goes nowhere as well."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def install() -> None:
    """In place of sys.stderr, which Python leaves out where a process is started without one."""
    if sys.stderr is None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = cast(TextIO, Lasting(sys.stderr))
