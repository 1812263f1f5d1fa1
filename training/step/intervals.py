"""Which actions are due after a step."""

from typing import NamedTuple

from ml_collections import ConfigDict


class Due(NamedTuple):
    log: bool  # a row of training; before an evaluation and a checkpoint there always is one
    eval: bool
    save: bool


def due(every: ConfigDict, steps: int, done: int) -> Due:
    """The actions after step `done` of `steps`; after the last step, all of them. `every` is the config's."""
    last = done == steps
    evaluating, saving = last or done % every.eval == 0, last or done % every.save == 0
    return Due(evaluating or saving or done % every.log == 0, evaluating, saving)
