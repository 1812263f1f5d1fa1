"""The table of results: one row a run and measurement, in columns, kept as Parquet and CSV.

    run, axes of the question..., seed, role, tuned     which run
    probe, measure, part, place, step, value, answers   what was measured
    version, commit, began, device, config, text ...    which version of the run, and where it comes from

`place` is where along a measure's own axis (a distance, a position; nan where there is none), `part` which part of
the model or of a distribution, `step` after how many updates, `answers` over how many answers `value` is the mean.
`role` is `report`, or `tune` for the trials that chose the `tuned` value. `version` is the question's, `trees` are
git's ids of the code's folders, `text` hashes of what was read (`experiments/engine/version.py`).
"""

import csv
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data import whole_file

FORMAT = 2  # of the files; raise it when what a column means changes
COLUMNS = (
    "run",
    "seed",
    "role",
    "tuned",
    "probe",
    "measure",
    "part",
    "place",
    "step",
    "value",
    "answers",
    "version",
    "commit",
    "began",
    "device",
    "versions",
    "trees",
    "config",
    "text",
    "probes",
)
"""Of every table; the others are the question's axes."""
PARQUET_ONLY = COLUMNS[COLUMNS.index("commit") :]  # long, and for the engine
NUMBERS = ("seed", "tuned", "place", "step", "value", "answers", "version")


class Table:
    """Columns of equal length; every method gives a new table or plain arrays."""

    def __init__(self, columns: Mapping[str, np.ndarray] | None = None):
        self.columns = dict(columns or {})

    @classmethod
    def from_rows(cls, rows: Iterable[Mapping[str, Any]]) -> "Table":
        """Rows may lack columns: those are empty text, or nan among numbers."""
        rows = list(rows)
        names = list(dict.fromkeys(name for row in rows for name in row))
        return cls({name: _column(name, [row.get(name) for row in rows]) for name in names})

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def __getitem__(self, name: str) -> np.ndarray:
        """Raises ValueError for a column that the table does not have."""
        if name not in self.columns:
            raise ValueError(f"table: {name!r} is not a column; it has {', '.join(self.columns) or 'none'}")
        return self.columns[name]

    def where(self, **wanted: Any) -> "Table":
        """The rows whose columns equal what is given, or lie in a collection of values."""
        keep = np.ones(len(self), bool)
        for name, value in wanted.items():
            several = isinstance(value, Collection) and not isinstance(value, str)
            keep &= np.isin(self[name], list(value)) if several else self[name] == value
        return Table({name: column[keep] for name, column in self.columns.items()})

    def between(self, low: float, high: float, column: str = "place") -> "Table":
        """The rows with low <= column <= high."""
        keep = (self[column] >= low) & (self[column] <= high)
        return Table({name: values[keep] for name, values in self.columns.items()})

    def values(self, name: str) -> list[Any]:
        """The different values of a column, in the order in which they appear."""
        return list(dict.fromkeys(self[name].tolist())) if len(self) else []

    def by(self, name: str) -> Iterator[tuple[Any, "Table"]]:
        """(value, its rows), in the order of appearance."""
        for value in self.values(name):
            yield value, self.where(**{name: value})

    def of_seeds(self, column: str = "value") -> dict[int, float]:
        """Seed -> mean of the column over the seed's rows."""
        return {int(seed): float(rows[column].mean()) for seed, rows in sorted(self.by("seed"), key=lambda x: x[0])}

    def curves(self, x: str = "place") -> tuple[np.ndarray, np.ndarray]:
        """(X places, (seeds, X) values) over the places that every seed has."""
        seeds = sorted(self.values("seed"))
        per_seed = []
        for seed in seeds:
            rows = self.where(seed=seed)
            per_seed.append(dict(zip(rows[x].tolist(), rows["value"].tolist(), strict=True)))
        places = sorted(set.intersection(*(set(curve) for curve in per_seed))) if per_seed else []
        return np.array(places), np.array([[curve[place] for place in places] for curve in per_seed])

    def rows(self) -> Iterator[dict[str, Any]]:
        lists = {name: column.tolist() for name, column in self.columns.items()}
        for values in zip(*lists.values(), strict=True):
            yield dict(zip(lists, values, strict=True))


def joined(tables: Sequence[Table]) -> Table:
    """The rows of all; what one lacks is empty."""
    names = list(dict.fromkeys(name for table in tables for name in table.columns))
    return Table(
        {
            name: np.concatenate(
                [
                    table.columns[name] if name in table.columns else _column(name, [None] * len(table))
                    for table in tables
                ]
            )
            for name in names
        }
    )


def paired(a: Mapping[int, float], b: Mapping[int, float]) -> np.ndarray:
    """a - b, seed by seed, over the seeds that both have."""
    return np.array([a[seed] - b[seed] for seed in sorted(a.keys() & b.keys())])


def write(table: Table, folder: Path) -> None:
    """`table.parquet` and `table.csv`, each whole or not at all."""
    import pyarrow
    from pyarrow import parquet

    ordered = _in_order(table)
    arrow = pyarrow.table({name: column.tolist() for name, column in ordered.items()})
    arrow = arrow.replace_schema_metadata({"longreach": json.dumps({"format": FORMAT})})
    with whole_file.replacing(folder / "table.parquet") as partial:
        parquet.write_table(arrow, partial, compression="zstd")

    names = [name for name in ordered if name not in PARQUET_ONLY]
    with whole_file.replacing(folder / "table.csv") as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        for row in table.rows():
            writer.writerow([_shown(row[name]) for name in names])


def _in_order(table: Table) -> dict[str, np.ndarray]:
    """Which run first, then the question's axes, then what was measured and where it comes from."""
    axes = [name for name in table.columns if name not in COLUMNS]
    names = [COLUMNS[0], *axes, *COLUMNS[1:]]
    return {name: table.columns[name] for name in names if name in table.columns}


def read(path: Path) -> Table:
    """A `table.parquet`. Raises ValueError for a file that is no table, or one of another format."""
    import pyarrow
    from pyarrow import parquet

    try:
        arrow = parquet.read_table(path)
        found = json.loads((arrow.schema.metadata or {}).get(b"longreach", b"{}")).get("format")
    except (pyarrow.ArrowInvalid, json.JSONDecodeError):
        raise ValueError(f"{path} is not a table of results; move it away, or get it back with git") from None
    if found != FORMAT:
        raise ValueError(
            f"{path} has format {found} and this version reads {FORMAT}; check out the commit that wrote it, "
            "or move it away and run the question again"
        )
    names = arrow.column_names
    return Table({name: _column(name, arrow.column(name).to_pylist()) for name in names})


def _column(name: str, values: list[Any]) -> np.ndarray:
    known = [value for value in values if value is not None]
    numeric = name in NUMBERS or (bool(known) and all(isinstance(value, int | float) for value in known))
    if numeric:
        return np.array([np.nan if value is None else value for value in values], float)
    return np.array(["" if value is None else str(value) for value in values], object)


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.8g}"
    return str(value)
