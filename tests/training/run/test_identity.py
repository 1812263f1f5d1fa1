"""Which values make a run another one: the list that resuming and tables share."""

import pytest

from models.options import flat
from training.command import cli
from training.run import identity

RECALL = flat(cli.load("configs/recall.py:gru"))


@pytest.mark.parametrize("key", ["wandb.mode", "wandb.group", "every.log", "every.save", "keep", "profile"])
def test_what_is_printed_tracked_and_stored_is_no_part_of_a_run(key):
    assert key in RECALL
    assert identity.differing(RECALL, {**RECALL, key: "another"}, timed=True) == []


@pytest.mark.parametrize("key", ["workers", "keep_pages", "deterministic", "model.remat"])
def test_what_changes_speed_counts_where_time_is_measured(key):
    assert key in RECALL
    assert identity.differing(RECALL, {**RECALL, key: "another"}) == []
    assert identity.differing(RECALL, {**RECALL, key: "another"}, timed=True) == [key]


@pytest.mark.parametrize("key", ["steps", "seed", "every.eval", "cpu_devices", "best.metric", "data.num_keys"])
def test_what_changes_numbers_counts(key):
    assert identity.differing(RECALL, {**RECALL, key: "another"}) == [key]


def test_where_text_lies_is_no_part_of_a_run():
    text = flat(cli.load("configs/translate.py:gru"))
    for key in ("data.dir", "data.cache_dir", "data.train_source", "data.test_target"):
        assert key in text and identity.differing(text, {**text, key: "elsewhere"}) == []
    assert identity.differing(text, {**text, "data.source_language": "cs"}) == ["data.source_language"]


def test_a_key_that_is_lacking_counts_as_what_was_before_it():
    key = "model.variational_dropout"
    before = {name: value for name, value in RECALL.items() if name != key}
    assert identity.differing(before, RECALL) == identity.differing(RECALL, before) == []
    assert identity.differing(before, {**RECALL, key: True}) == [key]
    assert identity.differing({**RECALL, "gone": 1}, {**RECALL, "new": 2}) == []


@pytest.mark.parametrize(("name", "same"), [("unigram", "nmt_nfkc"), ("char", "identity")])
def test_text_was_normalized_by_subword_tokenizers_before_that_was_a_key(name, same):
    key = "data.tokenizer.normalization"
    now = flat(cli.load("configs/translate.py:gru")) | {"data.tokenizer.name": name}
    before = {one: value for one, value in now.items() if one != key}
    assert identity.differing(before, {**now, key: same}) == []
    assert identity.differing(before, {**now, key: "nfkc"}) == [key]
