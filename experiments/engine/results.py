"""Results of a question at a scale: what is finished, and the folder that shows it.

results/QUESTION/SCALE/   table.parquet table.csv figure.svg figure.png verdict.json commands.sh
docs/results/...          the same, committed: its rows count as finished in a fresh clone, on any machine
runs/QUESTION/SCALE/      the runs' folders, each with its rows.json
.../SCALE/fresh/          of both, what `--fresh` runs anew
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import hashlib
import itertools
import json
import math
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from data import whole_file
from experiments.analysis import judge, style, table
from experiments.analysis.finding import Finding
from experiments.engine import schedule, statement, trial
from experiments.engine.schedule import Due, Key
from experiments.engine.statement import ROOT
from experiments.engine.version import Version
from experiments.questions.question import Question, Run

if TYPE_CHECKING:
    from pandas import DataFrame

OWN, PUBLISHED = Path("results"), Path("docs/results")
FRESH = "fresh"  # the folder, below both of a question's, of what is run anew
SECONDS = ("training_seconds", "compile_seconds", "eval_seconds", "save_seconds", "probing_seconds")  # of a run
OF_THE_MACHINE = (*SECONDS, "target_tokens_per_second")


class Folders(NamedTuple):
    runs: Path
    results: Path
    published: Path | None

    @classmethod
    def of(cls, name: str, scale: str, runs: Path, results: Path) -> Folders:
        return cls(runs / name / scale, results / name / scale, PUBLISHED / name / scale)

    def beside(self) -> Folders:
        """Where a question is run anew, whatever has been finished."""
        return Folders(self.runs / FRESH, self.results / FRESH, None)

    def tables(self) -> list[Path]:
        """One's own table and the committed one, those that are there."""
        there = (folder / "table.parquet" for folder in (self.results, self.published) if folder)
        return [path for path in there if path.is_file()]


class Record(NamedTuple):
    """A run that was finished once, of this version or another."""

    key: Key
    rows: list[dict[str, Any]]
    source: Path  # a table, or a run's rows.json

    @property
    def role(self) -> str:
        return self.rows[0]["role"]

    @property
    def steps(self) -> int:
        return json.loads(self.rows[0]["config"])["steps"]

    @property
    def seconds(self) -> float:
        return sum(row["value"] for row in self.rows if row["measure"] in SECONDS)


class Store:
    """The finished runs of a question at a scale, and which of them count."""

    def __init__(self, folders: Folders):
        """Raises ValueError for a table that is none, or of another format."""
        self.folders = folders
        self._records: dict[Key, list[Record]] = {}
        for path in reversed(folders.tables()):
            self._add(table.read(path).to_dict("records"), path)
        for path in sorted(folders.runs.glob(f"*/{trial.ROWS}")):
            self._add(trial.read(path), path)

    def _add(self, rows: Iterable[dict[str, Any]], source: Path) -> None:
        by_key: dict[Key, list[dict[str, Any]]] = {}
        for row in rows:
            by_key.setdefault(_key(row), []).append(row)
        for key, mine in by_key.items():
            self._records.setdefault(key, []).insert(0, Record(key, mine, source))

    def __iter__(self) -> Iterator[Record]:
        """Every run, of whatever version."""
        return itertools.chain.from_iterable(self._records.values())

    def reread(self, path: Path) -> None:
        """Takes in a run that has just finished."""
        self._add(trial.read(path / trial.ROWS), path / trial.ROWS)

    def finished(self, key: Key, wanted: Version) -> Record | None:
        """The record that counts for a run, of whatever machine; where time is measured, of this processor, or
        committed with a table."""
        for record in self._records.get(key, []):
            if not wanted.differs(record.rows[0]) and (not wanted.timed or self._measured_here(record)):
                return record
        return None

    def _measured_here(self, record: Record) -> bool:
        return record.source.parent == self.folders.published or f" x {_processor()} (" in record.rows[0]["device"]

    def outdated(self, key: Key, wanted: Version) -> str:
        """Why a run that is in a table counts no longer, or nothing."""
        in_tables = [record for record in self._records.get(key, []) if record.source.suffix == ".parquet"]
        if not in_tables or self.finished(key, wanted):
            return ""
        row = in_tables[0].rows[0]
        return f"{in_tables[0].source}: {key} was made with {wanted.differs(row) or row['device']}"


@functools.cache
def _processor() -> str:
    """Of the workers: this process keeps off an accelerator, so another one is asked."""
    asked = [sys.executable, "-c", "from training.machine import provenance; print(provenance.processor())"]
    return subprocess.run(asked, cwd=ROOT, capture_output=True, encoding="utf-8", check=True).stdout.strip()


def _key(row: Mapping[str, Any]) -> Key:
    return Key(row["run"], int(row["seed"]), float(row["tuned"]) if row["role"] == schedule.TUNE else None)


