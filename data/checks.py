"""Checks of config values; each failure is one line: key, value, rule, way out."""

import difflib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

LARGEST = 2**17  # of lengths, and of kinds of things: a few hundred examples with an entry for each fit a machine
MOST_EXAMPLES = 2**24  # of a split


def integer(config: Mapping[str, Any], key: str, low: int, high: int | None = None, why: str = "") -> int:
    """config[key] as a whole number in [low, high]; without `high`, in the range of a machine integer. Raises
    ValueError otherwise; `why` explains the bound."""
    if key not in config:
        raise ValueError(f"data.{key} is missing from the config; this task needs it")
    value = config[key]
    whole = isinstance(value, int) and not isinstance(value, bool)
    if high is None and whole and value > (most := MOST_EXAMPLES if key.endswith("_examples") else LARGEST):
        raise ValueError(f"data.{key} = {value} is too large; use a whole number from {low} to {most}")
    rule = f"at least {low}" if high is None else f"from {low} to {high}"
    reason = f" ({why})" if why else ""
    if not whole or value < low or (high is not None and value > high):
        raise ValueError(f"data.{key} = {value!r} is out of range; use a whole number {rule}{reason}")
    return value


def choice(config: Mapping[str, Any], key: str, options: Sequence[str]) -> str:
    """config[key] as one of `options`. Raises ValueError otherwise, with the nearest."""
    one_of(f"data.{key}", config[key], options)
    return config[key]


def one_of(what: str, value: str, options: Collection[str]) -> None:
    """Raises ValueError if `value` is not one of `options`, with the nearest: `what = value is not known; ...`."""
    if value not in options:
        near = difflib.get_close_matches(str(value), options, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ValueError(f"{what} = {value!r} is not known; {hint}choose from {', '.join(options)}")
