"""Tables, numbers and folds of the page."""

import math
from collections.abc import Sequence

from experiments.page.markup import Content, Markup, tag

NONE = "–"


def number(value: float | None, form: str) -> str:
    """In a format of Python's, or a dash for what is unknown."""
    return NONE if value is None or not math.isfinite(value) else format(value, form)


def count(value: float) -> str:
    """A whole number with commas."""
    return number(value, ",.0f")


def row(cell: Sequence[str], words: Sequence[str], numbers: Sequence[str]) -> Markup:
    """Headings, then words, then numbers."""
    heads = [tag("th", word, scope="row") for word in cell]
    return tag("tr", heads, [tag("td", w) for w in words], [tag("td", n, class_="number") for n in numbers])


def grid(columns: Sequence[str], rows: Sequence[Markup], *, text: int) -> Markup:
    """A table that scrolls sideways by itself where it is too wide. The first `text` columns hold words."""
    heads = [tag("th", name, scope="col", class_=None if n < text else "number") for n, name in enumerate(columns)]
    table = tag("table", tag("thead", tag("tr", heads)), tag("tbody", rows))
    return tag("div", table, class_="scroll", tabindex=0, role="region", aria_label="Table, scrolls sideways")


def fold(title: Content, content: Content) -> Markup:
    """What is shown on a press on its title."""
    return tag("details", tag("summary", title), content)
