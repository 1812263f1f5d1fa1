"""The outcome of a claim, and the effects behind it."""

import dataclasses
import enum


class Outcome(enum.StrEnum):
    SUPPORTED = "supported"
    WITHIN_LIMITS = "supported within limits"
    NOT_SUPPORTED = "not supported"
    UNDECIDED = "undecided"


@dataclasses.dataclass(frozen=True)
class Effect:
    """One comparison behind a finding: its size with a 95 % interval over seeds, and sentences where there are some."""

    name: str
    says: str  # holds, fails, open, not run, or why it says nothing
    size: float
    low: float
    high: float
    seeds: int
    p: float | None = None  # of the test that decided, corrected for the comparisons of the finding
    more_seeds: int | None = None  # how many in all would decide, where it is open; None: no number would
    sentences: tuple[float, float] | None = None  # 95 % of resamples of the sentences, with these seeds


@dataclasses.dataclass(frozen=True)
class Finding:
    """What became of one claim."""

    claim: str  # its number, C1
    statement: str
    outcome: Outcome
    because: str  # a sentence with the numbers that decide
    effects: tuple[Effect, ...]
    seeds_to_decide: int | None = None  # where undecided
