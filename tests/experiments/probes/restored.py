"""Untrained runs for probes, small enough to be measured in a second."""

from typing import Any

import jax

import data
import models
from tests.training import runs
from training.run.restore import Restored


def restored(task: str, model: str, **values: Any) -> Restored:
    """What `training.run.restore.restore` would give of a run that has not begun."""
    config = runs.config(task, model, **values)
    built = data.build(config.task, config.data)
    return Restored(config, built, models.build(model, config.model, built.spec, jax.random.key(config.seed)), 0)
