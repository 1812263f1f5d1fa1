"""Small fixed text for the tasks that read some, and the values of a config with which they do."""

from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from tests.data import texts
from tests.training import runs


class Tales(tfds.core.GeneratorBasedBuilder):
    """A text data set of TFDS."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict({"text": tfds.features.Text()}), disable_shuffling=True
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for number, line in enumerate(texts.pairs(200)[1]):
            yield number, {"text": line}


def letters(number: int) -> str:
    """A sentence whose words are letters, so that what an untrained model says shares some of them."""
    return " ".join("abc"[number * place * place // 5 % 3] for place in range(1, 4 + number % 7))


def write(folder: Path) -> dict[str, dict[str, Any]]:
    """Writes all of it into the folder. Returns values for `runs.config` by task."""
    texts.write_multi30k(folder / "multi30k")
    runs.write_language(folder / "language")
    Tales(data_dir=folder / "tfds", file_format="array_record").download_and_prepare(file_format="array_record")
    (folder / "letters").mkdir()
    for first, (split, count) in enumerate((("train", 64), ("val", 12))):
        lines = [letters(number) for number in range(64 * first, 64 * first + count)]
        texts.write(folder / "letters" / f"{split}.de", lines)
        texts.write(folder / "letters" / f"{split}.en", [line[::-1] for line in lines])
    read = {"data__cache_dir": str(folder / "cache"), "data__tokenizer__name": "char"}
    pairs = read | {"data__dir": str(folder / "multi30k"), "data__num_buckets": 1, "tokens_per_batch": 512}
    words = {"data__min_words": 8, "data__max_words": 12, "data__test_words": 12}
    return {
        "translate": pairs | {"data__dir": str(folder / "letters")},
        "multi30k": pairs | {"data__max_length": 64},
        "language_of_numbers": read
        | {f"data__{split}_examples": 64 for split in ("train", "val", "test")}
        | {"data__num_buckets": 1, "tokens_per_batch": 2048},
        "multi30k_joined": pairs | words | {"data__max_length": 96, "tokens_per_batch": 1024},
        "shakespeare": read | {"data__dir": str(folder / "language"), "data__length": 16, "batch_size": 16},
        "masked_text": read | {"data__dir": str(folder / "language"), "data__length": 16, "batch_size": 16},
        "word_order": read | {"data__dir": str(folder / "multi30k"), "data__length": 48, "batch_size": 16},
        "tfds": read
        | {"data__dir": str(folder / "tfds"), "data__name": "tales", "data__length": 16}
        | {"tokens_per_batch": 256},
    }
