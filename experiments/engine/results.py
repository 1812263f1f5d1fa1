"""Results of a question at a scale: what is finished, and the folder that shows it.

results/QUESTION/SCALE/   table.parquet table.csv figure.svg figure.png verdict.json commands.sh
docs/results/...          the same, committed: its rows count as finished in a fresh clone
runs/QUESTION/SCALE/      the runs' folders, each with its rows.json
"""

import dataclasses
import datetime
import hashlib
import itertools
import json
import math
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from data import whole_file
from experiments.analysis import judge, style, table
from experiments.analysis.finding import Finding
from experiments.analysis.table import Table
from experiments.engine import fingerprint, schedule, statement, trial
from experiments.engine.schedule import Due, Key
from experiments.questions.question import Question, Run

OWN, PUBLISHED = Path("results"), Path("docs/results")
STALE = ("refuse", "keep", "rerun")


class Folders(NamedTuple):
    runs: Path
    results: Path
    published: Path

    @classmethod
    def of(cls, name: str, scale: str, runs: Path, results: Path) -> "Folders":
        return cls(runs / name / scale, results / name / scale, PUBLISHED / name / scale)

    def table(self) -> Path | None:
        """One's own table, or else the committed one."""
        there = (folder / "table.parquet" for folder in (self.results, self.published))
        return next((path for path in there if path.is_file()), None)


class Record(NamedTuple):
    """A run that was finished once, by this code or another."""

    key: Key
    rows: list[dict[str, Any]]
    config: dict[str, Any]
    modules: dict[str, str]
    probes: str  # what they were asked (`schedule.asked_of`); empty where a table is older than this column
    counts_as: str  # the hash of later code that was taken to change no number, or nothing
    source: Path  # a table, or a run's rows.json


class Store:
    """The finished runs of a question at a scale, and which of them count."""

    def __init__(self, folders: Folders, stale: str = "refuse"):
        """Raises ValueError for a table that is none, or of another format."""
        if stale not in STALE:
            raise ValueError(f"--stale = {stale} is not known; choose from {', '.join(STALE)}")
        self.folders, self._stale = folders, stale
        self._records: dict[Key, list[Record]] = {}
        for folder in (folders.published, folders.results):
            path = folder / "table.parquet"
            if path.is_file():
                self._add(table.read(path).rows(), path)
        for path in sorted(folders.runs.glob(f"*/{trial.ROWS}")):
            self._add(trial.read(path), path)

    def _add(self, rows: Iterable[dict[str, Any]], source: Path) -> None:
        by_key: dict[Key, list[dict[str, Any]]] = {}
        for row in rows:
            by_key.setdefault(_key(row), []).append(row)
        for key, mine in by_key.items():
            config, modules = json.loads(mine[0]["config"]), json.loads(mine[0]["modules"])
            probes, counts_as = mine[0].get("probes", ""), mine[0].get("counts_as", "")
            record = Record(key, mine, config, modules, probes, counts_as, source)
            self._records.setdefault(key, []).insert(0, record)

    def reread(self, due: Due, path: Path) -> None:
        """Takes in a run that has just finished."""
        self._add(trial.read(path / trial.ROWS), path / trial.ROWS)

    def finished(self, due: Due, modules: Mapping[str, str], probes: str) -> Record | None:
        """The record that counts for a run: of the same config, made by the same code or, with `keep`, by another.

        Raises ValueError, unless told to keep or to rerun, for a run that is in a table and no longer counts. What is
        kept counts from then on as made by the code of today; its rows still say which code made them, and what has
        changed since.
        """
        same_config = [
            record
            for record in self._records.get(due.key, [])
            if not fingerprint.differing(record.config, due.config.to_dict()) and record.probes in ("", probes)
        ]
        now = fingerprint.code_hash(modules)
        same_code = [record for record in same_config if record.modules == modules or record.counts_as == now]
        if same_code:
            return same_code[0]
        in_table = [r for r in self._records.get(due.key, []) if r.source.suffix == ".parquet"]
        kept = [record for record in same_config if record in in_table]
        if kept and self._stale == "keep":
            self._records[due.key].insert(0, _kept(kept[0], due, modules))
            return self._records[due.key][0]
        if in_table and self._stale != "rerun":
            raise ValueError(_why_stale(in_table[0], due, modules, probes))
        return None


