"""Lines and files of one's own, to be scored or translated. An error of a file names the option that gave it."""

import contextlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from data import files
from data.tasks.language import Language
from data.tasks.translation import Translation

Text = Translation | Language


def add_split(task: Text, source: str | None, target: str) -> str:
    """Makes a pair of files (or, for a language model, one) a split of the task, and returns its name.

    The name ends with what the files hold: it is never that of a split, nor of other files that are called the same.
    """
    name = Path(source or target).name.removesuffix(".gz")
    if isinstance(task, Language):
        if source:
            raise ValueError(f"--source = {source}: a language model has no source to read; give --target alone")
        with _named(target=target):
            text = files.read_text(target)
        name += f"-{files.content_hash([text])[:8]}"
        task.add_split(name, [text])
    else:
        if not source:
            raise ValueError(f"--target = {target} needs --source, the file that it translates; give both")
        with _named(source=source, target=target):
            pairs = files.read_parallel(source, target)
        name += f"-{files.content_hash([*pairs.source, *pairs.target])[:8]}"
        task.add_split(name, pairs.source, pairs.target)
        task.notes += pairs.notes
    return name


def read_lines(path: str) -> Iterator[str]:
    """Lines of a file (plain or .gz), or of standard input as they arrive."""
    if path == "-":
        if sys.stdin is None:
            raise ValueError("--input = -: standard input is closed; give a file, or a pipe")
        for number, raw in enumerate(sys.stdin.buffer, start=1):
            line = files.decode(raw, "--input = -", number)
            yield from re.sub(files.LINE_END, "\n", line).removesuffix("\n").split("\n")
    else:
        with _named(input=path):
            lines = files.read_lines(path, may_be_blank=True)
        yield from lines


@contextlib.contextmanager
def _named(**options: str) -> Iterator[None]:
    """Puts the option in front of an error that begins with its file."""
    try:
        yield
    except (ValueError, OSError) as error:
        said = str(error)
        if isinstance(error, OSError) and error.strerror:
            said = f"{error.filename}: {error.strerror.lower()}; give another path, or mend this one"
        of = [name for name in options if re.match(rf"{re.escape(options[name])}[\s:]", said)]
        if not of:
            raise
        raise ValueError(f"--{of[0]} = {said}") from error
