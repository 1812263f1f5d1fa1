"""Tables on the terminal, in a file or in a pipe, with no number cut off."""

from rich.console import Console
from rich.table import Table

LEAST_WIDTH = 160  # characters: where there is no terminal, rich takes 80


def print_whole(table: Table) -> None:
    """Prints a table as wide as its rows are. Where the terminal is narrower, it wraps the lines."""
    natural = Console(width=1 << 16).measure(table).maximum
    Console(width=max(LEAST_WIDTH, Console().width, natural)).print(table)
