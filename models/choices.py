"""Values that are one of a few names, and what to say of another."""

import difflib
from collections.abc import Iterable


def check(what: str, value: str, choices: Iterable[str]) -> None:
    """Raises ValueError where `value` is none of them, with the nearest: `model.norm = 'per' is not known; ...`."""
    names = list(choices)
    if value not in names:
        near = difflib.get_close_matches(str(value), names, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ValueError(f"{what} = {value!r} is not known; {hint}choose from {', '.join(names)}")
