"""The config keys of an architecture: a table beside the class that reads them.

    class Averaging(Embedded):
        @classmethod
        def options(cls):
            return EVERY | {"activation": Option("relu", "between layers", choices=("relu", "gelu"))}

Keys are dotted where they stand in a group ("attention.size"). Defaults, ranges and what `--help` prints come from
here; a config file states only what its task sets.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from models import choices

LARGEST = 2**24  # of whole numbers: with more, indices overflow
LARGEST_FLOAT = 1e30  # with more, a product is infinite
KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text", tuple: "a tuple"}


@dataclasses.dataclass(frozen=True)
class Option:
    """One key."""

    default: Any
    comment: str
    choices: tuple[str, ...] = ()
    least: float | None = None
    below: float | None = None  # not reached
    width: int = 0  # the default is so many times model.hidden_size; 0: it is `default`
    many: bool = False  # several of `choices`, as `several` has them

    @property
    def kind(self) -> type:
        return int if self.width else type(self.default)

    @property
    def allowed(self) -> str:
        """The allowed values in words; empty if everything of the kind is allowed."""
        if self.choices:
            return f"{'one or more' if self.many else 'one'} of {', '.join(self.choices)}"
        if self.below is not None and self.kind is int:
            return f"{self.least:g} to {self.below - 1:g}"
        if self.below is not None:
            return f"{self.least or 0:g} or more and less than {self.below:g}"
        return "" if self.least is None else f"{self.least:g} or more"

    @property
    def followed(self) -> str:
        """What the default follows, in words; empty if it follows nothing."""
        return {0: "", 1: "follows hidden_size"}.get(self.width, f"follows hidden_size, {self.width} times as wide")

    def check(self, key: str, value: Any) -> None:
        """Raises ValueError, in one line, for a value that the key cannot have."""
        kind = type(value)
        if kind is not self.kind:
            raise ValueError(f"{key} = {value!r} is not {KINDS[self.kind]}; give one")
        if self.choices:
            for one in several(value) if self.many else [value]:
                choices.check(key, one, self.choices)
        elif isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{key} = {value} is not a finite number; give one")
        elif kind is int and value > LARGEST:
            raise ValueError(f"{key} = {value} is too large; use {LARGEST} or less")
        elif kind is float and abs(value) > LARGEST_FLOAT:
            raise ValueError(f"{key} = {value} is too far from 0; use -{LARGEST_FLOAT:g} to {LARGEST_FLOAT:g}")
        elif self.below is not None and kind is int:
            if not (self.least or 0) <= value < self.below:
                raise ValueError(f"{key} = {value} is out of range; use {self.allowed}")
        elif self.below is not None and not (self.least or 0.0) <= value < self.below:
            bound = "0.0" if value < 0.0 else f"a value below {self.below:g}, such as {0.9 * self.below:g}"
            raise ValueError(f"{key} = {value} is not in [{self.least or 0:g}, {self.below:g}); use {bound}")
        elif self.least is not None and value < self.least:
            fault = "is not a positive number" if self.least == 1 else "is too small"
            raise ValueError(f"{key} = {value} {fault}; use {self.least:g} or more")


Options = Mapping[str, Option]


def several(value: str) -> list[str]:
    """Names with commas between them, or with plus signs where commas have a meaning already (--vary of a sweep)."""
    return value.replace("+", ",").split(",")


def count(default: int, comment: str) -> Option:
    """How many there are of something, at least one."""
    return Option(default, comment, least=1)


def width(times: int, comment: str) -> Option:
    """A width, which is `times` model.hidden_size where nothing else is said."""
    return Option(None, comment, least=1, width=times)


def rate(comment: str) -> Option:
    """A share of what is dropped, off by default."""
    return Option(0.0, comment, least=0.0, below=1.0)


EVERY: dict[str, Option] = {
    "hidden_size": count(128, "width of the layers"),
    "num_layers": count(2, "layers; an encoder and a decoder have as many each"),
    "dropout_rate": rate("dropout between layers"),
    "tie_embeddings": Option(True, "the output layer shares the target's embeddings, and the source's where ids agree"),
    "remat": Option(False, "recompute activations in the backward pass, for long sequences; takes a third more time"),
    "dtype": Option("float32", "type of the computation; parameters are float32", choices=("float32", "bfloat16")),
}
"""The keys of every architecture."""


def flat(config: Mapping[str, Any] | ConfigDict, prefix: str = "") -> dict[str, Any]:
    """`{"attention": {"size": 4}}` -> `{"attention.size": 4}`."""
    items: dict[str, Any] = {}
    for key, value in config.items():
        inner = isinstance(value, Mapping | ConfigDict)
        items |= flat(value, f"{prefix}{key}.") if inner else {prefix + key: value}
    return items


def nested(items: Mapping[str, Any]) -> dict[str, Any]:
    """`{"attention.size": 4}` -> `{"attention": {"size": 4}}`."""
    tree: dict[str, Any] = {}
    for key, value in items.items():
        *groups, last = key.split(".")
        group = tree
        for name in groups:
            group = group.setdefault(name, {})
        group[last] = value
    return tree


def complete(options: Options, values: Mapping[str, Any]) -> dict[str, Any]:
    """A value for each of `options`: that of `values` (flat), or the default. Widths follow the width that is given."""
    hidden_size = values.get("hidden_size")
    hidden_size = hidden_size if isinstance(hidden_size, int) else EVERY["hidden_size"].default
    whole: dict[str, Any] = {}
    for key, option in options.items():
        default = option.width * hidden_size if option.width else option.default
        value = values.get(key, default)
        whole[key] = float(value) if option.kind is float and type(value) is int else value
    return whole
