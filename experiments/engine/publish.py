"""What comes out of a question: table, figure, verdict and commands, from the rows of its finished runs."""

from __future__ import annotations

import dataclasses
import datetime
import itertools
import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data import whole_file
from experiments.analysis import judge, table
from experiments.analysis.finding import Finding
from experiments.engine import results, schedule, statement
from experiments.engine.schedule import Due, Key
from experiments.engine.statement import ROOT
from experiments.engine.version import Version
from experiments.questions.question import Question, Run

if TYPE_CHECKING:
    from pandas import DataFrame


def publish(
    question: Question, name: str, scale: str, everything: DataFrame, folder: Path, runs_of_the_grid: int
) -> Sequence[Finding]:
    """Writes the figure and `verdict.json` from the table alone, or neither. Returns the findings.

    `runs_of_the_grid` is how many there would be, were all of them finished.
    """
    from experiments.analysis import charts

    shown = results.reported(everything)
    panels = question.figure(shown)
    findings = question.verdict(shown)
    folder.mkdir(parents=True, exist_ok=True)
    charts.save(panels, folder)
    verdict = {
        "format": table.FORMAT,
        "question": name,
        "scale": scale,
        "findings": [_plain(finding) for finding in findings],
        "runs": len(results.runs_of(everything)),
        "runs_of_the_grid": runs_of_the_grid,
        "seeds": sorted(int(seed) for seed in shown["seed"].unique()),
        "statement": _stated(question, everything),
    }
    whole_file.write_json(folder / "verdict.json", verdict)
    return findings


def said(question: Question, scale: str, findings: Sequence[Finding]) -> list[str]:
    """What came out, for a terminal. A few steps of a few seeds show that everything runs, and nothing else."""
    if scale == "smoke":
        return ["everything runs; there is no verdict, since so few steps and seeds show nothing"]
    return judge.lines(findings, question.UNDER_REVIEW)


def write_table(everything: DataFrame, folder: Path) -> Path | None:
    """Where the table that was there had reported runs which this one has not, it is kept; says where."""
    path, aside = folder / "table.parquet", None
    if path.is_file() and results.runs_of(table.read(path)) - results.runs_of(everything):
        names = (f"table.before{'' if n == 1 else f'-{n}'}.parquet" for n in itertools.count(1))
        aside = next(folder / name for name in names if not (folder / name).exists())
        path.replace(aside)
    table.write(everything, folder)
    return aside


def write_commands(first: Sequence[str], name: str, runs: Sequence[Due], folder: Path) -> None:
    """`commands.sh`: the one command, and what each of its runs would be by hand."""
    lines = ["#!/bin/sh", *first, "exit", "", "# The same runs one by one."]
    if any(schedule.reads_text(where) for where in {due.run.config for due in runs}):
        lines.append("# Text is downloaded, or read where it lies: --data=FOLDER, by hand --config.data.dir=FOLDER")
    for due in runs:
        values = [f"--config.{key}={_word(value)}" for key, value in due.overrides.items()]
        words = ["python", "train.py", f"--config={due.run.config}", *values]
        trial_of = "" if due.role == schedule.REPORT else f"-trial-{due.tuned:.3g}"
        words.append(f"--workdir=runs/by-hand/{name}/{due.key.name}{trial_of}-seed{due.key.seed}")
        lines.append(shlex.join(words))
    whole_file.write_text(folder / "commands.sh", "\n".join(lines) + "\n")


def check_version(question: Question, runs: Sequence[Run], everything: DataFrame, path: Path) -> None:
    """Raises ValueError where the reported runs of a table are no longer those that the question names."""
    first = results.first_rows(everything)
    for run in runs:
        if row := first.get(Key(run.name, run.seed, None)):
            due = schedule.reported(question, run, row["tuned"] if math.isfinite(row["tuned"]) else None)
            if why := Version.of(due).differs(row):
                raise ValueError(
                    f"{path}: {due.key} was made with {why}: the table is of another version; python -m "
                    f"experiments.run runs it again, and commit {row['commit'][:10]} draws it as it is"
                )


def missing(runs: Sequence[Run], everything: DataFrame) -> int:
    """How many runs of the grid the table does not have."""
    there = results.runs_of(everything)
    return sum((run.name, float(run.seed)) not in there for run in runs)


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _plain(finding: Any) -> dict[str, Any]:
    """A finding as JSON has it: no infinity, no nan."""

    def clean(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: clean(one) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [clean(one) for one in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return clean(dataclasses.asdict(finding))


def _stated(question: Question, everything: DataFrame) -> dict[str, Any]:
    """What was stated, in which commit first, and whether the runs, trials too, came after it."""
    said: dict[str, Any] = {"claim": question.CLAIM, "source": question.SOURCE, "prediction": question.PREDICTION}
    said |= {"thresholds": dict(question.THRESHOLDS)}
    file = getattr(question, "__file__", None)
    origin = statement.origin(Path(file)) if file and Path(file).is_relative_to(ROOT) else None
    if not origin:
        return said | {"commit": None, "date": None, "older_than_the_runs": False}
    first_run = min(datetime.datetime.fromisoformat(began) for began in everything["began"].unique())
    older = origin.date <= first_run
    return said | {"commit": origin.commit, "date": origin.date.isoformat(), "older_than_the_runs": older}