def check_version(question: Question, runs: Iterable[Run], everything: DataFrame, path: Path) -> None:
    """Raises ValueError where the reported runs of a table are no longer those that the question names."""
    first = {_key(row): row for row in reversed(reported(everything).to_dict("records"))}
    for run in runs:
        if row := first.get(Key(run.name, run.seed, None)):
            due = schedule.reported(run, row["tuned"] if math.isfinite(row["tuned"]) else None)
            if why := Version.of(question, due).differs(row):
                raise ValueError(
                    f"{path}: {due.key} was made with {why}: the table is of another version; python -m "
                    f"experiments.run runs it again, and commit {row['commit'][:10]} draws it as it is"
                )


def columns_of(due: Due, wanted: Version) -> dict[str, Any]:
    """The columns of the table that say which run a row belongs to, and of which version."""
    which = {"run": due.key.name, **due.run.axes, "seed": due.key.seed, "role": due.role, "tuned": due.tuned}
    return which | wanted.columns


def workdir(folders: Folders, due: Due, wanted: Version) -> Path:
    """The run's folder; another version has another one."""
    of = hashlib.sha256(json.dumps([wanted.columns, wanted.text], sort_keys=True).encode()).hexdigest()[:8]
    trial_of = "" if due.role == schedule.REPORT else f"-trial-{due.tuned:.3g}"
    return folders.runs / f"{due.key.name}{trial_of}-seed{due.key.seed}-{of}"


def as_table(records: Sequence[Record]) -> DataFrame:
    """The table of these runs, in their order."""
    return table.of_rows(row for record in records for row in record.rows)


def of_runs_alone(folders: Folders) -> DataFrame:
    """The table of the newest of each run that has a folder. Raises ValueError where there is none."""
    newest: dict[Key, list[dict[str, Any]]] = {}
    for path in folders.runs.glob(f"*/{trial.ROWS}"):
        rows = trial.read(path)
        if rows and (_key(rows[0]) not in newest or newest[_key(rows[0])][0]["began"] < rows[0]["began"]):
            newest[_key(rows[0])] = rows
    if not newest:
        raise ValueError(f"{folders.runs} holds no finished run; start some with python -m experiments.run")
    return table.of_rows(row for key in sorted(newest, key=_by_seed) for row in newest[key])


def _by_seed(key: Key) -> tuple:
    return key.seed, key.name, key.tuned or 0.0


def reported(everything: DataFrame) -> DataFrame:
    """The rows that figures and verdicts may see: trials that chose a value are not among them."""
    return everything.query(f"role == {schedule.REPORT!r}") if len(everything) else everything


def runs_of(everything: DataFrame) -> set[tuple[str, float]]:
    """(run, seed) of the reported runs."""
    shown = reported(everything)
    return set(zip(shown["run"], shown["seed"], strict=True)) if len(shown) else set()


def put_by(folder: Path, everything: DataFrame) -> Path | None:
    """Moves a table aside that has reported runs which `everything`, about to be written, has not; says where to."""
    path = folder / "table.parquet"
    if not path.is_file() or not runs_of(table.read(path)) - runs_of(everything):
        return None
    names = (f"table.before{'' if n == 1 else f'-{n}'}.parquet" for n in itertools.count(1))
    aside = next(folder / name for name in names if not (folder / name).exists())
    path.replace(aside)
    return aside


def draw(
    question: Question, name: str, scale: str, everything: DataFrame, folder: Path, runs_of_the_grid: int
) -> Sequence[Finding]:
    """Writes the figure and `verdict.json` from the table alone, or neither. Returns the findings.

    `runs_of_the_grid` is how many there would be, were all of them finished.
    """
    shown = reported(everything)
    with style.house():
        figure = question.figure(shown)
    findings = question.verdict(shown)
    folder.mkdir(parents=True, exist_ok=True)
    style.save(figure, folder)
    verdict = {
        "format": table.FORMAT,
        "question": name,
        "scale": scale,
        "findings": [_plain(finding) for finding in findings],
        "runs": len(runs_of(everything)),
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


def write_commands(name: str, scale: str, runs: Sequence[Due], folder: Path) -> None:
    """`commands.sh`: the one command, and what each of its runs would be by hand."""
    lines = ["#!/bin/sh", f"# {name} at scale {scale}: the runs, the table, the figure and the verdict"]
    command = f"python -m experiments.run {name} --scale={scale}"
    lines += [command, "exit", "", f"# Anew, and compared to what is here: {command} --fresh", ""]
    lines += ["# The same runs one by one."]
    if any(schedule.reads_text(where) for where in {due.run.config for due in runs}):
        lines.insert(2, "# Text is downloaded, or read where it lies: --data=FOLDER, by hand --config.data.dir=FOLDER")
    for due in runs:
        values = [f"--config.{key}={_word(value)}" for key, value in due.overrides.items()]
        words = ["python", "train.py", f"--config={due.run.config}", *values]
        trial_of = "" if due.role == schedule.REPORT else f"-trial-{due.tuned:.3g}"
        words.append(f"--workdir=runs/by-hand/{name}/{due.key.name}{trial_of}-seed{due.key.seed}")
        lines.append(shlex.join(words))
    whole_file.write_text(folder / "commands.sh", "\n".join(lines) + "\n")


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def missing(runs: Sequence[Run], everything: DataFrame) -> int:
    """How many runs of the grid the table does not have."""
    there = runs_of(everything)
    return sum((run.name, float(run.seed)) not in there for run in runs)
