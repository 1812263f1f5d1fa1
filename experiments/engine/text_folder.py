"""Errors of runs that lack their text, in the words of the commands that start them: `data.dir` is their `--data`."""

import contextlib
import re
from collections.abc import Iterator


def told(said: str) -> str:
    """The message with --data as the way out, where data.dir is."""
    said = re.sub(r"\b(point|set) data\.dir\b", r"\1 --data", said)
    return re.sub(r"^data\.dir = (.*?)(, or another data\.file)?$", r"--data = \1", said)


@contextlib.contextmanager
def named() -> Iterator[None]:
    """Puts the errors of the body so."""
    try:
        yield
    except (ValueError, FileNotFoundError) as error:
        if (said := told(str(error))) == str(error):
            raise
        raise type(error)(said) from error
