"""Positions that were never trained are said once, where a length is beyond the table of its side."""

import dataclasses
import warnings

import jax
import numpy as np
import pytest

import models
from data.spec import Spec
from training.evaluation import untrained_positions
from training.evaluation.generate import Generator

WORDS = Spec("tokens", 9, 9, "tokens", 9, 8, 6, free_running=True, eos=2)
TEXT = Spec("none", 0, 9, "tokens", 9, 0, 8, free_running=True, eos=2)
TAGS = Spec("tokens", 9, 9, "tokens", 9, 8, 8, layout="aligned")
SAID = r"^model\.positions = learned has {} positions, as in training; further ones share the last$"


def build(name, spec, positions="learned"):
    config = models.configured(name)
    models.set_width(config, 8)
    config.update(num_layers=1, positions=positions, **({} if name == "conv" else {"num_heads": 2, "mlp_dim": 8}))
    return models.build(name, config, spec, jax.random.key(0))


@pytest.mark.parametrize(
    ("name", "within", "beyond", "trained"),
    [
        ("transformer", (8, 6), (9, 0), 8),
        ("transformer", (8, 6), (0, 7), 6),
        ("encoder_decoder", (8, 6), (9, 0), 8),
        ("conv", (8, 6), (9, 0), 8),
        ("conv", (8, 6), (0, 7), 6),
        ("transformer_decoder", (9, 5), (9, 6), 14),
        ("decoder", (9, 5), (9, 6), 14),
        ("transformer_encoder", (8, 8), (9, 9), 9),
    ],
)
def test_a_length_is_held_against_the_table_of_its_side(name, within, beyond, trained):
    spec = TAGS if name == "transformer_encoder" else WORDS
    there = untrained_positions.tables(build(name, spec))
    untrained_positions.check(there, *within)
    with pytest.warns(UserWarning, match=SAID.format(trained)):
        untrained_positions.check(there, *beyond)


def test_buckets_beyond_the_longest_length_are_untrained():
    """The encoder's lie 0 to 7, 8 to 11 and so on apart; the decoder's 0 to 15, 16 and on. The last has no end."""
    there = untrained_positions.tables(build("transformer", dataclasses.replace(WORDS, max_source_length=9), "t5"))
    untrained_positions.check(there, 12, 6)
    for lengths, trained in ({(13, 6): 12, (12, 7): 6}).items():
        with pytest.warns(UserWarning, match=f"^model.positions = t5 was trained on distances below {trained}; "):
            untrained_positions.check(there, *lengths)
    long = dataclasses.replace(TEXT, max_target_length=125)
    assert untrained_positions.tables(build("transformer_decoder", long, "t5")) == {}


@pytest.mark.parametrize(
    ("positions", "says"), [("learned", "learned has 6 positions"), ("t5", "t5 was trained .* 6;")]
)
def test_longer_strings_than_those_of_training_are_beyond(positions, says):
    """Tests of parity, regular languages and copies go further than training; the tables do not."""
    spec = dataclasses.replace(WORDS, trained=(5, 1))
    there = untrained_positions.tables(build("transformer_decoder", spec, positions))
    untrained_positions.check(there, 5, 1)
    with pytest.warns(UserWarning, match=f"^model.positions = {says}"):
        untrained_positions.check(there, 8, 1)


def test_a_distance_beyond_those_of_training_takes_the_last_scalar():
    model = build("transformer_decoder", dataclasses.replace(WORDS, trained=(5, 1)), "relative")
    assert model.decoder.positions.farthest == 5


def test_it_is_said_once():
    there = untrained_positions.tables(build("transformer", WORDS))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("default")
        for length in (9, 10, 9):
            untrained_positions.check(there, length, 0)
    assert len(said) == 1


def test_other_positions_reach_any_length():
    for name, positions in (("transformer", "sinusoidal"), ("transformer_decoder", "relative")):
        assert untrained_positions.tables(build(name, WORDS, positions)) == {}
    assert untrained_positions.tables(models.build("gru", models.configured("gru"), WORDS, jax.random.key(0))) == {}


def test_batches_and_outputs_are_looked_at():
    model = build("transformer_decoder", TEXT)
    mask = np.ones((2, 9), np.float32)
    with pytest.warns(UserWarning, match=SAID.format(8)):
        untrained_positions.check_batches(model, [{"source_mask": mask[:, :0] > 0, "target_weights": mask}])
    with pytest.warns(UserWarning, match=SAID.format(8)):
        Generator(model, TEXT).continuations([np.arange(3, 9)], 6)
