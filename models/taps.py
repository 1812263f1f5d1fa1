"""Captures named values inside a model, and perturbs them: how probes look in without changing the model."""

import difflib

from models.contract import Taps
from models.shapes import Array


class Tapper:
    """`x = tap("decoder.0.hidden", x)` returns x, plus the tap's array where one was given.

    `captured` then holds every value that was asked for, after the addition. Raises ValueError for a
    name that the model does not have.
    """

    def __init__(self, taps: Taps | None, names: tuple[str, ...]):
        self.taps = taps or {}
        self.captured: dict[str, Array] = {}
        for name in self.taps:
            if name not in names:
                near = difflib.get_close_matches(name, names, n=1)
                hint = f"did you mean {near[0]}? " if near else ""
                raise ValueError(f"taps: {name!r} is not a tap of this model; {hint}choose from {', '.join(names)}")

    def wants(self, name: str) -> bool:
        return name in self.taps

    def __call__(self, name: str, value: Array) -> Array:
        if name not in self.taps:
            return value
        added = self.taps[name]
        if added is not None:
            value = value + added.astype(value.dtype)
        self.captured[name] = value
        return value
