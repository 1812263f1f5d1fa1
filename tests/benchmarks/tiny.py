"""Cases of the benchmark so small that a program steps through them at once."""

from argparse import Namespace

from benchmarks import suites
from benchmarks.compare import Comparison

CHOICE = {"peers": True, "data": None, "run": None, "tiny": True, "seconds": None}


def case(name: str, **choice) -> Comparison:
    """The comparison of that name, in little."""
    options = Namespace(**CHOICE | choice)
    known = suites.known(options)
    return suites.as_asked(known[name][-1], options)
