"""Tasks on strings, by the examples of the paper's page and by all strings of up to five symbols."""

import itertools

import numpy as np
import pytest

from data import TASKS
from data.tasks.modular_arithmetic import MODULUS
from data.tasks.string_answer import StringAnswer
from data.tasks.string_class import StringClass
from tests.data.oracles import calculate, changes, walk

SIZES = {"min_length": 1, "max_length": 5, "long_length": 0, "val_examples": 8, "test_examples": 8, "num_symbols": 3}

CLASSES = [
    ("parity", "1010100", 1),
    ("parity", "01111", 0),
    ("even_pairs", "001110", 0),
    ("even_pairs", "0101001", 1),
    ("even_pairs", "1", 0),
    ("cycle_navigation", ">< <<", 3),  # one forward, one back, stay, two back
    ("cycle_navigation", ">>><", 2),
    ("modular_arithmetic", "1+2*3", 2),
    ("modular_arithmetic", "1-1-1", 4),
    ("modular_arithmetic", "0*1+4*3-2", 0),
    ("modular_arithmetic", "2-3*4", 0),
    ("modular_arithmetic", "4", 4),
]
ALPHABETS = {"parity": "01", "even_pairs": "01", "cycle_navigation": "< >", "modular_arithmetic": "01234+-*"}


def make(name, **changes):
    return TASKS[name]({**SIZES, **changes})


@pytest.mark.parametrize(("name", "string", "answer"), CLASSES)
def test_classes_by_hand(name, string, answer):
    task = make(name)
    assert isinstance(task, StringClass)
    symbols = [ALPHABETS[name].index(character) for character in string]
    noise = [1] * 4  # what lies behind the string does not count
    assert task.classes(np.array([symbols + noise]), np.array([len(symbols)])) == [answer]


@pytest.mark.parametrize(
    ("name", "string", "answer", "distance"),
    [
        ("odds_first", "01201", "10021", [4, 3, 7, 6, 5]),
        ("duplicate_string", "120", "120120", [3, 3, 3, 6, 6, 6]),
        ("bucket_sort", "2011012", "0011122", [-1] * 7),
    ],
)
def test_answers_by_hand(name, string, answer, distance):
    task = make(name)
    assert isinstance(task, StringAnswer)
    symbols, length = np.array([[int(character) for character in string + "01"]]), np.array([[len(string)]])
    places = task.order(symbols, length, np.arange(symbols.shape[1] * task.copies))[0, : len(answer)]
    assert "".join(str(symbol) for symbol in symbols[0, places]) == answer
    made = TASKS[name]({**SIZES, "min_length": len(string), "max_length": len(string)}).batch(
        "val", 0, np.arange(1), (len(string), len(answer))
    )
    assert made["distance"].tolist() == [distance]


def expressions(length):
    parts = [range(MODULUS, MODULUS + 3) if n % 2 else range(MODULUS) for n in range(length - 1 + length % 2)]
    return itertools.product(*parts)


ALL = {
    "even_pairs": (lambda length: itertools.product(range(2), repeat=length), changes),
    "cycle_navigation": (lambda length: itertools.product(range(3), repeat=length), walk),
    "modular_arithmetic": (expressions, calculate),
}


@pytest.mark.parametrize("low", [1, 3])
@pytest.mark.parametrize("name", sorted(ALL))
def test_chance_is_that_of_all_strings(name, low):
    task, (strings, rule) = make(name, min_length=low), ALL[name]
    share_C = np.zeros(task.num_classes)
    for length in range(low, 6):
        found = np.bincount([rule(string) for string in strings(length)], minlength=task.num_classes)
        share_C += found / found.sum() / (6 - low)
    np.testing.assert_allclose(task.shares(), share_C, atol=1e-12)
    assert task.chance["token_accuracy"] == pytest.approx(share_C.max())
    assert task.chance["loss"] == pytest.approx(-(share_C * np.log(share_C)).sum())


@pytest.mark.parametrize("low", [1, 3])
def test_chance_of_sorting_is_that_of_all_strings(low):
    task = make("bucket_sort", min_length=low)
    share_TK = np.zeros((5, 3))
    for length in range(low, 6):
        for string in itertools.product(range(3), repeat=length):
            share_TK[np.arange(length), sorted(string)] += 1 / 3**length
    total = share_TK.sum()
    assert total == pytest.approx(sum(range(low, 6)))
    assert task.chance["token_accuracy"] == pytest.approx(share_TK.max(axis=1).sum() / total)
    here_TK = share_TK / share_TK.sum(axis=1, keepdims=True)
    surprise = -(share_TK * np.log(np.where(share_TK > 0, here_TK, 1))).sum()
    assert task.chance["loss"] == pytest.approx(surprise / total)
