"""Multi30k as a TFDS builder: image descriptions in English, German and French (Elliott et al. 2016).

Every split is multi-parallel: line n of each language describes the same image. The raw files come from
the data set's public repository, or from a folder that already holds them, and are written by TFDS as
ArrayRecord, without TensorFlow.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from data.files import find_parallel, read_lines

COMMIT = "a3d2e0d26b56f3846f66a952536ffed4e401d05a"
REPOSITORY = f"https://raw.githubusercontent.com/multi30k/dataset/{COMMIT}/data/task1/raw"
LANGUAGES = ("en", "de", "fr")
SPLITS = (
    "train",
    "val",
    "test_2016_flickr",
    "test_2017_flickr",
    "test_2017_mscoco",
    "test_2018_flickr",
)

# Of the raw files at COMMIT.
SHA256 = {
    "test_2016_flickr.de.gz": "9204244e408ccb38d2a55cfcd344df15005fc42a07a6e55ca6c52b6ababb8cc8",
    "test_2016_flickr.en.gz": "611d361c6334bc7246101d48097c13cf5c4413c5befc793cc629934359d532d9",
    "test_2016_flickr.fr.gz": "6d326e188d259fb1d04ac19eae3af956559b3a0b93d7635e56c90987c40c8b90",
    "test_2017_flickr.de.gz": "a2c89666db00c495cd8513b9d708d5a3acc205d7de312ef2bf5fb7ebc1540aee",
    "test_2017_flickr.en.gz": "76a444ee25172e72695cddb13ae4a3bda59430617be88e0bb46b60504f054074",
    "test_2017_flickr.fr.gz": "3ba671ceb2299f3304ffafefea7a833d08632fbaf0ba18546f8a2ec2391af496",
    "test_2017_mscoco.de.gz": "799e4854c25d601cb6cb6be29eabe5667734c61ace2f495e03e429031a0bc338",
    "test_2017_mscoco.en.gz": "aab300bfb4427697987e02cd0aacd44bfe8aa50456231b6474c08038bbed2b58",
    "test_2017_mscoco.fr.gz": "754f3072ba9f124569ba5258b32730fc1d214bbf8e0c6dfb2b74401676220db0",
    "test_2018_flickr.de.gz": "ddd0130c7d97482dc5197a02141dae8dd79f20f03586c480d675c09a32daf608",
    "test_2018_flickr.en.gz": "ef4f4844037d4c5dea75c9a8ed5fd78905967a26f67c255e230cc9780032654d",
    "test_2018_flickr.fr.gz": "fb2b83fcceb937a4f7e3e93c1c51c22aba92f1e342391e6b5ba392b16a920501",
    "train.de.gz": "726e39b2fa9eb9ffb6dc763fb35a179f80fae06ffc5d28b6ace5faa883de28a6",
    "train.en.gz": "d79cfa999dd4c51d2cb42499b6796d5a882c3a8a961923c25a898c90f8bbd56f",
    "train.fr.gz": "622e75069e9f4c577425c4f277116ce66e63a2401c0a2312d90073cb12379a3c",
    "val.de.gz": "f0cba2f995189cf5770f29a8a9a537a3ad3f51657ad873405082ff6863a5e75a",
    "val.en.gz": "14f7d25ddd868909a9213e361768460edcacdd6ab9d1e77b92560dc10c10dc28",
    "val.fr.gz": "ca3106f1a72390591d25f6c45cb4cd39dec4cd3f123e099748a3ce5256c160e9",
}


class Multi30k(tfds.core.GeneratorBasedBuilder):
    """29,000 training, 1,014 validation and 1,000 test descriptions, in three languages."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Task 1, raw text."}

    def __init__(self, *, raw_dir: str | Path | None = None, **kwargs: Any):
        """With `raw_dir`, nothing is downloaded: the splits whose files are there are prepared."""
        self._raw_dir = raw_dir
        super().__init__(**kwargs)

    @property
    def urls(self) -> list[str]:
        return [] if self._raw_dir else [f"{REPOSITORY}/{file}" for file in _files().values()]

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            description="Image descriptions in English, German and French (Multi30k, task 1).",
            homepage="https://github.com/multi30k/dataset",
            features=tfds.features.Translation(languages=LANGUAGES),
            supervised_keys=("de", "en"),
            disable_shuffling=True,  # line n of a file is example n
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict[str, str]]]]:
        if self._raw_dir:
            found = {language: find_parallel(self._raw_dir, language, language) for language in LANGUAGES}
            names = [split for split in SPLITS if all(split in found[language] for language in LANGUAGES)]
            if not names:
                raise ValueError(f"{self._raw_dir} holds no split in all of {', '.join(LANGUAGES)}")
            paths = {(split, language): found[language][split][0] for split in names for language in LANGUAGES}
        else:
            fetched = dl_manager.download({file: f"{REPOSITORY}/{file}" for file in _files().values()})
            for file, path in fetched.items():
                try:
                    check_sha256(path, file)
                except ValueError:
                    Path(path).unlink(missing_ok=True)  # or the next download would find the same bytes
                    raise
            names = list(SPLITS)
            paths = {key: fetched[file] for key, file in _files().items()}
        return {
            split: self._generate_examples({language: paths[split, language] for language in LANGUAGES})
            for split in names
        }

    def _generate_examples(self, paths: dict[str, Any]) -> Iterator[tuple[int, dict[str, str]]]:
        lines = {language: read_lines(path) for language, path in paths.items()}
        counts = {language: len(found) for language, found in lines.items()}
        if len(set(counts.values())) > 1:
            raise ValueError(f"{', '.join(map(str, paths.values()))} differ in their number of lines: {counts}")
        for number in range(counts[LANGUAGES[0]]):
            yield number, {language: lines[language][number] for language in LANGUAGES}


def check_sha256(path: str | Path, file: str) -> None:
    """Raises ValueError if the raw file `file` at `path` is not the one on record."""
    wanted = SHA256[file]
    found = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    if found != wanted:
        raise ValueError(f"{path} has sha256 {found}, but {file} should have {wanted}; fetch it again")


def _files() -> dict[tuple[str, str], str]:
    return {(split, language): f"{split}.{language}.gz" for split in SPLITS for language in LANGUAGES}
