"""Tables on the terminal, in a file or in a pipe, with no number cut off."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

LEAST_WIDTH = 160  # characters: where there is no terminal, rich takes 80


def print_rows(rows: Sequence[Mapping[str, str]], title: str = "", left: Sequence[str] = ()) -> None:
    """Prints a table with the columns that any row fills, aligned right except those `left`. On a terminal that is
    narrower than the rows, headers are wrapped between words; on one that is narrower still, a row is a sentence."""
    columns = [
        name for name in dict.fromkeys(name for row in rows for name in row) if any(row.get(name) for row in rows)
    ]
    table = Table(title=title or None, title_justify="left")
    for name in columns:
        longest = max(len(row.get(name, "")) for row in rows)
        table.add_column(name, justify="left" if name in left else "right", min_width=longest)
    for row in rows:
        table.add_row(*(row.get(name, "") for name in columns))
    console = Console()
    room = Console(width=1 << 16).measure(table)
    if not console.is_terminal:
        Console(width=max(LEAST_WIDTH, console.width, room.maximum)).print(table)
    elif room.minimum <= console.width:
        console.print(table)
    else:
        said = [", ".join(f"{name} {row[name]}" for name in columns if row.get(name)) for row in rows]
        console.print(*filter(None, [title]), *said, sep="\n", markup=False, highlight=False)
