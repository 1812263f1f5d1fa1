"""Sizes that no machine holds are refused before anything of that size is made."""

import time

import numpy as np
import pytest

import data
from data import checks
from tests.training import runs
from training.command import cli


def whole_numbers():
    for task in sorted(runs.TASKS):
        values = cli.load(f"configs/{task}.py:gru").data
        yield from ((task, key) for key in values if type(values[key]) is int)


@pytest.mark.parametrize(("task", "key"), list(whole_numbers()))
def test_sizes_beyond_any_machine_are_refused_at_once(task, key):
    config = runs.config(task, "gru", **{f"data__{key}": 10**9})
    with pytest.raises(ValueError, match=rf"^data\.{key} = 1000000000 is (too large|out of range); use .* [0-9]+"):
        data.build(task, config.data)


@pytest.mark.parametrize(
    ("task", "key"), [("recall", "target_length"), ("reverse", "max_length"), ("adding", "length")]
)
def test_the_largest_that_are_taken_can_be_made(task, key):
    config = runs.config(task, "gru", **{f"data__{key}": checks.LARGEST})
    begun = time.monotonic()
    made = data.build(task, config.data)
    made.batch("train", 0, np.arange(2), (made.spec.max_source_length, made.spec.max_target_length))
    assert time.monotonic() - begun < 60  # where it was quadratic, for ever
