"""What a probe is, and what it returns."""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from models import flops
from models.contract import Architecture, Spec


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


def of_model(model: Architecture, spec: Spec, part: str = "") -> Iterator[Measurement]:
    """Work and state of a model, from shapes alone (`models/flops.py`)."""
    tokens = spec.max_source_length + spec.max_target_length
    yield Measurement("flops_per_token", flops.forward(model, spec) / tokens, part=part)
    if model.decodes:
        yield Measurement("state_bytes", flops.state_bytes(model, spec), part=part)
