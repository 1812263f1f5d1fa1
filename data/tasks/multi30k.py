"""Multi30k (Elliott et al. 2016): from a folder of raw files, or through its TFDS builder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data.checks import choice, integer
from data.files import Corpus, LateCorpus, Parallel, find_parallel
from data.tasks.translation import Translation, parallel_files

LANGUAGES = ("de", "en", "fr")


def multi30k(config: Mapping[str, Any], tokenizer_dir: str | Path | None = None) -> Translation:
    """Raises as `corpus`."""
    return Translation(config, corpus(config, integer(config, "train_examples", 0, 2**31 - 1)), tokenizer_dir)


def corpus(config: Mapping[str, Any], train_examples: int = 0) -> Corpus[Parallel]:
    """`data.dir` with `train.de[.gz]`, ... is read as it is; otherwise `data.dir` is where TFDS keeps its
    prepared data sets (empty: its default), and the data are downloaded and prepared there on first use.

    `train_examples` reads no more of them through TFDS (0: all). Raises ValueError for an unknown or repeated
    language, and when it is first read FileNotFoundError where `data.dir` does not exist.
    """
    source, target = choice(config, "source_language", LANGUAGES), choice(config, "target_language", LANGUAGES)
    if source == target:
        raise ValueError(f"data.target_language = {target} is the source language too; choose from {LANGUAGES}")

    def open_corpus() -> Corpus[Parallel]:
        paths = find_parallel(config["dir"], source, target) if config["dir"] else {}
        if paths or _holds_text(config["dir"]):
            return parallel_files(config, paths)
        from data.tfds_source import NotThere, multi30k_corpus  # imports tensorflow_datasets

        try:
            return multi30k_corpus(config["dir"], source, target, train_examples)
        except NotThere as error:
            if not config["dir"]:
                raise
            missing = f"data.dir = {config['dir']} has no train.{source}[.gz], and no data set of TFDS"
            raise ValueError(f"{missing}; {error}") from None

    return LateCorpus(open_corpus)


def _holds_text(folder: str) -> bool:
    """Whether some raw file exists, so that a missing one beside it is the mistake to report."""
    return bool(folder) and any(found for language in LANGUAGES for found in Path(folder).glob(f"train.{language}*"))
