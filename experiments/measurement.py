"""What a probe is, and what it gives."""

import math
from collections.abc import Iterable
from typing import NamedTuple, Protocol

from training.restore import Restored


class Measurement(NamedTuple):
    """One number of one model; `experiments/table.py` says what the fields mean."""

    measure: str
    value: float
    place: float = math.nan
    part: str = ""
    count: float = math.nan


class Probe(Protocol):
    """A function of a model with its task, at any step: `PROBES[name](run, **options)`.

    `run` has `config`, `task`, `model` (with the parameters to measure) and `step`. The probe changes none of them.
    """

    __module__: str

    def __call__(self, run: Restored, **options) -> Iterable[Measurement]: ...
