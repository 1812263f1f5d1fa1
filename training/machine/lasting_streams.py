"""Streams that outlive their reader: `train.py 2>&1 | head`, a closed terminal, a full disk under a log.

A run's record is its folder, so a lost stream costs no step and hides no exit status.
"""

import errno
import io
import os
import sys
from typing import Any, TextIO, cast


class Lasting:
    """Passes everything on to a stream until the stream refuses; from then on nothing is said and nothing raised."""

    def __init__(self, stream: TextIO, *, only: int = 0):
        """`only` is the one error, by its number, that is outlived; 0 for all."""
        self._stream, self._only = stream, only

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            self._give_up(error)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        """What libraries write to the descriptor, and what the stream still holds, goes nowhere as well."""
        if self._only not in (0, error.errno):
            raise error
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def install() -> None:
    """In place of sys.stderr and sys.stdout, which Python leaves out where a process is started without; the reader of
    sys.stdout ends a program by leaving, but not the terminal by closing."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            os.dup2(os.open(os.devnull, os.O_WRONLY), number)
            setattr(sys, name, open(number, "w", encoding="utf-8", closefd=False))  # noqa: SIM115
    sys.stderr = cast(TextIO, Lasting(sys.stderr))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")  # whatever the locale
        sys.stdout = cast(TextIO, Lasting(sys.stdout, only=errno.EIO))
