"""Corpora from TensorFlow Datasets without TensorFlow: ArrayRecord files read as random-access sources.

`data.dir` is where TFDS keeps prepared data sets (empty: its default), or the folder of one prepared data
set. What TFDS cannot prepare here ends in one line that says how to prepare it on another machine.
"""

import difflib
import importlib.util
import re
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from data.files import Parallel, Text, data_dir, drop_blank
from data.multi30k_builder import Multi30k

# It would ask a server, which TFDS does no more, and each time leaves an empty folder in /tmp.
setattr(tfds.core.DatasetInfo, "initialize_from_bucket", lambda info: None)  # noqa: B010

MORE = "raise data.train_examples, or choose another data set"
HELD_OUT = "99%"  # of the training split, where a data set has no validation split


class NotThere(ValueError):
    """A data set that is not prepared, and cannot be here."""


class TfdsParallel:
    """A prepared TFDS translation data set as a corpus (`data/files.py`).

    Of training, the first `train_examples` rows are read; 0 for all.
    """

    def __init__(
        self, builder: tfds.core.DatasetBuilder, source_language: str, target_language: str, train_examples: int = 0
    ):
        languages = sorted(getattr(builder.info.features, "languages", ()))
        for key, language in (("source", source_language), ("target", target_language)):
            if language not in languages:
                raise ValueError(
                    f"data.{key}_language = {language!r} is not in {builder.info.full_name}; "
                    f"choose from {', '.join(languages)}"
                )
        self._builder, self._languages = builder, (source_language, target_language)
        self._train_examples = train_examples
        self._parts = parts(builder)
        self.splits = tuple(self._parts)

    def read(self, split: str) -> Parallel:
        rows = read_rows(self._builder, self._parts[split], self._train_examples if split == "train" else 0)
        source, target = ([text(row[language]).strip() for row in rows] for language in self._languages)
        where = f"{self._builder.info.full_name} {split}"
        kept, notes = drop_blank(source, target, where)
        if not kept:
            raise ValueError(f"{where}: none of {len(rows)} pairs has text on both sides; {MORE}")
        return Parallel([source[i] for i in kept], [target[i] for i in kept], notes)


class TfdsText:
    """A prepared TFDS text data set as documents (`data/files.py`); `train_examples` as above."""

    def __init__(self, builder: tfds.core.DatasetBuilder, feature: str, train_examples: int = 0):
        if feature not in builder.info.features:
            raise ValueError(
                f"data.feature = {feature!r} is not in {builder.info.full_name}; "
                f"choose from {', '.join(builder.info.features)}"
            )
        self._builder, self._feature, self._train_examples = builder, feature, train_examples
        self._parts = parts(builder)
        self.splits = tuple(self._parts)

    def read(self, split: str) -> Text:
        rows = read_rows(self._builder, self._parts[split], self._train_examples if split == "train" else 0)
        documents = [text(row[self._feature]) for row in rows]
        kept = [document for document in documents if document.strip()]
        skipped = len(documents) - len(kept)
        where = f"{self._builder.info.full_name} {split}"
        if not kept:
            raise ValueError(f"{where}: none of {len(rows)} documents has text; {MORE}")
        return Text(kept, [f"{where}: {skipped} of {len(documents)} documents skipped as blank"] if skipped else [])


def prepared(name: str, folder: str) -> tfds.core.DatasetBuilder:
    """The builder of data set `name` with its files in place, downloaded and prepared where they are not.

    Raises FileNotFoundError where `folder` is not there, ValueError where the data set is unknown, cannot
    be downloaded, cannot be prepared without TensorFlow, or is there in a format other than ArrayRecord.
    """
    if folder:
        data_dir(folder, "TFDS data sets, or make it")
    if folder and (Path(folder) / "dataset_info.json").is_file():
        builder = tfds.builder_from_directory(folder)
    else:
        builder = _builder(name, folder)
        if not (builder.info.splits and Path(builder.data_dir).is_dir()):
            _prepare(builder, name)
    try:
        builder.as_data_source(split=next(iter(builder.info.splits)))
    except Exception as error:
        raise ValueError(
            f"data.dir = {builder.data_dir} cannot be read without TensorFlow ({_short(error)}); {_elsewhere(name)}"
        ) from None
    return builder


