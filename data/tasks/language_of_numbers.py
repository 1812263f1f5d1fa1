"""The language of numbers: numbers in words to digits, and back, and from language to language.

Real text without a download, as much of it as one wants, and every reference is exact. The words are those of the
library num2words. Dims: N examples.

    source    two thousand and twenty-six          or, where there are several target languages:    fr 2026
    target    2026                                                                                  deux mille vingt-six

`source_languages` and `target_languages` name one or several of LANGUAGES, with commas; an example draws one of each,
never the same. Numbers have `min_digits` to `max_digits` digits, each equally often; `long_digits` above max_digits
adds the split `test_long` of longer ones. These ask for no new word where `max_digits` is 4 or 7 and `long_digits` two
more: thousand and million are known by then. No number of val or test is in training, in any language; numbers below
1,000, of which the others are made, are in training alone.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data import checks, random
from data.files import Parallel
from data.tasks.synthetic import SHARES
from data.tasks.translation import Translation

DIGITS = "digits"
LANGUAGES = (DIGITS, "cs", "de", "en", "es", "fi", "fr", "it", "nl", "pl", "pt", "ru", "sv", "tr")
LARGEST_KNOWN = 3  # digits of the numbers that are for training alone
MOST_DIGITS = 15  # what a float64 holds exactly


class Numbers:
    """A corpus (`data/files.py`) of numbers, drawn by (split, index)."""

    def __init__(self, config: Mapping[str, Any]):
        self._sources, self._targets = (languages(config, f"{side}_languages") for side in ("source", "target"))
        for source in self._sources:
            if set(self._targets) == {source}:
                raise ValueError(
                    f"data.target_languages = {source} is a source language too; choose from {', '.join(LANGUAGES)}"
                )
        self._low = checks.integer(config, "min_digits", 1, MOST_DIGITS)
        why = "data.min_digits, and numbers below 1,000 are for training alone"
        self._high = checks.integer(config, "max_digits", max(self._low, LARGEST_KNOWN + 1), MOST_DIGITS, why)
        self._long = checks.integer(config, "long_digits", 0, MOST_DIGITS)
        if 0 < self._long <= self._high:
            raise ValueError(
                f"data.long_digits = {self._long} is no more than data.max_digits = {self._high}; use more, or 0"
            )
        self._sizes = {split: checks.integer(config, f"{split}_examples", 1) for split in ("train", "val", "test")}
        if self._long:
            self._sizes["test_long"] = self._sizes["test"]

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self._sizes)

    def numbers(self, split: str) -> np.ndarray:
        """(N,) int64. A number that belongs to another split is drawn again, with as many digits."""
        low, high = (self._high + 1, self._long) if split == "test_long" else (self._low, self._high)
        if split != "train":
            low = max(low, LARGEST_KNOWN + 1)
        index_N = np.arange(self._sizes[split])
        least_N = 10 ** (low - 1 + random.even(index_N, high - low + 1))
        number_N, attempt = np.full(len(index_N), -1), 0
        while len(open_N := np.flatnonzero(number_N < 0)):
            key_N, least = random.keys(attempt, self.splits.index(split), open_N), least_N[open_N]
            drawn_N = least + (random.uniform(key_N, 1, 1)[:, 0] * 9 * least).astype(np.int64)
            number_N[open_N] = np.where(belongs(split, drawn_N), drawn_N, -1)
            attempt += 1
        return number_N

    def read(self, split: str) -> Parallel:
        number_N = self.numbers(split)
        key_N = random.keys(0, len(self.splits) + self.splits.index(split), np.arange(len(number_N)))
        pick_N2 = random.uniform(key_N, 1, 2).tolist()
        source, target = [], []
        for number, (first, second) in zip(number_N.tolist(), pick_N2, strict=True):
            from_language = self._sources[int(first * len(self._sources))]
            others = [language for language in self._targets if language != from_language]
            to_language = others[int(second * len(others))]
            asked = f"{to_language} " if len(self._targets) > 1 else ""
            source.append(asked + spell(number, from_language))
            target.append(spell(number, to_language))
        return Parallel(source, target, [])


def belongs(split: str, number_N: np.ndarray) -> np.ndarray:
    """(N,) bool: val owns one share of the numbers from 1,000 on, the test splits another, training the rest."""
    share_N = random.content_hash(number_N[:, None]) % np.uint64(SHARES)
    if split == "train":
        return (share_N > 1) | (number_N < 10**LARGEST_KNOWN)
    return share_N == (0 if split == "val" else 1)


def spell(number: int, language: str) -> str:
    """The number in words of a language, or in digits."""
    if language == DIGITS:
        return str(number)
    import num2words  # imports every language that it has

    return num2words.num2words(number, lang=language)


def languages(config: Mapping[str, Any], key: str) -> Sequence[str]:
    """The languages that a config names, with commas. Raises ValueError for an unknown one, and for none."""
    named = [name.strip() for name in str(config[key]).split(",")]
    for name in named:
        checks.one_of(f"data.{key}", name, LANGUAGES)
    return named


def language_of_numbers(config: Mapping[str, Any], tokenizer_dir: str | Path | None = None) -> Translation:
    """Raises ValueError for languages and digits that do not go together."""
    return Translation(config, Numbers(config), tokenizer_dir)
