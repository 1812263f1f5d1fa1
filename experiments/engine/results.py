"""What is finished of a question at a scale, and where it lies. Rows on disk are the only sign of success.

results/QUESTION/SCALE/   table.parquet table.csv figure.svg figure.png verdict.json commands.sh
docs/results/...          the same, committed: its rows count as finished in a fresh clone, on any machine
runs/QUESTION/SCALE/      the runs' folders, each with its rows.json; `jobs/` has the processes' logs
.../SCALE/fresh/          of both, what `--fresh` runs anew
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from experiments.analysis import table
from experiments.engine import schedule, trial
from experiments.engine.schedule import Due, Key
from experiments.engine.statement import ROOT
from experiments.engine.version import Version

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

    def run(self, due: Due) -> Path:
        """The run's folder; another version has another one."""
        wanted = Version.of(due)
        of = hashlib.sha256(json.dumps([wanted.columns, wanted.text], sort_keys=True).encode()).hexdigest()[:8]
        trial_of = "" if due.role == schedule.REPORT else f"-trial-{due.tuned:.3g}"
        return self.runs / f"{due.key.name}{trial_of}-seed{due.key.seed}-{of}"


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
        return seconds(self.rows)


def seconds(rows: Iterable[Mapping[str, Any]]) -> float:
    """How long a run took."""
    return sum(row["value"] for row in rows if row["measure"] in SECONDS)


class Store:
    """The finished runs of a question at a scale, and which of them count."""

    def __init__(self, folders: Folders):
        """Raises ValueError for a table that is none, or of another format."""
        self.folders = folders
        self._records: dict[Key, list[Record]] = {}
        self._read: set[Path] = set()
        self._counted: dict[tuple[Key, int], Record] = {}  # by key and the config, of which there is one object
        for path in reversed(folders.tables()):
            self._add(table.read(path).to_dict("records"), path)
        self.refresh()

    def refresh(self) -> None:
        """Takes in the runs that have finished since."""
        for path in sorted(set(self.folders.runs.glob(f"*/{trial.ROWS}")) - self._read):
            if rows := trial.read(path):
                self._read.add(path)
                self._add(rows, path)

    def _add(self, rows: Iterable[dict[str, Any]], source: Path) -> None:
        by_key: dict[Key, list[dict[str, Any]]] = {}
        for row in rows:
            by_key.setdefault(_key(row), []).append(row)
        for key, mine in by_key.items():
            self._records.setdefault(key, []).insert(0, Record(key, mine, source))

    def __iter__(self) -> Iterator[Record]:
        """Every run, of whatever version."""
        return itertools.chain.from_iterable(self._records.values())

    def record(self, due: Due) -> Record | None:
        """The record that counts for a run, of whatever machine; where time is measured, of this processor, or
        committed with a table."""
        if found := self._counted.get((due.key, id(due.config))):
            return found
        there = self._records.get(due.key, [])
        wanted = Version.of(due) if there else None
        for record in there:
            if wanted and not wanted.differs(record.rows[0]) and (not wanted.timed or self._measured_here(record)):
                return self._counted.setdefault((due.key, id(due.config)), record)
        return None

    def finished(self, due: Due) -> list[dict[str, Any]] | None:
        """As the planner asks (`schedule.Finished`)."""
        record = self.record(due)
        return record.rows if record else None

    def _measured_here(self, record: Record) -> bool:
        return record.source.parent == self.folders.published or f" x {_processor()} (" in record.rows[0]["device"]

    def outdated(self, due: Iterable[Due]) -> str:
        """One line on the runs that are in a table and count no longer, or nothing."""
        said = [why for one in due if (why := self._outdated(one))]
        more = f", and {len(said) - 1} more" * (len(said) > 1)
        return f"{said[0]}{more}; they run again" if said else ""

    def _outdated(self, due: Due) -> str:
        """Why; a trial at full length is beside a short one of the same value, which counts as well."""
        in_tables = [record for record in self._records.get(due.key, []) if record.source.suffix == ".parquet"]
        short = due.run.tuning.overrides if due.run.tuning and due.role == schedule.TUNE else {}
        if not in_tables or any(due.overrides.get(key) != value for key, value in short.items()):
            return ""
        row = in_tables[0].rows[0]
        return f"{in_tables[0].source}: {due.key} was made with {Version.of(due).differs(row) or row['device']}"


@functools.cache
def _processor() -> str:
    """Of the jobs: this process keeps off an accelerator, so another one is asked."""
    asked = [sys.executable, "-c", "from training.machine import provenance; print(provenance.processor())"]
    return subprocess.run(asked, cwd=ROOT, capture_output=True, encoding="utf-8", check=True).stdout.strip()


def _key(row: Mapping[str, Any]) -> Key:
    return Key(row["run"], int(row["seed"]), float(row["tuned"]) if row["role"] == schedule.TUNE else None)


def columns_of(due: Due) -> dict[str, Any]:
    """The columns of the table that say which run a row belongs to, and of which version."""
    which = {"run": due.key.name, **due.run.axes, "seed": due.key.seed, "role": due.role, "tuned": due.tuned}
    return which | Version.of(due).columns


def of_runs_alone(folders: Folders) -> DataFrame:
    """The table of the newest of each run that has a folder. Raises ValueError where there is none."""
    newest: dict[Key, list[dict[str, Any]]] = {}
    for path in folders.runs.glob(f"*/{trial.ROWS}"):
        rows = trial.read(path)
        if rows and (_key(rows[0]) not in newest or newest[_key(rows[0])][0]["began"] < rows[0]["began"]):
            newest[_key(rows[0])] = rows
    if not newest:
        raise ValueError(f"{folders.runs} holds no finished run; start some with python -m experiments.run")
    by_seed = sorted(newest, key=lambda key: (key.seed, key.name, key.tuned or 0.0))
    return table.of_rows(row for key in by_seed for row in newest[key])


def first_rows(everything: DataFrame) -> dict[Key, dict[str, Any]]:
    """The first row of each reported run of a table."""
    return {_key(row): row for row in reversed(reported(everything).to_dict("records"))}


def reported(everything: DataFrame) -> DataFrame:
    """The rows that figures and verdicts may see: trials that chose a value are not among them."""
    return everything.query(f"role == {schedule.REPORT!r}") if len(everything) else everything


def runs_of(everything: DataFrame) -> set[tuple[str, float]]:
    """(run, seed) of the reported runs."""
    shown = reported(everything)
    return set(zip(shown["run"], shown["seed"], strict=True)) if len(shown) else set()
