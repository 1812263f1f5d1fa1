"""Which commit first held a question's claim, prediction and thresholds as they stand, and which the code of its
verdict: were they before the runs?"""

import ast
import datetime
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
NAMES = ("CLAIM", "SOURCE", "PREDICTION", "THRESHOLDS")


class Origin(NamedTuple):
    commit: str
    date: datetime.datetime


def stated(source: str) -> dict[str, Any]:
    """The values of NAMES in a question's source, which have to be literals. Raises ValueError otherwise."""
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


def judging(source: str) -> str:
    """The code of a question's `verdict`, without comments."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef) and node.name == "verdict":
            return ast.dump(node)
    raise ValueError("the question has no function verdict")


def origin(path: Path, of: Callable[[str], Any] = stated) -> Origin | None:
    """The oldest commit from which on the file has stated what it states now; None where that is not committed.

    `of` takes from a source what is asked about: `stated`, or `judging`.
    """
    now, oldest = of(path.read_text()), None
    for line in _git("log", "--format=%H %cI", "--", _relative(path)).splitlines():
        commit, date = line.split()
        try:
            then = of(_git("show", f"{commit}:{_relative(path)}"))
        except (ValueError, SyntaxError):
            break
        if then != now:
            break
        oldest = Origin(commit, datetime.datetime.fromisoformat(date))
    return oldest


def _relative(path: Path) -> str:
    return path.resolve().relative_to(ROOT).as_posix()


def _git(*words: str) -> str:
    try:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""
