"""The finished runs of a question at a scale. A run is finished when its rows are on disk, and by no other sign.

results/QUESTION/SCALE/   table.parquet table.csv figure.svg figure.png verdict.json commands.sh
docs/results/...          the same, committed: its rows count as finished in a fresh clone, on any machine
                          unfinished.parquet: those of a version that is still being run, of which nothing is shown
runs/QUESTION/SCALE/      the runs' folders, each with its rows.json; `jobs/` has the logs
.../SCALE/fresh/          in both places, what `--fresh` runs again
"""

import functools
import hashlib
import itertools
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

from experiments.analysis import table
from experiments.analysis.frames import DataFrame
from experiments.engine import schedule, trial
from experiments.engine.schedule import Due, Key
from experiments.engine.statement import ROOT
from experiments.engine.version import Version

OWN, PUBLISHED = Path("results"), Path("docs/results")
IN_PROGRESS = "unfinished.parquet"
FRESH = "fresh"  # the folder of what is run again, below both of a question's
SECONDS = ("training_seconds", "compile_seconds", "eval_seconds", "save_seconds", "probing_seconds")  # of a run
OF_THE_MACHINE = (*SECONDS, "target_tokens_per_second")


class Folders(NamedTuple):
    runs: Path
    results: Path
    published: Path | None

    @classmethod
    def of(cls, name: str, scale: str, runs: Path, results: Path) -> Self:
        return cls(runs / name / scale, results / name / scale, PUBLISHED / name / scale)

    def beside(self) -> "Folders":
        """Where `--fresh` runs a question again."""
        return Folders(self.runs / FRESH, self.results / FRESH, None)

    def tables(self) -> list[Path]:
        """The user's own table and the committed one, if they exist."""
        there = (folder / "table.parquet" for folder in (self.results, self.published) if folder)
        return [path for path in there if path.is_file()]

    def unfinished(self) -> list[Path]:
        """The committed rows of a version that is still being run: a copy of the user's own table."""
        there = self.published and self.published / IN_PROGRESS
        return [there] if there and there.is_file() else []

    def run(self, due: Due) -> Path:
        """The run's folder; each version has its own."""
        wanted = Version.of(due)
        of = hashlib.sha256(json.dumps([wanted.columns, wanted.text], sort_keys=True).encode()).hexdigest()[:8]
        trial_of = "" if due.role == schedule.REPORT else f"-trial-{due.tuned:.3g}"
        return self.runs / f"{due.key.name}{trial_of}-seed{due.key.seed}-{of}"


class Record(NamedTuple):
    """A finished run, of this version or another."""

    key: Key
    rows: list[dict[str, Any]]
    source: Path  # a table, or a run's rows.json

    @property
    def role(self) -> str:
        return self.rows[0]["role"]

    @property
    def device(self) -> str:
        return self.rows[0]["device"]

    @property
    def config(self) -> dict[str, Any]:
        return json.loads(self.rows[0]["config"])

    @property
    def seconds(self) -> float:
        return seconds(self.rows)

    def measured(self, name: str) -> float:
        """A measure that every run has; 0 if the rows do not tell."""
        return next((row["value"] for row in self.rows if row["measure"] == name and row["probe"] == trial.OF_RUN), 0.0)


def seconds(rows: Iterable[Mapping[str, Any]]) -> float:
    """How long a run took."""
    return sum(row["value"] for row in rows if row["measure"] in SECONDS)


