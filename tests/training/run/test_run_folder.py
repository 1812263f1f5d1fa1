"""One folder is one run: refused to another config."""

import json
import re

import pytest

from data.whole_file import write_json
from models.options import flat
from training.command import cli
from training.run.restore import read_config
from training.run.run_folder import (
    check_same_data,
    check_same_run,
    record,
    restored_on_error,
)


def config(**values):
    c = cli.load("configs/recall.py:gru")
    c.update_from_flattened_dict(values)
    return c


def change(path, **values):
    write_json(path, json.loads(path.read_text()) | values)


def test_flat_names_every_value():
    assert flat({"a": 1, "b": {"c": 2, "d": {"e": None}}}) == {"a": 1, "b.c": 2, "b.d.e": None}


def test_same_config_passes_and_an_empty_folder_as_well(tmp_path):
    check_same_run(tmp_path / "absent", config(), accept_changes=False)
    record(tmp_path, config(), {})
    check_same_run(tmp_path, config(), accept_changes=False)


def test_changed_keys_are_named(tmp_path):
    record(tmp_path, config(), {})
    other = config(**{"model.dropout_rate": 0.5, "seed": 5})
    expected = r"config\.json: .* model\.dropout_rate = 0\.5 \(was 0\.0\), seed = 5 \(was 0\); .*--accept_changes"
    with pytest.raises(ValueError, match=expected):
        check_same_run(tmp_path, other, accept_changes=False)
    check_same_run(tmp_path, other, accept_changes=True)


def test_what_changes_no_number_may_change_and_the_run_keeps_its_origin(tmp_path):
    record(tmp_path, config(), {})
    change(tmp_path / "config.json", commit="first")
    other = config(**{"every.log": 7, "wandb.mode": "offline", "workers": 1})
    check_same_run(tmp_path, other, accept_changes=False)
    record(tmp_path, other, {})
    recorded = json.loads((tmp_path / "config.json").read_text())
    assert recorded["commit"] == "first" and recorded["config"]["every"]["log"] == 7


def test_another_text_is_refused_or_warned_of(tmp_path):
    check_same_data(tmp_path, {"train": "a"}, accept_changes=False)
    record(tmp_path, config(), {"train": "a", "val": "b"})
    check_same_data(tmp_path, {"train": "a", "val": "b", "test": "c"}, accept_changes=False)
    with pytest.raises(ValueError, match=r"config\.json: the text of val has changed .*--accept_changes"):
        check_same_data(tmp_path, {"train": "a", "val": "c"}, accept_changes=False)
    with pytest.warns(UserWarning, match="the text of train and val has changed"):
        check_same_data(tmp_path, {"train": "b", "val": "c"}, accept_changes=True)


def test_a_run_begun_before_texts_were_hashed_goes_on(tmp_path):
    record(tmp_path, config(), {})
    recorded = json.loads((tmp_path / "config.json").read_text())
    del recorded["data"]
    write_json(tmp_path / "config.json", recorded)
    check_same_data(tmp_path, {"train": "a"}, accept_changes=False)


def test_a_failed_start_takes_back_what_it_wrote_and_nothing_else(tmp_path):
    runs = tmp_path / "a" / "runs"
    with pytest.raises(KeyError), restored_on_error(runs / "mine"):
        (runs / "mine" / "tokenizer").mkdir(parents=True)
        (runs / "mine" / "tokenizer" / "text.json").write_text("{}")
        (runs / ".jax_cache").mkdir()
        raise KeyError
    assert not (tmp_path / "a").exists()
    with pytest.raises(KeyError), restored_on_error(runs / "mine"):
        (runs / "mine" / "tokenizer").mkdir(parents=True)
        (runs / ".jax_cache").mkdir()
        (runs / ".jax_cache" / "program").write_text("shared")
        (runs / "other").mkdir()  # a run that began meanwhile
        (runs / "other" / "config.json").write_text("{}")
        raise KeyError
    assert sorted(path.name for path in runs.iterdir()) == [".jax_cache", "other"]
    assert (runs / "other" / "config.json").exists()


