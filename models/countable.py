"""Where products are counted (`models/flops.py`), nothing may hide them: no loop over tiles, no kernel of a vendor."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_countable = ContextVar("countable", default=False)


def is_countable() -> bool:
    """Whether the program that is being traced is one to be counted."""
    return _countable.get()


@contextmanager
def countable() -> Iterator[None]:
    """Within, attention and cells are traced as plain products and scans."""
    before = _countable.set(True)
    try:
        yield
    finally:
        _countable.reset(before)
