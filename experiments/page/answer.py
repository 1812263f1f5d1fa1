"""The results of a question: its table and its verdict, as `experiments.run` wrote them."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from experiments.analysis import table
from experiments.analysis.finding import Outcome
from experiments.analysis.frames import DataFrame
from experiments.engine import results
from experiments.engine.results import Folders
from experiments.questions.question import SCALES, Question


class Answer(NamedTuple):
    name: str
    question: Question
    scale: str
    folder: Path
    everything: DataFrame  # trials too
    verdict: dict[str, Any]  # `verdict.json`
    command: str  # that runs it


def find(name: str, question: Question, scale: str, where: Path) -> Answer | None:
    """The answer at `scale`, or at the largest scale that has one; None if there is none, or only trials.

    Raises ValueError or FileNotFoundError for a folder with a table and without a verdict that fits it.
    """
    for one in [scale] if scale else reversed(SCALES):
        folders = Folders.of(name, one, Path(), where)
        for path in folders.tables():
            if answer := _read(name, question, one, path):
                return answer
    return None


def _read(name: str, question: Question, scale: str, path: Path) -> Answer | None:
    everything, folder = table.read(path), path.parent
    if not len(results.reported(everything)):
        return None
    verdict = folder / "verdict.json"
    results_of = folder.parent.parent  # results, or docs/results
    again = f"python -m experiments.figure {name} --scale={scale} --results={results_of} writes it from the table"
    if not verdict.is_file():
        raise FileNotFoundError(f"{verdict} is not there; {again}")
    try:
        said = json.loads(verdict.read_text(encoding="utf-8"))
        found = said["format"], said["question"], said["scale"]
        if found == (table.FORMAT, name, scale):
            _check_whole(said)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ValueError(f"{verdict} is not a verdict; move it away, and {again}") from None
    if found != (table.FORMAT, name, scale):
        raise ValueError(f"{verdict} is of {found[1]} at {found[2]} in format {found[0]}; move it away, and {again}")
    command = f"python -m experiments.run {name} --scale={scale}"
    return Answer(name, question, scale, folder, everything, said, command)


def _check_whole(verdict: dict[str, Any]) -> None:
    """Raises an error if a part is missing."""
    stated, findings = verdict["statement"], verdict["findings"]
    _ = [dict(stated["thresholds"]), *(stated[name] for name in ("claim", "source", "prediction"))]
    _ = [(Outcome(one["outcome"]), list(one["effects"])) for one in findings]
    _ = [verdict["runs"], verdict["runs_of_the_grid"]]


def restated(answer: Answer) -> bool:
    """Whether the question's text has changed since the verdict."""
    said, now = answer.verdict["statement"], answer.question
    then = said["claim"], said["source"], said["prediction"], dict(said["thresholds"])
    return then != (now.CLAIM, now.SOURCE, now.PREDICTION, dict(now.THRESHOLDS))