def test_changes_that_checkpoints_cannot_follow_are_refused(tmp_path):
    record(tmp_path, config(), {})
    with pytest.raises(ValueError, match=r"model\.hidden_size = 32 \(was 64\) does not fit the checkpoints"):
        check_same_run(tmp_path, config(**{"model.hidden_size": 32}), accept_changes=True)


def test_a_key_that_came_or_went_is_no_change_where_the_run_goes_as_before(tmp_path):
    record(tmp_path, config(), {})
    recorded = json.loads((tmp_path / "config.json").read_text())
    recorded["config"]["replicas"] = 1
    del recorded["config"]["model"]["remat"], recorded["config"]["loss_positions"]
    write_json(tmp_path / "config.json", recorded)
    check_same_run(tmp_path, config(), accept_changes=False)
    with pytest.raises(ValueError, match="seed = 5"):
        check_same_run(tmp_path, config(seed=5), accept_changes=False)
    with pytest.raises(ValueError, match=r"loss_positions = 8 \(was 0\)"):
        check_same_run(tmp_path, config(loss_positions=8), accept_changes=False)
    recorded["config"]["model"]["gone"] = 1
    write_json(tmp_path / "config.json", recorded)
    with pytest.raises(ValueError, match=r"model.gone = None \(was 1\)"):
        check_same_run(tmp_path, config(), accept_changes=False)


@pytest.mark.parametrize("what", ["versions", "device"])
def test_other_versions_or_devices_are_a_warning(tmp_path, what):
    record(tmp_path, config(), {})
    key, value = ("jax", "0.1") if what == "versions" else ("kind", "abacus")
    recorded = json.loads((tmp_path / "config.json").read_text())
    change(tmp_path / "config.json", **{what: recorded[what] | {key: value}})
    with pytest.warns(UserWarning, match=rf"{key} {value} -> .* not be bit for bit"):
        check_same_run(tmp_path, config(), accept_changes=False)


def test_origin_stays_until_the_config_changes(tmp_path):
    record(tmp_path, config(), {})
    change(tmp_path / "config.json", commit="first")
    record(tmp_path, config(), {})
    assert json.loads((tmp_path / "config.json").read_text())["commit"] == "first"
    record(tmp_path, config(seed=5), {})
    recorded = json.loads((tmp_path / "config.json").read_text())
    assert recorded["commit"] != "first" and recorded["config"]["seed"] == 5


@pytest.mark.parametrize(
    "content",
    ["", '{"config": {"ta', "[]", "null", "[" * 99_999, '{"config": 3}', '{"config": {"task": "recall"}}', "\x00" * 9]
    + [
        f'{{"config": {{"task": "recall", "seed": 0, "data": {data}, "model": {model}}}, "data": {hashes}}}'
        for data, model, hashes in (
            ("3", '{"name": "gru"}', "{}"),
            ("{}", '"name"', "{}"),
            ("{}", "null", "{}"),
            ("{}", "{}", "{}"),
            ("{}", '{"name": "gru"}', "[3]"),
        )
    ],
)
def test_a_damaged_config_is_one_line_and_written_anew_when_told(tmp_path, content):
    path = tmp_path / "config.json"
    path.write_text(content)
    said = f"^{re.escape(str(path))} (is|holds) .*--accept_changes writes it anew"
    for read in (
        lambda: check_same_run(tmp_path, config(), accept_changes=False),
        lambda: check_same_data(tmp_path, {"train": "a"}, accept_changes=False),
        lambda: read_config(tmp_path),
    ):
        with pytest.raises(ValueError, match=said):
            read()
    check_same_run(tmp_path, config(), accept_changes=True)
    record(tmp_path, config(), {"train": "a"})
    assert read_config(tmp_path).task == "recall"
