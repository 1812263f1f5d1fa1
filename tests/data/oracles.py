"""An oracle for every synthetic task: it reads what a model may read, and answers by the rule on the task's page.

Written apart from the tasks, in plain Python where it can be: (task, batch) -> answers of the shape of `target_out`.
"""

import itertools

import numpy as np

from data.tasks import fuzzy_recall, induction_heads, recall, string_answer
from data.tasks.synthetic import FIRST


def look_up(task, made):
    answers = np.zeros_like(made["target_out"])
    for b, (source, queries) in enumerate(zip(made["source"], made["target_in"], strict=True)):
        pairs = {key: value for key, value in zip(source[::2], source[1::2], strict=True) if key != recall.BLANK}
        answers[b] = [pairs.get(query, 0) for query in queries]
    return answers


def keep_symbols(task, made):
    return np.stack([source[source >= FIRST + 2] for source in made["source"]])


def turn_round(task, made):
    answers = np.zeros_like(made["target_out"])
    for b, (source, mask) in enumerate(zip(made["source"], made["source_mask"], strict=True)):
        symbols = FIRST + task.mapped_V[source[mask] - FIRST]
        answers[b, : mask.sum()] = symbols[::-1] if task.reversed else symbols
        if task.spec.eos is not None:
            answers[b, mask.sum()] = task.spec.eos
    return answers


def add(task, made):
    return (made["source"][:, :, 0] * made["source"][:, :, 1]).sum(axis=1, keepdims=True)


def order(task, made):
    marked = np.stack([source[source < FIRST + 2] - FIRST for source in made["source"]])
    return marked @ [[2], [1]]


def strings(made, first):
    """Each row's symbols, from 0."""
    return [
        [int(symbol) - first for symbol in source[mask]]
        for source, mask in zip(made["source"], made["source_mask"], strict=True)
    ]


def classified(rule):
    """By a rule from a string to its class."""
    return lambda task, made: np.array([[rule(string)] for string in strings(made, FIRST)])


def rewritten(rule):
    """By a rule from a string to another."""

    def answer(task, made):
        answers = np.zeros_like(made["target_out"])
        for b, string in enumerate(strings(made, string_answer.FIRST_SYMBOL)):
            answered = rule(string)
            answers[b, : len(answered)] = np.add(answered, string_answer.FIRST_SYMBOL)
        return answers

    return answer


def changes(string):
    return sum(before != after for before, after in itertools.pairwise(string)) % 2


def walk(string):
    place = 0
    for step in string:
        place = (place + (-1, 0, 1)[step]) % 5
    return place


def calculate(string):
    return eval("".join("01234+-*"[symbol] for symbol in string)) % 5


def after_special(task, made):
    found = []
    for source in made["source"].tolist():
        assert source.count(induction_heads.SPECIAL) == 1
        found.append([source[source.index(induction_heads.SPECIAL) + 1]])
    return np.array(found)


def remember(task, made):
    """Of keys and values of one token or several; also what is asked must be all that can be told."""
    motifs = isinstance(task, fuzzy_recall.FuzzyRecall)
    keys = FIRST + (task.num_key_tokens if motifs else task.num_keys)
    values = keys + (task.num_value_tokens if motifs else task.num_values)
    answers = np.zeros_like(made["target_out"])
    for b, (source, target) in enumerate(zip(made["source"], made["target_in"], strict=True)):
        known: dict[tuple, list] = {}
        key: tuple = ()
        value: list = []
        last = np.flatnonzero(made["target_weights"][b])[-1]
        read = [*source.tolist(), *target[: last + 1].tolist()]
        for place, token in enumerate(read):
            if token < keys:
                if value or not key:
                    known.setdefault(key, value)
                    key, value = (), []
                key = (*key, token)
            elif token < values:
                value = [*value, token]
            told = known.get(key, [])[len(value) :] if token < values else []
            ended = (
                motifs and place + 1 < len(read) and read[place + 1] < keys
            )  # a longer key that begins with this one
            if place >= len(source):
                answers[b, place - len(source)] = told[0] if told and not ended else 0
        np.testing.assert_array_equal(answers[b] > 0, made["target_weights"][b] > 0)
    return answers


def by_place(task, made):
    first = FIRST + 1 + task.num_symbols
    return np.take_along_axis(made["source"], made["target_in"] - first, axis=1)


def as_taught(task, made):
    """By what training shows."""
    shown = task.batch("train", 7, np.arange(3 * task.num_keys), (task.source_length, task.length - task.source_length))
    facts = dict(zip(shown["target_in"][:, ::2].ravel(), shown["target_out"][:, 1::2].ravel(), strict=True))
    assert len(facts) == len(set(facts.values())) == task.num_keys
    return np.array([[0] + [facts.get(key, 0) for key in keys[:-1]] for keys in made["target_in"]])


def move(task, made):
    """The pieces are moved about, one permutation after the other."""
    size = {6: 3, 120: 5, 60: 5}[len(task.table_GG)]
    every = [np.array(moved) for moved in itertools.permutations(range(size))]
    if len(task.table_GG) == 60 and np.array_equal(task.table_GG, task.table_GG.T):
        every = [np.roll(np.arange(60), -turn) for turn in range(60)]
    elif len(task.table_GG) == 60:
        every = [moved for moved in every if np.linalg.det(np.eye(size)[moved]) > 0]
    number = {tuple(moved.tolist()): i for i, moved in enumerate(every)}
    answers = np.zeros_like(made["target_out"])
    for b, (source, target) in enumerate(zip(made["source"], made["target_in"], strict=True)):
        source = source[made["source_mask"][b]]
        where = np.arange(len(every[0]))  # the place of each piece
        for n, element in enumerate([*source, *target]):
            where = every[element - FIRST][where]
            if n >= len(source):
                answers[b, n - len(source)] = FIRST + number[tuple(where.tolist())]
    return answers


ORACLES = {
    "recall": look_up,
    "copying": keep_symbols,
    "selective_copying": keep_symbols,
    "reverse": turn_round,
    "adding": add,
    "temporal_order": order,
    "parity": classified(lambda string: sum(string) % 2),
    "even_pairs": classified(changes),
    "cycle_navigation": classified(walk),
    "modular_arithmetic": classified(calculate),
    "odds_first": rewritten(lambda string: string[1::2] + string[::2]),
    "duplicate_string": rewritten(lambda string: string + string),
    "bucket_sort": rewritten(sorted),
    "induction_heads": after_special,
    "noisy_recall": remember,
    "fuzzy_recall": remember,
    "compression": by_place,
    "memorization": as_taught,
    "state_tracking": move,
}
