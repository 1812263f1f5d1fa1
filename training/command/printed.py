"""Tables on the terminal, in a file or in a pipe, with no number cut off."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

LEAST_WIDTH = 160  # characters: where there is no terminal, rich takes 80


def print_rows(rows: Sequence[Mapping[str, str]], title: str = "", left: Sequence[str] = ()) -> None:
    """Prints a table with the columns that any row fills, aligned right except those `left`. It is as wide as its rows
    are; a narrower terminal wraps the lines."""
    table = Table(title=title or None, title_justify="left")
    columns = [
        name for name in dict.fromkeys(name for row in rows for name in row) if any(row.get(name) for row in rows)
    ]
    for name in columns:
        table.add_column(name, justify="left" if name in left else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(row.get(name, "") for name in columns))
    natural = Console(width=1 << 16).measure(table).maximum
    Console(width=max(LEAST_WIDTH, Console().width, natural)).print(table)
