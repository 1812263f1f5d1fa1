"""What architectures can be configured with: complete, described, checked."""

import math
import re

import pytest

import models
from models import MODELS
from models.options import EVERY, Option, flat, nested


@pytest.mark.parametrize("name", MODELS)
def test_defaults_are_values_that_the_key_can_have_and_every_key_says_what_it_is(name):
    config = models.configured(name)
    models.check_values(config)
    assert MODELS[name].counted or EVERY.keys() <= MODELS[name].options().keys()
    assert set(flat(config)) == {"name", *MODELS[name].options()}
    for key, option in MODELS[name].options().items():
        assert option.comment, key
        if option.choices:
            assert option.kind is str and set(option.choices) <= set(option.allowed.replace(",", "").split())


@pytest.mark.parametrize("name", MODELS)
def test_no_key_takes_what_is_out_of_its_range(name):
    for key, option in MODELS[name].options().items():
        refused = [value for value in (None, "neither", math.nan, math.inf, -1, 0) if refuses(option, value)]
        assert refused[0] is None and len(refused) >= {bool: 6, int: 4, float: 4, str: 6}[option.kind], (key, refused)
        assert (0 in refused) >= (option.least == 1), key


def refuses(option: Option, value) -> bool:
    try:
        option.check("model.key", value)
    except ValueError as error:
        assert str(error).startswith("model.key = ") and "\n" not in str(error)
        return True
    return False


@pytest.mark.parametrize(
    ("name", "key", "value", "told"),
    [
        ("gru_attention", "attention.size", 0, "is not a positive number; use 1 or more"),
        ("gru_attention", "attention.score", "dott", "is not known; did you mean dot?"),
        ("transformer", "num_heads", 2.0, "is not a whole number"),
        ("transformer", "attention_dropout_rate", 1.0, r"is not in \[0, 1\); use a value below 1, such as 0.9"),
        ("transformer", "norm", "mid", "choose from pre, post"),
        ("lstm", "chrono_length", -1, "is too small; use 0 or more"),
        ("lstm", "forget_bias", math.nan, "is not a finite number"),
        ("gru", "context", "ever_step", "did you mean every_step?"),
        ("decoder", "mixers", "delta", "did you mean delta_net?"),
        ("gru", "tie_embeddings", 1, "is not true or false"),
        ("lstm", "forget_bias", -1e31, "is too far from 0; use -1e[+]30 to 1e[+]30"),
        ("decoder", "hierarchical_attention.block_size", 2**31 - 1, "is too large; use 16777216 or less"),
    ],
)
def test_a_value_out_of_range_is_one_line(name, key, value, told):
    config = models.configured(name, {key: value})
    with pytest.raises(ValueError, match=f"^model.{key} = {re.escape(repr(value))} .*{told}"):
        models.check_values(config)


def test_widths_follow_the_width_that_is_given_and_not_the_others():
    config = models.configured("gru_attention", {"hidden_size": 24, "embed_size": 16})
    assert (config.hidden_size, config.embed_size, config.attention.size) == (24, 16, 24)
    assert models.configured("transformer", {"hidden_size": 24}).mlp_dim == 96
    assert models.widths("transformer") == {"hidden_size": 1, "mlp_dim": 4}


@pytest.mark.parametrize("name", MODELS)
def test_a_width_for_everything_is_what_a_task_s_width_would_be(name):
    config = models.configured(name, {"num_layers": 3})
    models.set_width(config, 24)
    assert config == models.configured(name, {"num_layers": 3, "hidden_size": 24})


def test_a_key_of_another_architecture_is_refused_with_what_there_is():
    others = "transformer, transformer_decoder, transformer_encoder, encoder_decoder, decoder"
    told = rf"model.num_heads = 2 is not a key; gru has no num_heads \({others} have\);"
    with pytest.raises(ValueError, match=told):
        models.configured("gru", {"num_heads": 2})
    with pytest.raises(ValueError, match="gru has no attention.sizes; choose from model.hidden_size"):
        models.configured("gru", {"attention": {"sizes": 2}})


def test_a_whole_number_is_taken_for_a_number():
    assert flat(models.configured("lstm", {"forget_bias": 2}))["forget_bias"] == 2.0
    models.check_values(models.configured("lstm", {"forget_bias": 2}))


def test_flat_and_nested_are_each_other_s_way_back():
    tree = {"a": 1, "b": {"c": 2, "d": {"e": None}}}
    assert flat(tree) == {"a": 1, "b.c": 2, "b.d.e": None} and nested(flat(tree)) == tree