def _key(row: Mapping[str, Any]) -> Key:
    return Key(row["run"], int(row["seed"]), float(row["tuned"]) if row["role"] == schedule.TUNE else None)


def _kept(record: Record, due: Due, modules: Mapping[str, str]) -> Record:
    """The record, with what has changed since: modules, and keys of the config that only one of both has."""
    configs = map(fingerprint.config_values, (record.config, due.config.to_dict()))
    keys = sorted(set.symmetric_difference(*map(set, configs)))
    since, now = ", ".join(fingerprint.changed(record.modules, modules) + keys), fingerprint.code_hash(modules)
    return record._replace(rows=[row | {"kept": since, "counts_as": now} for row in record.rows], counts_as=now)


def _why_stale(record: Record, due: Due, modules: Mapping[str, str], probes: str) -> str:
    where = f"{record.source}: {due.key}"
    if values := _differs(record, due):
        return f"{where} was made with {values}; --stale=rerun runs it again"
    if record.probes not in ("", probes):
        return f"{where} was made with probes = {record.probes}, now {probes}; --stale=rerun runs it again"
    return (
        f"{where} was made by other code ({', '.join(fingerprint.changed(record.modules, modules))}); where that "
        "changes no number, --stale=keep counts it as finished and notes it in the table; --stale=rerun runs it again"
    )


def check_version(question: Question, runs: Iterable[Run], everything: Table, path: Path) -> str:
    """Whether the reported runs of a table are those that the question names today. Raises ValueError for values of
    their configs that have changed since; returns a line on the code that has, or nothing."""
    first = {_key(row): row for row in reversed(list(reported(everything).rows()))}
    changed: set[str] = set()
    for run in runs:
        row = first.get(Key(run.name, run.seed, None))
        if not row or not {"config", "modules"} <= row.keys():
            continue
        due = schedule.reported(run, row["tuned"] if math.isfinite(row["tuned"]) else None)
        record = Record(due.key, [row], json.loads(row["config"]), json.loads(row["modules"]), "", "", path)
        if _differs(record, due):
            raise ValueError(
                f"{path}: {due.key} was made with {_differs(record, due)}: the table is of another version; python -m "
                f"experiments.run --stale=rerun runs it again, and commit {row['commit'][:10]} draws it as it is"
            )
        modules = schedule.modules_of(question, due)
        if row.get("counts_as") != fingerprint.code_hash(modules):
            changed |= set(fingerprint.changed(record.modules, modules))
    return f"{path} has runs by other code ({', '.join(sorted(changed))}); drawn as they are" if changed else ""


def _differs(record: Record, due: Due) -> str:
    """The first value in which the configs differ, or nothing."""
    now = due.config.to_dict()
    for key in fingerprint.differing(record.config, now):
        was, here = (fingerprint.config_values(config)[key] for config in (record.config, now))
        return f"{key} = {was!r}, now {here!r}"
    return ""


def columns_of(due: Due, modules: Mapping[str, str], probes: str) -> dict[str, Any]:
    """The columns of the table that say which run a row belongs to, and of which version."""
    config = due.config.to_dict()
    return {
        "run": due.key.name,
        **due.run.axes,
        "seed": due.key.seed,
        "role": due.role,
        "tuned": due.tuned,
        "config_hash": fingerprint.config_hash(config),
        "code_hash": fingerprint.code_hash(modules),
        "config": json.dumps(fingerprint.config_values(config)),
        "modules": json.dumps(modules),
        "probes": probes,
    }


def workdir(folders: Folders, due: Due, modules: Mapping[str, str], probes: str) -> Path:
    """The run's folder. Another config, other code or other questions to its probes have another folder, so no two
    versions meet in one."""
    parts = fingerprint.config_hash(due.config.to_dict()), fingerprint.code_hash(modules), probes
    version = hashlib.sha256("".join(parts).encode()).hexdigest()[:8]
    trial_of = "" if due.role == schedule.REPORT else f"-trial-{due.tuned:.3g}"
    return folders.runs / f"{due.key.name}{trial_of}-seed{due.key.seed}-{version}"


