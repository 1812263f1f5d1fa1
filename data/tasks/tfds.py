"""Any TFDS translation or text data set by name, such as ted_hrlr_translate/pt_to_en, wmt14_translate/de-en
or lm1b."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data.checks import integer
from data.tasks.language import Language
from data.tasks.translation import Translation


def tfds(config: Mapping[str, Any], tokenizer_dir: str | Path | None = None) -> Translation | Language:
    """`data.name` as translation where it has languages, else as a language model of its feature `data.feature`.

    Empty languages mean the data set's own direction. Raises as `data.tfds_source.prepared`.
    """
    from data.tfds_source import TfdsParallel, TfdsText, prepared  # imports tensorflow_datasets

    train_examples = integer(config, "train_examples", 0, 2**31 - 1)
    builder = prepared(config["name"], config["dir"])
    if not getattr(builder.info.features, "languages", None):
        return Language(config, TfdsText(builder, config["feature"], train_examples), tokenizer_dir)
    source, target = builder.info.supervised_keys or tuple(builder.info.features.languages)[:2]
    source, target = config["source_language"] or source, config["target_language"] or target
    if source == target:
        raise ValueError(
            f"data.source_language = {source} is data.target_language too; "
            f"choose two of {', '.join(builder.info.features.languages)}"
        )
    return Translation(config, TfdsParallel(builder, source, target, train_examples), tokenizer_dir)