def multi30k_corpus(folder: str, source_language: str, target_language: str, train_examples: int = 0) -> TfdsParallel:
    return TfdsParallel(prepared("multi30k", folder), source_language, target_language, train_examples)


def parts(builder: tfds.core.DatasetBuilder) -> dict[str, str]:
    """TFDS split expressions by this project's names: train, val, and the others as they are called there."""
    names = list(builder.info.splits)
    found = {"val" if name == "validation" else name: name for name in names}
    if "train" not in found:
        raise ValueError(f"{builder.info.full_name} has no training split, only {', '.join(names)}")
    if "val" not in found:
        found |= {"train": f"train[:{HELD_OUT}]", "val": f"train[{HELD_OUT}:]"}
    return {split: found[split] for split in ("train", "val", *(n for n in found if n not in ("train", "val")))}


def read_rows(builder: tfds.core.DatasetBuilder, part: str, most: int = 0) -> Sequence[dict[str, Any]]:
    """The rows of a part, or the first `most` of them: of a large data set, a few are read at once."""
    source = builder.as_data_source(split=part)
    return source.__getitems__(range(min(len(source), most or len(source))))


def text(value: bytes | str) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def _builder(name: str, folder: str) -> tfds.core.DatasetBuilder:
    options: dict[str, Any] = {"data_dir": folder or None, "file_format": "array_record"}
    if name == "multi30k":
        return Multi30k(**options)
    base = name.split("/")[0].split(":")[0]
    if re.match(r"wmt", base):  # TFDS without TensorFlow knows these only after their module is imported
        module = f"tensorflow_datasets.translate.{base.removesuffix('_translate')}"
        if importlib.util.find_spec(module):
            importlib.import_module(module)
    try:
        return tfds.builder(name, **options)
    except Exception as error:  # TFDS raises many kinds, from unknown names to missing packages
        known = tfds.list_builders(with_community_datasets=False)  # those would ask a server
        near = difflib.get_close_matches(base, known, n=1)
        if base in known:
            raise ValueError(f"data.name = {name!r} cannot be built ({_short(error)}); {_elsewhere(name)}") from None
        hint = f"did you mean {near[0]}?" if near else "see https://www.tensorflow.org/datasets/catalog"
        raise ValueError(f"data.name = {name!r} is no TFDS data set; {hint}") from None


def _prepare(builder: tfds.core.DatasetBuilder, name: str) -> None:
    unreachable = _unreachable(builder)
    if unreachable:
        raise NotThere(f"data.name = {name!r} cannot be downloaded here ({unreachable}); {_elsewhere(name)}")
    try:
        builder.download_and_prepare(file_format="array_record")
    except OSError as error:
        if isinstance(error, ConnectionError) or type(error).__module__.startswith(("requests", "urllib3")):
            raise NotThere(
                f"data.name = {name!r} cannot be downloaded here ({_short(error)}); {_elsewhere(name)}"
            ) from None
        raise
    except Exception as error:  # whatever a builder's own code runs into
        needs = isinstance(error, ImportError) and "tensorflow" in str(error)
        why = "without TensorFlow" if needs else "here"
        raise NotThere(f"data.name = {name!r} cannot be prepared {why} ({_short(error)}); {_elsewhere(name)}") from None


def _unreachable(builder: tfds.core.DatasetBuilder) -> str:
    """Why the data set's server cannot be reached, or "": TFDS itself would try for minutes."""
    urls = [url for url in getattr(builder, "urls", None) or builder.url_infos if url.startswith("http")]
    if not urls:
        return ""
    try:
        urllib.request.urlopen(urllib.request.Request(urls[0], method="HEAD"), timeout=20).close()
    except urllib.error.HTTPError:
        return ""  # the server answers; what it answers is the download's to judge
    except OSError as error:
        return f"{urls[0]}: {_short(error)}"
    return ""


def _elsewhere(name: str) -> str:
    if name == "multi30k":
        return "point data.dir at a folder that holds train.de.gz, train.en.gz, val.de.gz and so on"
    return (
        f"on a machine with network and TensorFlow run "
        f"`tfds build {name} --file_format=array_record --data_dir=FOLDER`, copy FOLDER here, set data.dir=FOLDER"
    )


def _short(error: BaseException) -> str:
    words = f"{type(error).__name__}: {error}".split()
    return " ".join(words)[:200]
