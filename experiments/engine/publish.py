"""The results of a question: table, figure, verdict and commands, from the rows of its finished runs."""

import dataclasses
import datetime
import itertools
import math
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data import whole_file
from experiments.analysis import judge, table
from experiments.analysis.finding import Finding
from experiments.analysis.frames import DataFrame
from experiments.engine import results, schedule, statement, version
from experiments.engine.schedule import Due
from experiments.engine.statement import ROOT
from experiments.engine.study import Study
from experiments.questions.question import Question

TRAINING = "training"  # the figure of its curves, .png and .svg


def write(study: Study) -> list[str]:
    """Writes table and commands of every finished run and, once one is reported, figure and verdict.

    A table of trials alone is kept for the next start and shows nothing. Returns what came out, for a terminal.
    """
    folder = study.folders.results
    done, everything = study.table()
    if not done:
        return []
    if aside := write_table(everything, folder):
        print(f"the table had runs that no longer count; it is kept as {aside}", file=sys.stderr)
    if changed := version.since(everything):
        print(changed, file=sys.stderr)
    command = f"python -m experiments.run {study.name} --scale={study.scale}"
    what = f"# {study.title}: the runs, the table, the figure and the verdict"
    again = f"# To run everything again and compare it with these results: {command} --fresh"
    write_commands([what, again, command], study.name, done, folder)
    if not len(results.reported(everything)):
        return []
    plan = study.whole()
    grid = sum(due.role == schedule.REPORT for due in plan.runs) + len(plan.waiting)
    findings = publish(study.question, study.name, study.scale, everything, folder, grid)
    return said(study.question, study.scale, findings)


def publish(
    question: Question, name: str, scale: str, everything: DataFrame, folder: Path, runs_of_the_grid: int
) -> Sequence[Finding]:
    """Writes the figures and `verdict.json` from the table alone, or none of them. Returns the findings."""
    from experiments.analysis import picture

    shown = results.reported(everything)
    panels = question.figure(shown)
    findings = question.verdict(shown)
    folder.mkdir(parents=True, exist_ok=True)
    picture.save(panels, folder)
    if curves := question.training(shown):
        picture.save(curves, folder, TRAINING)
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


SMOKE = "everything runs; there is no verdict, since so few steps and seeds show nothing"


def said(question: Question, scale: str, findings: Sequence[Finding]) -> list[str]:
    """The outcome, for a terminal. A few steps of a few seeds only show that everything runs."""
    if scale == "smoke":
        return [SMOKE]
    return judge.lines(findings, question.UNDER_REVIEW)


def write_table(everything: DataFrame, folder: Path) -> Path | None:
    """Keeps the table that was there if it has reported runs that this one lacks; returns where."""
    path, aside = folder / "table.parquet", None
    if path.is_file() and results.runs_of(table.read(path)) - results.runs_of(everything):
        names = (f"table.before{'' if n == 1 else f'-{n}'}.parquet" for n in itertools.count(1))
        aside = next(folder / name for name in names if not (folder / name).exists())
        path.replace(aside)
    table.write(everything, folder)
    return aside


def write_commands(first: Sequence[str], name: str, runs: Sequence[Due], folder: Path) -> None:
    """`commands.sh`: the one command, and what each of its runs is by hand."""
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


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _plain(finding: Finding) -> dict[str, Any]:
    """A finding for JSON, which has no infinity and no nan."""

    def clean(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: clean(one) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [clean(one) for one in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return clean(dataclasses.asdict(finding))


def _stated(question: Question, everything: DataFrame) -> dict[str, Any]:
    """What was stated, by which commit first, and whether it is older than the runs and trials."""
    said: dict[str, Any] = {"claim": question.CLAIM, "source": question.SOURCE, "prediction": question.PREDICTION}
    said |= {"thresholds": dict(question.THRESHOLDS)}
    file = getattr(question, "__file__", None)
    origin = statement.origin(Path(file)) if file and Path(file).is_relative_to(ROOT) else None
    if not origin:
        return said | {"commit": None, "date": None, "older_than_the_runs": False}
    first_run = min(datetime.datetime.fromisoformat(began) for began in everything["began"].unique())
    older = origin.date <= first_run
    return said | {"commit": origin.commit, "date": origin.date.isoformat(), "older_than_the_runs": older}
