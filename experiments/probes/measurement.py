"""What a probe is, and what it returns."""

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple


class Measurement(NamedTuple):
    """One number of one model; `experiments/analysis/table.py` says what the fields mean."""

    measure: str
    value: float
    place: float = math.nan
    part: str = ""
    answers: float = math.nan


Probe = Callable[..., Iterable[Measurement]]
"""A function of a model with its task, at any step: `PROBES[name](run, **options)`.

`run` is a `training.run.restore.Restored`: `config`, `task`, `model` (with the parameters to measure) and
`step`. The probe changes none of them.
"""