def as_table(records: Sequence[Record]) -> Table:
    """The table of these runs, in their order."""
    return Table.from_rows(row for record in records for row in record.rows)


def of_runs_alone(folders: Folders) -> Table:
    """The table of the newest of each run that has a folder. Raises ValueError where there is none."""
    newest: dict[Key, list[dict[str, Any]]] = {}
    for path in folders.runs.glob(f"*/{trial.ROWS}"):
        rows = trial.read(path)
        if rows and (_key(rows[0]) not in newest or newest[_key(rows[0])][0]["began"] < rows[0]["began"]):
            newest[_key(rows[0])] = rows
    if not newest:
        raise ValueError(f"{folders.runs} holds no finished run; start some with python -m experiments.run")
    return Table.from_rows(row for key in sorted(newest, key=_by_seed) for row in newest[key])


def _by_seed(key: Key) -> tuple:
    return key.seed, key.name, key.tuned or 0.0


def reported(everything: Table) -> Table:
    """The rows that figures and verdicts may see: trials that chose a value are not among them."""
    return everything.where(role=schedule.REPORT) if len(everything) else everything


def runs_of(everything: Table) -> set[tuple[str, float]]:
    """(run, seed) of the reported runs."""
    shown = reported(everything)
    return set(zip(shown["run"].tolist(), shown["seed"].tolist(), strict=True)) if len(shown) else set()


def put_by(folder: Path, everything: Table) -> Path | None:
    """Moves a table aside that has reported runs which `everything`, about to be written, has not; says where to."""
    path = folder / "table.parquet"
    if not path.is_file() or not runs_of(table.read(path)) - runs_of(everything):
        return None
    names = (f"table.before{'' if n == 1 else f'-{n}'}.parquet" for n in itertools.count(1))
    aside = next(folder / name for name in names if not (folder / name).exists())
    path.replace(aside)
    return aside


def draw(
    question: Question, name: str, scale: str, everything: Table, folder: Path, runs_of_the_grid: int
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
        "seeds": sorted(int(seed) for seed in shown.values("seed")),
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


def _stated(question: Question, everything: Table) -> dict[str, Any]:
    """What was stated, in which commit first, and whether the runs, trials too, came after it; the same of the code of
    the verdict, under `judging`."""
    said: dict[str, Any] = {"claim": question.CLAIM, "source": question.SOURCE, "prediction": question.PREDICTION}
    said |= {"thresholds": dict(question.THRESHOLDS), **_first_held(question, everything, statement.stated)}
    return said | {"judging": _first_held(question, everything, statement.judging)}


def _first_held(question: Question, everything: Table, of: Callable[[str], Any]) -> dict[str, Any]:
    """Which commit first held something of the question's file as it is now."""
    file = getattr(question, "__file__", None)
    origin = statement.origin(Path(file), of) if file and Path(file).is_relative_to(fingerprint.ROOT) else None
    if not origin:
        return {"commit": None, "date": None, "older_than_the_runs": False}
    first_run = min(datetime.datetime.fromisoformat(began) for began in everything.values("began"))
    return {"commit": origin.commit, "date": origin.date.isoformat(), "older_than_the_runs": origin.date <= first_run}


def write_commands(name: str, scale: str, runs: Sequence[Due], folder: Path) -> None:
    """`commands.sh`: the one command, and what each of its runs would be by hand."""
    lines = ["#!/bin/sh", f"# {name} at scale {scale}: the runs, the table, the figure and the verdict"]
    lines += [f"python -m experiments.run {name} --scale={scale}", "exit", "", "# The same runs one by one."]
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


def missing(runs: Sequence[Run], everything: Table) -> int:
    """How many runs of the grid the table does not have."""
    there = runs_of(everything)
    return sum((run.name, float(run.seed)) not in there for run in runs)
