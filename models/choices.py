"""Checks of values that must be one of a few names."""

import difflib
from collections.abc import Iterable


def check(what: str, value: str, choices: Iterable[str]) -> None:
    """Raises ValueError for another value, with the nearest name: `model.norm = 'per' is not known; ...`."""
    names = list(choices)
    if value not in names:
        longer = [name for name in names if value and name.startswith(f"{value}_")]  # mamba, of mamba_decoder
        near = difflib.get_close_matches(str(value), names, n=1) or longer
        hint = f"did you mean {near[0]}? " if near else ""
        raise ValueError(f"{what} = {value!r} is not known; {hint}choose from {', '.join(names)}")
