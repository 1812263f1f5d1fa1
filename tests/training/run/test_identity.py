"""Which values make a run another one: the list that resuming and tables share."""

import pytest

from models.options import flat
from training.command import cli
from training.run import earlier, identity

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


PRINTED = {"every.log", "every.save", "keep", "profile", "tracker.name"} | {
    f"wandb.{key}" for key in ("mode", "project", "group", "name")
}
SPEED = {"deterministic", "keep_pages", "model.remat", "workers"} | {
    f"model.{mixer}.chunk" for mixer in ("delta_net", "linear_attention", "mamba", "mlstm")
}
PLACES = {"data.cache_dir", "data.dir", "data.file"} | {
    f"data.{split}_{side}" for split in ("train", "val", "test") for side in ("source", "target")
}


FAMILIES = (
    "recall.py:gru_attention",
    "multi30k_joined.py:rnn",
    "translate.py:transformer",
    "shakespeare.py:decoder",
    "adding.py:conv_decoder",
)


@pytest.mark.parametrize(
    ("where", "timed"), [*((where, False) for where in FAMILIES), ("recall.py:lstm_decoder", True)]
)
def test_another_value_of_every_other_key_is_another_run(where, timed):
    config = flat(cli.load(f"configs/{where}"))
    another = {key: "another" for key in config} | {"data.tokenizer.name": "bpe"}
    counted = {key for key in config if identity.differing(config, {**config, key: another[key]}, timed=timed)}
    assert counted == config.keys() - PRINTED - PLACES - (set() if timed else SPEED)


def test_every_size_of_a_chunk_changes_time_alone():
    assert {key for key in flat(cli.load("configs/recall.py:decoder")) if key.endswith(".chunk")} < SPEED


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


def without(key, config=RECALL):
    return {name: value for name, value in config.items() if name != key}


@pytest.mark.parametrize(
    ("key", "value", "another"),
    [
        ("every.decode", 0, 100),
        ("decode_examples", 500, 0),
        ("loss_positions", 0, 8),
        ("workers", 0, 2),
        ("model.remat", False, True),
        ("keep_pages", True, False),
        ("deterministic", False, True),
    ],
)
def test_one_that_is_lacking_has_its_value_of_before_there_was_the_key(key, value, another):
    assert identity.differing(without(key), {**RECALL, key: value}, timed=True) == []
    assert identity.differing(without(key), {**RECALL, key: another}, timed=True) == [key]
    assert identity.differing({**RECALL, key: another}, without(key), timed=True) == [key]


def test_of_a_model_and_of_a_task_too():
    text = flat(cli.load("configs/multi30k_joined.py:transformer"))
    for key, value, another in (("data.test_range", 0, 10), ("model.fused_attention", "never", "auto")):
        assert identity.differing(without(key, text), {**text, key: value}) == []
        assert identity.differing(without(key, text), {**text, key: another}) == [key]
    assert identity.differing(without("model.mlp_dim", text), text) == []  # it follows the width that is given


@pytest.mark.parametrize("key", ["model.window", "data.once", "new"])
def test_one_that_has_gone_differs(key):
    assert identity.differing(RECALL, {**RECALL, key: 64}) == identity.differing({**RECALL, key: 64}, RECALL) == [key]


def test_a_model_is_built_without_what_has_gone():
    assert earlier.of_model({"model.name": "gru", "model.hidden_size": 32, "model.gone": 1}) == {"hidden_size": 32}


@pytest.mark.parametrize(
    ("key", "value", "another"),
    [("replicas", 1, 4), ("replica_learning_rates", (), (0.1,)), ("replica_axis", "auto", "map")],
)
def test_unless_everything_goes_by_its_value_since(key, value, another):
    assert identity.differing({**RECALL, key: value}, RECALL) == []
    assert identity.differing({**RECALL, key: another}, RECALL) == [key]


@pytest.mark.parametrize(("name", "same"), [("unigram", "nmt_nfkc"), ("char", "identity")])
def test_text_was_normalized_by_subword_tokenizers_before_that_was_a_key(name, same):
    key = "data.tokenizer.normalization"
    now = flat(cli.load("configs/translate.py:gru")) | {"data.tokenizer.name": name}
    before = {one: value for one, value in now.items() if one != key}
    assert identity.differing(before, {**now, key: same}) == []
    assert identity.differing(before, {**now, key: "nfkc"}) == [key]
