"""Which commit first held a question's present claim, prediction and thresholds? Is it older than the runs?"""

import datetime
from pathlib import Path
from typing import NamedTuple

from experiments.questions import stated
from training.machine.provenance import git

ROOT = Path(__file__).parents[2]


class Origin(NamedTuple):
    commit: str
    date: datetime.datetime


def origin(path: Path) -> Origin | None:
    """The oldest commit since which the file states what it states now; None if that is not committed."""
    now, oldest = stated(path.read_text(encoding="utf-8")), None
    for line in git("log", "--format=%H %cI", "--", _relative(path), root=ROOT).splitlines():
        commit, date = line.split()
        try:
            then = stated(git("show", f"{commit}:{_relative(path)}", root=ROOT))
        except (ValueError, SyntaxError):
            break
        if then != now:
            break
        oldest = Origin(commit, datetime.datetime.fromisoformat(date))
    return oldest


def _relative(path: Path) -> str:
    return path.resolve().relative_to(ROOT).as_posix()