class Store:
    """The finished runs of a question at a scale, and which of them count."""

    def __init__(self, folders: Folders, of_any_machine: bool = False):
        """Runs that measure time count `of_any_machine` where they are only drawn. Raises ValueError for a file that is
        not a table, or of another format."""
        self.folders, self._of_any_machine = folders, of_any_machine
        self._records: dict[Key, list[Record]] = {}
        self._read: set[Path] = set()
        self._counted: dict[tuple[Key, int], Record] = {}  # by key and the config, of which there is one object
        for path in (*folders.unfinished(), *reversed(folders.tables())):
            self._add(table.read(path).to_dict("records"), path)
        self.refresh()

    def refresh(self) -> None:
        """Reads the runs that have finished since."""
        for path in sorted({*self.folders.runs.glob(f"*/{trial.ROWS}")} - self._read):
            if rows := trial.read(path):
                self._read.add(path)
                self._add(rows, path)

    def _add(self, rows: Iterable[dict[str, Any]], source: Path) -> None:
        by_run: dict[tuple[Key, str], list[dict[str, Any]]] = {}  # two trials of one value differ in their steps
        for row in rows:
            by_run.setdefault((_key(row), row["config"]), []).append(row)
        for (key, _), mine in by_run.items():
            self._records.setdefault(key, []).insert(0, Record(key, mine, source))

    def __iter__(self) -> Iterator[Record]:
        """Every run, of any version."""
        return itertools.chain.from_iterable(self._records.values())

    def record(self, due: Due) -> Record | None:
        """The record that counts for a run. If the run measures time, it has to be of this processor or committed."""
        if found := self._counted.get((due.key, id(due.config))):
            return found
        there = self._records.get(due.key, [])
        wanted = Version.of(due) if there else None
        for record in there:
            if wanted and not wanted.differs(record.rows[0]) and (not wanted.timed or self._comparable(record)):
                return self._counted.setdefault((due.key, id(due.config)), record)
        return None

    def finished(self, due: Due) -> list[dict[str, Any]] | None:
        """The rows of a run, for the planner (`schedule.Finished`)."""
        record = self.record(due)
        return record.rows if record else None

    def _comparable(self, record: Record) -> bool:
        anywhere = self._of_any_machine or record.source.parent == self.folders.published
        return anywhere or f" x {_processor()} (" in record.device

    def outdated(self, due: Iterable[Due]) -> str:
        """Which runs of a table no longer count, and why, in one line; empty if all count."""
        said = [why for one in due if (why := self._outdated(one))]
        more = f", and {len(said) - 1} more" * (len(said) > 1)
        return f"{said[0]}{more}" if said else ""

    def _outdated(self, due: Due) -> str:
        """A trial at full length may stand beside a short one of the same value, which counts as well."""
        in_tables = [record for record in self._records.get(due.key, []) if record.source.suffix == ".parquet"]
        short = due.run.tuning.overrides if due.run.tuning and due.role == schedule.TUNE else {}
        if not in_tables or any(due.overrides.get(key) != value for key, value in short.items()):
            return ""
        row = in_tables[0].rows[0]
        return f"{in_tables[0].source}: {due.key} was made with {Version.of(due).differs(row) or row['device']}"


@functools.cache
def _processor() -> str:
    """The processor of the jobs. This process keeps off an accelerator, so it asks another one."""
    asked = [sys.executable, "-c", "from training.machine import provenance; print(provenance.processor())"]
    return subprocess.run(asked, cwd=ROOT, capture_output=True, encoding="utf-8", check=True).stdout.strip()


def _key(row: Mapping[str, Any]) -> Key:
    return Key(row["run"], int(row["seed"]), float(row["tuned"]) if row["role"] == schedule.TUNE else None)


def columns_of(due: Due) -> dict[str, Any]:
    """The columns that say which run a row belongs to, and of which version."""
    which = {"run": due.key.name, **due.run.axes, "seed": due.key.seed, "role": due.role, "tuned": due.tuned}
    return which | Version.of(due).columns


def reported(everything: DataFrame) -> DataFrame:
    """The rows that figures and verdicts may see: those of trials are left out."""
    return everything.query(f"role == {schedule.REPORT!r}") if len(everything) else everything


def runs_of(everything: DataFrame) -> set[tuple[str, float]]:
    """(run, seed) of the reported runs."""
    shown = reported(everything)
    return set(zip(shown["run"], shown["seed"], strict=True)) if len(shown) else set()
