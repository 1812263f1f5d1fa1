"""The table: columns, files, and what it refuses."""

import json

import numpy as np
import pandas as pd
import pyarrow
import pytest
from pyarrow import parquet

from experiments.analysis import table
from experiments.analysis.table import of_rows

ROWS = [
    {"run": system, "system": system, "seed": seed, "place": place, "value": seed + place / 10, "measure": "right"}
    for system in ("gru", "rnn")
    for seed in (1, 0)
    for place in (1.0, 2.0)
]


def test_pairs_are_of_one_seed():
    assert table.paired(pd.Series({0: 1.0, 1: 2.0, 2: 9.0}), pd.Series({1: 0.5, 0: 0.25})).to_dict() == {
        0: 0.75,
        1: 1.5,
    }


def test_rows_that_lack_a_column():
    t = of_rows([{"run": "a", "value": 1.0}, {"run": "b", "place": 2.0}])
    assert np.isnan(t["value"][1]) and np.isnan(t["place"][0])
    assert of_rows([{"run": "c", "part": "x"}, {"run": "d"}])["part"].tolist() == ["x", ""]
    assert len(of_rows([])) == 0


def test_files_give_back_what_was_written(tmp_path):
    t = of_rows([{**row, "config": "{}", "tuned": None} for row in ROWS])
    table.write(t, tmp_path)
    back = table.read(tmp_path / "table.parquet")
    assert list(back.columns) == ["run", "system", "seed", "tuned", "measure", "place", "value", "config"]
    assert back["value"].tolist() == t["value"].tolist() and np.isnan(back["tuned"]).all()
    lines = (tmp_path / "table.csv").read_text().splitlines()
    assert lines[:2] == ["run,system,seed,tuned,measure,place,value", "gru,gru,1,,right,1,1.1"]
    written = (tmp_path / "table.parquet").read_bytes()
    table.write(back, tmp_path)
    assert (tmp_path / "table.parquet").read_bytes() == written


def test_a_table_of_another_format_is_refused(tmp_path):
    path = tmp_path / "table.parquet"
    other = pyarrow.table({"a": [1]}).replace_schema_metadata({"longreach": json.dumps({"format": 7})})
    parquet.write_table(other, path)
    with pytest.raises(ValueError, match="has format 7 and this version reads 2"):
        table.read(path)
    path.write_text("no parquet")
    with pytest.raises(ValueError, match="is not a table of results"):
        table.read(path)
