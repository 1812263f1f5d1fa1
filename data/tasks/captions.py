"""One language of Multi30k, as running text: each caption is a document."""

from collections.abc import Mapping
from typing import Any

from data.checks import choice
from data.files import Corpus, Parallel, Text
from data.tasks import multi30k


class Captions:
    """A corpus (`data/files.py`) of one side of another."""

    def __init__(self, corpus: Corpus[Parallel]):
        self._corpus = corpus

    @property
    def splits(self) -> tuple[str, ...]:
        return self._corpus.splits

    def read(self, split: str) -> Text:
        read = self._corpus.read(split)
        return Text(read.source, read.notes)


def captions(config: Mapping[str, Any]) -> Captions:
    """The captions in `data.language`, from where `data.dir` says (`data/tasks/multi30k.py`)."""
    language = choice(config, "language", multi30k.LANGUAGES)
    other = next(name for name in ("en", "de") if name != language)
    return Captions(multi30k.corpus({"dir": config["dir"], "source_language": language, "target_language": other}))
