"""A number in words, for a page."""

import math

NONE = "–"


def number(value: float | None, form: str = ",.0f") -> str:
    """The formatted number, without the sign of a zero, or a dash if it is unknown."""
    if value is None or not math.isfinite(value):
        return NONE
    said = format(value, form)
    return said if float(said.replace(",", "").rstrip("%")) else said.replace("-", "+" if "+" in form else "")
