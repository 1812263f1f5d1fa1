"""Any TFDS data set by name: prepared folders are read without TensorFlow, and what cannot be says how it can."""

import json
import sys

import pytest
import tensorflow_datasets as tfds

import data
from configs import tfds as config_file
from tests.data.test_multi30k import prepared, raw  # noqa: F401 fixtures
from tests.data.texts import MULTI30K, pairs


class Fables(tfds.core.GeneratorBasedBuilder):
    """A text data set with no validation split."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict({"text": tfds.features.Text(), "title": tfds.features.Text()}),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for number, line in enumerate(pairs(300)[0]):
            yield number, {"text": line if number else "  ", "title": str(number)}


@pytest.fixture(scope="module")
def fables(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    Fables(data_dir=folder, file_format="array_record").download_and_prepare(file_format="array_record")
    return folder


def make(folder, name, **values):
    config = config_file.get_config("gru").data
    config.update({"name": name, "dir": str(folder), "tokenizer": {"name": "char", "vocab_size": 0, "joint": True}})
    config.update({"cache_dir": str(folder / "cache")} | values)
    return data.build("tfds", config)


def test_translation_by_name_and_by_folder(prepared):  # noqa: F811
    by_name = make(prepared, "multi30k")
    by_folder = make(prepared / "multi30k" / "1.0.0", "whatever")
    assert by_name.splits == by_folder.splits == tuple(MULTI30K)
    assert by_name.source_text("val") == by_folder.source_text("val") == pairs(20, 1)[0]
    turned = make(prepared, "multi30k", source_language="en", target_language="de")
    assert turned.source_text("val") == by_name.target_text("val")
    assert "tensorflow" not in sys.modules


def test_languages_are_those_of_the_data_set(prepared):  # noqa: F811
    with pytest.raises(
        ValueError, match=r"data\.target_language = 'cs' is not in multi30k/1\.0\.0; choose from de, en"
    ):
        make(prepared, "multi30k", target_language="cs")
    with pytest.raises(ValueError, match=r"data\.source_language = en is data\.target_language too"):
        make(prepared, "multi30k", source_language="en")


def test_text_by_name(fables):
    task = make(fables, "fables", length=32)
    assert task.splits == ("train", "val") and task.spec.source == "none" and task.spec.max_target_length == 32
    assert task.num_examples("train") is None
    documents = pairs(300)[0]
    assert task.num_bytes("val") == sum(len(line.encode()) + 1 for line in documents[297:])
    assert task.num_bytes("train") == sum(len(line.encode()) + 1 for line in documents[1:297])
    assert "1 of 297 documents skipped as blank" in task.notes[0]
    assert make(fables, "fables", train_examples=10).num_tokens("train") < task.num_tokens("train")
    with pytest.raises(ValueError, match=r"data\.feature = 'body' is not in fables/1\.0\.0; choose from text, title"):
        make(fables, "fables", feature="body")


def test_only_the_first_rows_of_training_are_read(fables, prepared):  # noqa: F811
    task = make(fables, "fables", train_examples=10)
    assert task.num_bytes("train") == sum(len(line.encode()) + 1 for line in pairs(300)[0][1:10])
    assert "1 of 10 documents skipped as blank" in task.notes[0]
    assert task.num_bytes("val") == make(fables, "fables").num_bytes("val")
    few = make(prepared, "multi30k", train_examples=10)
    assert few._corpus.read("train").source == pairs(200)[0][:10] and len(few._corpus.read("val").source) == 20
    with pytest.raises(ValueError, match=r"none of 1 documents has text; raise data\.train_examples"):
        make(fables, "fables", train_examples=1)


def test_names_that_are_none(tmp_path):
    with pytest.raises(ValueError, match=r"data\.name = 'multi30' is no TFDS data set; did you mean multi30k\?"):
        make(tmp_path, "multi30")
    with pytest.raises(FileNotFoundError, match=r"data\.dir = .*nowhere is not a folder"):
        make(tmp_path / "nowhere", "lm1b")


@pytest.mark.parametrize("name", ["wmt14_translate/de-en", "ted_hrlr_translate/pt_to_en", "lm1b"])
def test_what_cannot_be_downloaded_says_how_to_prepare_it_elsewhere(tmp_path, monkeypatch, name):
    from data import tfds_source

    monkeypatch.setattr(tfds_source, "_unreachable", lambda _: "no network")
    advice = rf"run `tfds build {name} --file_format=array_record --data_dir=FOLDER`, copy .* set data\.dir=FOLDER"
    with pytest.raises(ValueError, match=rf"cannot be downloaded here \(no network\); .*{advice}"):
        make(tmp_path, name)


def test_an_address_that_nobody_answers_is_unreachable():
    from data.tfds_source import _unreachable

    class Builder:
        urls = ["http://127.0.0.1:9/nothing"]

    assert "127.0.0.1:9" in _unreachable(Builder())


def test_what_needs_tensorflow_says_so(tmp_path, monkeypatch):
    from data import tfds_source

    def prepare(*_, **__):
        raise ModuleNotFoundError("No module named 'tensorflow'")

    monkeypatch.setattr(tfds_source, "_unreachable", lambda _: "")
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", prepare)
    with pytest.raises(ValueError, match=r"cannot be prepared without TensorFlow .*; on a machine with network and"):
        make(tmp_path, "ted_hrlr_translate/pt_to_en")


def test_files_of_another_format_say_so(fables, tmp_path):
    folder = tmp_path / "fables"
    folder.mkdir()
    for path in (fables / "fables" / "1.0.0").glob("*.json"):
        (folder / path.name).write_text(path.read_text())
    described = json.loads((folder / "dataset_info.json").read_text())
    described["fileFormat"] = "tfrecord"
    (folder / "dataset_info.json").write_text(json.dumps(described))
    with pytest.raises(ValueError, match=r"cannot be read without TensorFlow .*file_format=array_record"):
        make(folder, "fables")


def test_a_builder_leaves_no_temporary_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    Fables(data_dir=tmp_path / "prepared", file_format="array_record")
    assert not list(tmp_path.iterdir())
