"""Which commit first held a question's present claim, prediction and thresholds? Is it older than the runs?"""

import ast
import datetime
from pathlib import Path
from typing import Any, NamedTuple

from training.machine.provenance import git

ROOT = Path(__file__).parents[2]
NAMES = ("CLAIM", "SOURCE", "PREDICTION", "THRESHOLDS")


class Origin(NamedTuple):
    commit: str
    date: datetime.datetime


def stated(source: str) -> dict[str, Any]:
    """The values of NAMES in a question's source. Raises ValueError if one is missing or not a literal."""
    found = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id in NAMES:
            try:
                found[node.targets[0].id] = ast.literal_eval(node.value)
            except ValueError:
                raise ValueError(f"{node.targets[0].id} in line {node.lineno} is not a literal; write it out") from None
    if missing := [name for name in NAMES if name not in found]:
        raise ValueError(f"the question does not state its {missing[0]}")
    return found


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
