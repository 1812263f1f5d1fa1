"""The last line of a program that ends outside its own error handling, or nothing if the stream is closed."""

import atexit
import os
import re
import sys
import traceback
from types import TracebackType
from typing import NoReturn

from training.machine import lasting_streams

READER_GONE = 141  # as shells count a pipe that was closed
UNWRITTEN = "standard output could not be written"


def install() -> None:
    """Handles what comes before `cli.user_errors`, such as a help text cut off by `head`, or the import of JAX."""
    sys.excepthook = say
    sys.unraisablehook = say_of_threads
    atexit.register(write_the_rest)


def say(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Replaces sys.excepthook."""
    if kind is BrokenPipeError:
        leave_quietly()
    if kind is ValueError and (line := of_environment(error, trace)):
        print(f"error: {line}", file=sys.stderr)
        raise SystemExit(2)
    if isinstance(error, OSError) and any(f.filename == lasting_streams.__file__ for f in traceback.extract_tb(trace)):
        print(f"error: {UNWRITTEN} ({error.strerror})", file=sys.stderr)
        raise SystemExit(1)
    sys.__excepthook__(kind, error, trace)


def say_of_threads(unraisable: "sys.UnraisableHookArgs") -> None:
    """Replaces sys.unraisablehook. Where a checkpoint cannot be written, a thread for each array reports to a loop that
    has ended: a traceback each, beside the one line of the error."""
    if str(unraisable.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(unraisable)


def of_environment(error: BaseException, trace: TracebackType | None) -> str:
    """The line for a variable that JAX cannot read at import; empty for any other error."""
    if not re.search(r"/jax/_src/config\.py$", traceback.extract_tb(trace)[-1].filename):
        return ""
    said = str(error)
    given = {name: value for name, value in os.environ.items() if name.startswith("JAX_")}
    meant = [name for name in given if name in said.upper()] or [name for name in given if repr(given[name]) in said]
    named = ", ".join(f"{name} = {given[name]!r}" for name in meant or given)
    return f"the environment has {named}, which JAX cannot read ({said}); correct it or unset it"


def write_the_rest() -> None:
    """Writes what is left in the buffers when the program ends."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        leave_quietly()
    except OSError as error:  # a full disk
        print(f"error: {UNWRITTEN} ({error.strerror})", file=sys.stderr, flush=True)
        os._exit(1)


def leave_quietly() -> NoReturn:
    os._exit(READER_GONE)
