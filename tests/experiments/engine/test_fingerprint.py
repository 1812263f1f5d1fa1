"""What makes a result one of another version, and what does not."""

import ast

import pytest

from experiments.engine import fingerprint
from experiments.engine.schedule import complete

RECALL = complete("configs/recall.py:gru_decoder", {}).to_dict()


def shape(source: str):
    return fingerprint._shape(ast.parse(source))


def test_comments_and_docstrings_are_no_code():
    assert shape('"""One."""\ndef f(x):\n    """Two."""\n    return x + 1  # three') == shape("def f(x): return x+1")
    assert shape("def f(x): return x + 2") != shape("def f(x): return x + 1")
    assert shape("f('a')") != shape("f('b')")


def test_modules_of_a_run():
    gru = fingerprint.modules("recall", ["gru_decoder"], ["accuracy_by_distance"])
    assert {
        "models.cells",
        "models.scan",
        "data.tasks.recall",
        "training.step.train_step",
        "training.step.losses",
        "experiments.probes.accuracy_by_distance",
        "training.evaluation.quality",
    } <= gru.keys()
    others = (
        "models.transformer",
        "models.attention",
        "data.tasks.copying",
        "experiments.probes.gradient_by_time",
        "experiments.questions",
        "training.run.tracking",
        "training.mirrors",
    )
    assert not [name for name in gru if name.startswith(others)]
    transformer = fingerprint.modules("copying", ["transformer_decoder"], [])
    assert {"models.attention", "data.tasks.copying"} <= transformer.keys()
    assert "data.tasks.recall" not in transformer
    assert fingerprint.code_hash(gru) != fingerprint.code_hash(transformer)


def test_tables_of_names_are_no_code():
    """A new architecture, task or probe leaves what is finished as it is."""
    assert not set(fingerprint.TABLES) & fingerprint.modules("recall", ["gru"], ["accuracy_by_distance"]).keys()


@pytest.mark.parametrize("key", ["wandb.mode", "keep", "every.log", "workers"])
def test_values_that_change_no_number(key):
    values = {**RECALL, "keep": 9, "workers": 2, "every": {**RECALL["every"], "log": 7}, "wandb": {"mode": "online"}}
    assert fingerprint.differing(RECALL, values) == []
    assert key not in fingerprint.config_values(RECALL)


def test_where_text_lies_is_no_value_but_where_it_says_what_the_text_is():
    for file, counts in (("multi30k", False), ("shakespeare", False), ("tfds", False), ("translate", True)):
        there = complete(f"configs/{file}.py:transformer_decoder", {"data.dir": "there"}).to_dict()
        here = complete(f"configs/{file}.py:transformer_decoder", {"data.dir": "here"}).to_dict()
        assert fingerprint.differing(there, here) == (["data.dir"] if counts else [])
        assert (fingerprint.config_hash(there) == fingerprint.config_hash(here)) != counts


def test_values_that_do():
    assert fingerprint.differing(RECALL, {**RECALL, "steps": 7}) == ["steps"]
    assert fingerprint.config_hash(RECALL) != fingerprint.config_hash({**RECALL, "seed": 7})


def test_a_key_that_came_with_the_code_is_no_difference():
    assert fingerprint.differing(RECALL, {**RECALL, "new": 1}) == []
    assert fingerprint.differing({**RECALL, "old": 1}, RECALL) == []
