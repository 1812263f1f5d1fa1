"""Cases of the benchmark so small that a program steps through them at once."""

from typing import Any

from benchmarks import suites
from benchmarks.compare import Comparison

CHOICE: dict[str, Any] = {"peers": True, "data": None, "run": None}


def case(name: str, *, tiny: bool = True, seconds: float | None = None, **choice) -> Comparison:
    """The comparison of that name, in little."""
    return suites.as_asked(suites.known(**CHOICE | choice)[name][-1], seconds=seconds, tiny=tiny)
