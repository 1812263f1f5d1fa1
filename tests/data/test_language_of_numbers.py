"""The language of numbers: exact references, disjoint splits, languages by name."""

import numpy as np
import pytest

from data import build
from data.tasks import language_of_numbers
from data.tasks.language_of_numbers import DIGITS, LANGUAGES, MOST_DIGITS, Numbers, spell
from data.tasks.translation import Translation
from training.command import cli

SMALL = {"train_examples": 200, "val_examples": 40, "test_examples": 40}


def config(setting: str = "small", **values):
    made = cli.load(f"configs/language_of_numbers.py:gru,{setting}").data
    made.update({**SMALL, **values})
    return made


ONES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
TEENS = ("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen")
TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


def english(number: int) -> str:
    """Written from the rules of English, apart from the library."""
    if number < 20:
        return (*ONES, *TEENS)[number]
    if number < 100:
        return TENS[number // 10 - 2] + (f"-{ONES[number % 10]}" if number % 10 else "")
    if number < 1000:
        return f"{ONES[number // 100]} hundred" + (f" and {english(number % 100)}" if number % 100 else "")
    name, size = next((name, size) for name, size in (("million", 10**6), ("thousand", 10**3)) if number >= size)
    rest = number % size
    link = " and " if rest < 100 else ", "
    return f"{english(number // size)} {name}" + (f"{link}{english(rest)}" if rest else "")


def test_the_words_are_english():
    numbers = [*range(200), *np.random.default_rng(0).integers(0, 10**9, 200).tolist(), 1_000_001, 20_100, 300_020]
    assert [spell(number, "en") for number in numbers] == [english(number) for number in numbers]


@pytest.mark.parametrize(
    ("language", "number", "words"),
    [
        ("de", 21, "einundzwanzig"),
        ("de", 2026, "zweitausendsechsundzwanzig"),
        ("fr", 71, "soixante et onze"),
        ("fr", 2026, "deux mille vingt-six"),
        ("es", 2026, "dos mil veintiséis"),
        ("nl", 21, "eenentwintig"),
        ("tr", 99, "doksandokuz"),
        (DIGITS, 2026, "2026"),
    ],
)
def test_words_of_other_languages(language, number, words):
    assert spell(number, language) == words


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_two_numbers_have_the_same_words(language):
    drawn = np.random.default_rng(1).integers(0, 10 ** np.arange(4, MOST_DIGITS + 1).repeat(15))
    numbers = {*range(300), *drawn.tolist(), *(10**n for n in range(MOST_DIGITS))}
    words = {spell(number, language) for number in numbers}
    assert len(words) == len(numbers)
    assert all(word == word.strip() and "\n" not in word for word in words)


@pytest.mark.parametrize("setting", ["small", "to_words", "from_many", "to_many", "de_en"])
def test_every_reference_is_exact(setting):
    task = build("language_of_numbers", config(setting))
    assert isinstance(task, Translation) and task.splits == ("train", "val", "test", "test_long")
    for split in task.splits:
        german = {spell(number, "de"): number for number in numbers(split)}
        pairs = list(zip(task.source_text(split), task.target_text(split), strict=True))
        for source, target in pairs:
            if setting == "to_many":
                language, _, digits = source.partition(" ")
                assert spell(int(digits), language) == target
            elif setting == "from_many":
                assert any(source == spell(int(target), language) for language in LANGUAGES[1:])
            elif setting == "de_en":
                assert target == english(german[source])
            else:
                words, digits = (source, target) if setting == "small" else (target, source)
                assert words == english(int(digits))
        shape = task.lengths(split).max(axis=0)
        made = task.batch(split, 0, np.array([3]), tuple(shape))
        assert task.decode_target(made["target_out"][0]) == pairs[3][1]


def numbers(split: str, **values) -> list[int]:
    return Numbers(config(**values)).numbers(split).tolist()


def test_splits_share_no_number_and_lengths_are_dealt_out_evenly():
    size = {"train_examples": 20_000, "val_examples": 1500, "test_examples": 1500}
    drawn = {split: numbers(split, **size) for split in ("train", "val", "test", "test_long")}
    for split, others in drawn.items():
        digits = np.bincount([len(str(number)) for number in others], minlength=10)
        low, high = {"train": (1, 7), "test_long": (8, 9)}.get(split, (4, 7))
        assert digits[low : high + 1].min() > 0.98 * len(others) / (high + 1 - low) and digits.sum() == len(others)
        for other in drawn.keys() - {split}:
            assert not set(others) & set(drawn[other])
    assert set(range(1, 100)) <= set(drawn["train"]) and len(set(range(1000)) & set(drawn["train"])) > 900
    few = numbers("train", **(size | {"train_examples": 100}))
    assert few == drawn["train"][:100]  # an example is a function of its index


def test_several_target_languages_are_named_in_the_source():
    corpus = Numbers(config(source_languages="digits,en", target_languages="de,en,digits"))
    asked = [line.split(" ")[0] for line in corpus.read("train").source]
    assert {language: asked.count(language) > 40 for language in asked} == {"de": True, "en": True, DIGITS: True}
    for source, target in zip(*corpus.read("val")[:2], strict=True):
        assert target not in source  # never a language to itself


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source_languages": "xx"}, "data.source_languages = 'xx' is not known"),
        ({"source_languages": "digits"}, "data.target_languages = digits is a source language too"),
        ({"source_languages": "en,digits"}, "data.target_languages = digits is a source language too"),
        ({"max_digits": 3}, "data.max_digits = 3 is out of range; use a whole number from 4 to 15"),
        ({"min_digits": 8}, "data.max_digits = 7"),
        ({"long_digits": 7}, "data.long_digits = 7 is no more than data.max_digits = 7"),
        ({"train_examples": 0}, "data.train_examples = 0"),
    ],
)
def test_a_bad_value_is_named_in_one_line(changes, message):
    with pytest.raises(ValueError) as error:
        language_of_numbers.language_of_numbers(config(**changes))
    assert message in str(error.value) and "\n" not in str(error.value)
