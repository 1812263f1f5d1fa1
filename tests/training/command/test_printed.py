"""Tables on a terminal: no number is cut off, however narrow it is."""

import re

import pytest

from training.command.printed import print_rows

ROWS = [{"name": "a", "learning rate": "0.003", "without embeddings": "1,444,333"}, {"name": "b", "learning rate": "1"}]


@pytest.mark.parametrize(
    ("columns", "said", "ruled"),
    [
        (80, "without embeddings ┃", True),
        (40, "embeddings ┃", True),
        (20, "name b, learning", False),
    ],
)
def test_a_terminal_as_wide_as_the_table_narrower_and_narrower_still(columns, said, ruled, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    print_rows(ROWS, "two", ["name"])
    out = re.sub(r"\x1b\[\d*m", "", capsys.readouterr().out)
    assert said in out and ("━" in out) == ruled and out.lstrip().startswith("two")
    assert "0.003" in out and "1,444,333" in out and all(len(line) <= columns for line in out.splitlines())
    assert ("without embeddings" in out) == (columns == 80)


def test_a_file_has_rows_as_wide_as_they_are(capsys):
    print_rows([{"key": "x" * 300}])
    assert "x" * 300 in capsys.readouterr().out
