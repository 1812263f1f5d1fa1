"""The table of results: a pandas frame with one row per run and measurement, stored as Parquet and CSV.

    run, axes of the question..., seed, role, tuned     which run
    probe, measure, part, place, step, value, answers   what was measured
    version, commit, began, device, config, text ...    which version of the run, and where it comes from

`place` is a position on the measure's own axis (such as a distance; nan if it has none), `part` a part of the model or
of a distribution, `step` the number of updates, `answers` the number of answers that `value` is a mean of. `role` is
`report`, or `tune` for the trials that chose the `tuned` value. `version` is the question's, `trees` are git's ids of
the code's folders, and `text` are hashes of the text that was read (`experiments/engine/version.py`).

A column holds numbers (nan if missing) or text (empty if missing). pandas is slow to import, so only functions that
hold a table import it.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from data import whole_file
from experiments.analysis.frames import DataFrame, Series

FORMAT = 2  # of the files; raise it when what a column means changes
MEASURED = ("run", "seed", "role", "tuned", "probe", "measure", "part", "place", "step", "value", "answers", "version")
PARQUET_ONLY = ("commit", "began", "device", "versions", "trees", "config", "text", "probes")  # long
COLUMNS = (*MEASURED, *PARQUET_ONLY)
"""Of every table; the others are the question's axes."""
NUMBERS = ("seed", "tuned", "place", "step", "value", "answers", "version")


def of_rows(rows: Iterable[Mapping[str, Any]]) -> DataFrame:
    """The table of these rows, which may lack columns. `to_dict("records")` is the way back."""
    import pandas as pd

    rows = list(rows)
    names = dict.fromkeys(name for row in rows for name in row)
    return pd.DataFrame({name: _column(name, [row.get(name) for row in rows]) for name in names})


def axes_of(table: DataFrame) -> list[str]:
    """The question's own columns."""
    return [name for name in table.columns if name not in COLUMNS]


def select(table: DataFrame, **values: Any) -> DataFrame:
    """The rows whose columns have these values."""
    for column, value in values.items():
        table = table[table[column] == value]
    return table


def by_seed(table: DataFrame, **values: Any) -> Series:
    """The mean of each seed, over the rows whose columns have these values."""
    return select(table, **values).groupby("seed")["value"].mean()


def paired(a: Series, b: Series) -> Series:
    """a - b, seed by seed, over the seeds that both have."""
    return (a - b).loc[a.index.intersection(b.index).sort_values()]


def write(table: DataFrame, folder: Path) -> None:
    """`table.parquet` and `table.csv`, each whole or not at all."""
    import pyarrow
    from pyarrow import parquet

    # Which run first, then the question's axes, then what was measured and where it comes from.
    names = [name for name in (COLUMNS[0], *axes_of(table), *COLUMNS[1:]) if name in table]
    arrow = pyarrow.table({name: table[name].tolist() for name in names})
    arrow = arrow.replace_schema_metadata({"longreach": json.dumps({"format": FORMAT})})
    with whole_file.replacing(folder / "table.parquet") as partial:
        parquet.write_table(arrow, partial, compression="zstd")
    shown = table[[name for name in names if name not in PARQUET_ONLY]]
    with whole_file.replacing(folder / "table.csv") as partial:
        shown.to_csv(partial, index=False, float_format="%.8g", lineterminator="\n")


def read(path: Path) -> DataFrame:
    """A `table.parquet`. Raises ValueError for a file that is not a table, or one of another format."""
    import pandas as pd
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
    return pd.DataFrame({name: _column(name, arrow.column(name).to_pylist()) for name in arrow.column_names})


def _column(name: str, values: list[Any]) -> Series:
    import pandas as pd

    known = [value for value in values if value is not None]
    if name in NUMBERS or (known and all(isinstance(value, int | float) for value in known)):
        return pd.Series(values, dtype=float)
    return pd.Series(["" if value is None else str(value) for value in values], dtype=str)
