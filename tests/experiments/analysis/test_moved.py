"""What is said of two tables: means that moved by more than their interval, and nothing of the others."""

import math

from pandas import DataFrame

from experiments.analysis import moved
from experiments.analysis.table import of_rows


def of(values: dict[tuple[str, str, float], list[float]], tuned: float = math.nan) -> DataFrame:
    return of_rows(
        {"run": run, "measure": measure, "part": "", "place": place, "step": math.nan, "tuned": tuned}
        | {"seed": seed, "value": value}
        for (run, measure, place), those in values.items()
        for seed, value in enumerate(those)
    )


NEAR, FAR = ("gru", "accuracy", 1.0), ("gru", "accuracy", 9.0)
SIZE, TIME = ("gru", "num_params", math.nan), ("gru", "training_seconds", math.nan)
BEFORE = {NEAR: [0.9, 0.91, 0.92], FAR: [0.1, 0.11, 0.12], SIZE: [5, 5, 5], TIME: [1, 1, 1]}


def test_the_same_again_has_moved_nowhere():
    assert moved.lines(of(BEFORE), of(BEFORE)) == ["0 of 4 means moved by more than their 95 % interval"]
    within = of({**BEFORE, NEAR: [0.92, 0.92, 0.92]})
    assert moved.lines(of(BEFORE), within) == ["0 of 4 means moved by more than their 95 % interval"]


def test_what_moved_is_named_with_its_farthest_place():
    after = of({**BEFORE, NEAR: [0.8, 0.8, 0.8], FAR: [0.9, 0.9, 0.9], SIZE: [6, 6, 6], TIME: [9, 9, 9]})
    size, accuracy, count = moved.lines(of(BEFORE), after, ("training_seconds",))
    assert size == "moved: gru: num_params: 5 [5, 5] -> 6"
    assert accuracy == "moved: gru: accuracy at 9 and 1 more places: 0.11 [0.08516, 0.1348] -> 0.9"
    assert count == "3 of 3 means moved by more than their 95 % interval"


def test_seeds_that_one_of_them_lacks_are_left_out():
    fewer = of({NEAR: [0.9], FAR: [0.5, 0.5]})
    said = moved.lines(of(BEFORE), fewer)
    assert "accuracy at 9: 0.105 [" in said[0]
    count, single, part = said[-1].split("; ")
    assert count == "1 of 2 means moved by more than their 95 % interval" and single == "1 of one seed have no interval"
    assert part == "only 2 of 3 runs are compared"


def test_another_chosen_value_is_told():
    assert "gru: tuned" in moved.lines(of({NEAR: [1, 1]}, 0.1), of({NEAR: [1, 1]}, 0.2))[0]


def test_what_is_not_a_number_in_both_has_not_moved():
    nan = {NEAR: [math.nan, math.nan]}
    assert moved.lines(of(nan), of(nan)) == ["0 of 0 means moved by more than their 95 % interval"]
    assert "-> nan" in moved.lines(of(BEFORE), of({**BEFORE, NEAR: [math.nan] * 3}))[0]
