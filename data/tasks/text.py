"""What the text tasks share: a corpus that is read late, notes, splits that a user adds, and ways between text and ids.

`Translation` (parallel text) and `Language` (running text) are the two kinds. Code that needs text checks
`isinstance(task, TextTask)`, and code that needs sources or references checks for the kind.
"""

import abc
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Generic

import numpy as np

from data.checks import integer
from data.files import Corpus, Lines
from data.spec import Spec


class TextTask(abc.ABC, Generic[Lines]):
    """Base of the text tasks: outputs can be read, and lines become ids. `data/task.py` lists the other methods."""

    chance: Mapping[str, float] = {}
    spec: Spec

    def __init__(self, config: Mapping[str, Any], corpus: Corpus[Lines]):
        self.notes: list[str] = []
        self.lowercase = bool(config["lowercase"])  # before it becomes ids; raw lines stay as they are
        self._train_examples = integer(config, "train_examples", 0, 2**31 - 1)
        self._corpus = corpus
        self._added: tuple[str, ...] = ()
        self._hashes: dict[str, str] = {}

    @property
    def splits(self) -> tuple[str, ...]:
        return (*self._corpus.splits, *self._added)

    def content_hash(self, *splits: str) -> dict[str, str]:
        for split in splits:
            self._text_of(split)
        return dict(self._hashes)

    @abc.abstractmethod
    def decode_target(self, ids: Iterable[int]) -> str:
        """The text of target ids up to the first EOS."""

    @abc.abstractmethod
    def encode_target(self, lines: Sequence[str]) -> list[np.ndarray]:
        """Int32 ids of each line."""

    @abc.abstractmethod
    def target_pieces(self, ids: Iterable[int]) -> list[str]:
        """Each id as readable text, for the axes of attention pictures."""

    def source_pieces(self, ids: Iterable[int]) -> list[str]:
        """Those of the source; nothing where there is none."""
        return []

    @abc.abstractmethod
    def _text_of(self, split: str) -> object:
        """A split's text, read and hashed at its first use."""

    def _read(self, split: str) -> Lines:
        """A split of the corpus, with its notes taken. Raises ValueError for one that it does not have."""
        if split not in self.splits:
            raise ValueError(f"split = {split!r} is not in this data; choose from {', '.join(self.splits)}")
        read = self._corpus.read(split)
        self._note(read.notes)
        return read

    def _most(self, split: str) -> int | None:
        """How many lines or documents of a split are used; None for all."""
        return self._train_examples or None if split == "train" else None

    def _normalized(self, lines: Sequence[str]) -> list[str]:
        return [line.lower() for line in lines] if self.lowercase else list(lines)

    def _note(self, notes: Sequence[str]) -> None:
        self.notes += [note for note in notes if note not in self.notes]
