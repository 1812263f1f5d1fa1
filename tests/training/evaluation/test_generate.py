"""Outputs of whole splits and of single lines: they follow the model, their limits and the order of examples."""

import json
import os
import subprocess
import sys
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
from data.spec import Spec
from models.decoding import Wanted, greedy
from tests.training import runs
from training.evaluation.generate import LONGER, Beam, Generator, Sample, _limit, source_batch

ROOT = Path(__file__).parents[3]
WITH_EOS = Spec("tokens", 9, 9, "tokens", 9, 8, 8, free_running=True, eos=2)
FIXED = Spec("tokens", 9, 9, "tokens", 9, 8, 6, free_running=True)
LANGUAGE = Spec("none", 0, 9, "tokens", 9, 0, 8, free_running=True, eos=2)


@pytest.fixture(scope="module", autouse=True)
def compiled_in_haste():
    with runs.compiled_in_haste():
        yield


def build(name, spec):
    config = models.configured(name)
    models.set_width(config, 8)
    config.num_layers = 1
    return models.build(name, config, spec, jax.random.key(3))


@pytest.fixture(scope="module")
def gru():
    return build("gru", WITH_EOS)


@pytest.fixture(scope="module")
def language_model():
    return build("gru_decoder", LANGUAGE)


def batch(lengths=(5, 8, 2), target_length=6, index=None):
    rng = np.random.default_rng(0)
    rows = len(lengths)
    return {
        "source": rng.integers(3, 9, (rows, 8)).astype(np.int32),
        "source_mask": np.arange(8) < np.array(lengths)[:, None],
        "target_out": np.zeros((rows, target_length), np.int32),
        "distance": np.full((rows, target_length), -1, np.int32),
        "index": np.arange(rows, dtype=np.int32) if index is None else np.array(index, np.int32),
    }


def test_long_sources_may_double():
    """Where tokens are characters, a translation is easily longer than its source by more than 50."""
    assert [int(_limit(np.array(length))) for length in (1, 50, 120)] == [51, 100, 240]


def test_greedy_outputs_are_those_of_decoding_and_stop_at_the_limit(gru):
    b = batch()
    tokens = Generator(gru, WITH_EOS)(b).tokens
    source, mask = jnp.asarray(b["source"]), jnp.asarray(b["source_mask"])
    limit = jnp.array([5, 8, 2]) + LONGER
    expected = greedy(gru, source, mask, Wanted(1, 2, 0, tokens.shape[1], limit=limit)).tokens
    np.testing.assert_array_equal(tokens, expected)
    for row, most in zip(tokens, limit, strict=True):
        assert not row[most:].any()
        end = np.flatnonzero(row == 2)
        assert end.size == 0 or not row[end[0] + 1 :].any()


def test_outputs_of_known_length_are_as_long_as_the_target():
    assert Generator(build("gru", FIXED), FIXED)(batch()).tokens.shape == (3, 6)


def test_split_orders_by_index_and_leaves_filler_out(gru):
    generate = Generator(gru, WITH_EOS)
    found = generate.split([batch(index=[7, -1, 4]), batch(index=[1, 0, -1])])
    assert sorted(found) == [0, 1, 4, 7]
    np.testing.assert_array_equal(found[7], found[1])  # row 0 of the same sources
    np.testing.assert_array_equal(found[4], generate(batch()).tokens[2])


def test_a_draw_depends_on_seed_example_and_which_it_is_alone(gru):
    def draw(seed=1, lengths=(5, 5, 5), index=(0, 1, 2), outputs=1, **options):
        same = batch(lengths, index=index)
        same["source"][:] = same["source"][0]
        return Generator(gru, WITH_EOS, Sample(seed=seed, **options), outputs=outputs)(same).tokens

    first = draw()
    np.testing.assert_array_equal(first, draw())
    assert (first[0] != first[1]).any() and (first != draw(seed=2)).any()  # equal sources
    np.testing.assert_array_equal(draw(index=(2, 7, 1))[[2, 0]], first[[1, 2]])
    several = draw(outputs=4)
    np.testing.assert_array_equal(several[::4], first)
    assert len({tuple(row) for row in several.tolist()}) == 12
    np.testing.assert_array_equal(draw(top_k=1, lengths=(5, 8, 2)), Generator(gru, WITH_EOS)(batch_of_equals()).tokens)


def batch_of_equals():
    same = batch()
    same["source"][:] = same["source"][0]
    return same


def test_outputs_of_a_beam_are_its_best(gru):
    several = Generator(gru, WITH_EOS, Beam(4), outputs=3)(batch())
    best = Generator(gru, WITH_EOS, Beam(4))(batch())
    np.testing.assert_array_equal(several.tokens[::3], best.tokens)
    assert (np.diff(several.scores.reshape(3, 3)) <= 0).all()


def test_generators_of_one_method_share_what_was_compiled(gru, caplog):
    """A run makes a new one at every evaluation."""
    with jax.log_compiles():
        Generator(gru, WITH_EOS, Beam(2, 0.3))(batch())
        assert "compilation of jit(run)" in caplog.text
        caplog.clear()
        Generator(build("gru", WITH_EOS), WITH_EOS, Beam(2, 0.3))(batch())
        assert "compilation of jit(run)" not in caplog.text


def test_continuations_go_on_from_each_prompt(language_model):
    prompts = [np.array([4, 5, 6], np.int32), np.array([7], np.int32), np.array([], np.int32)]
    written = Generator(language_model, LANGUAGE).continuations(prompts, 5).tokens
    assert written.shape == (3, 5)
    fed = np.zeros((3, 9), np.int32)
    for row, prompt, new in zip(fed, prompts, written, strict=True):
        row[: 1 + len(prompt) + 5] = [1, *prompt, *new]
    nothing = jnp.zeros((3, 0), jnp.int32)
    best = np.asarray(language_model(nothing, nothing > 0, jnp.asarray(fed)).logits.argmax(-1))
    for row, prompt, new in zip(best, prompts, written, strict=True):
        ends = np.flatnonzero(new == 2)
        length = ends[0] + 1 if ends.size else 5
        np.testing.assert_array_equal(new[:length], row[len(prompt) : len(prompt) + length])
        assert not new[length:].any()


def test_source_batch_pads_lines():
    task = types.SimpleNamespace(spec=WITH_EOS, encode_source=lambda lines: [np.arange(3, 3 + len(x)) for x in lines])
    made = source_batch(task, ["abc", "abcdefghi"])
    assert made["source"].shape == (2, 16)
    np.testing.assert_array_equal(made["source_mask"].sum(1), [3, 9])
    np.testing.assert_array_equal(made["source"][0, :4], [3, 4, 5, 0])
    np.testing.assert_array_equal(made["index"], [0, 1])


SHARED = """
import json, sys, jax
from tests.training.evaluation.test_generate import LANGUAGE, PROMPTS, WITH_EOS, batch, build
from training.evaluation.generate import Beam, Generator, Sample
assert jax.device_count() == 2
gru = build("gru", WITH_EOS)
beam = Generator(gru, WITH_EOS, Beam(3))
greedy = Generator(build("gru_decoder", LANGUAGE), LANGUAGE)
draw = Generator(gru, WITH_EOS, Sample(), outputs=2)
found = beam(batch()), greedy.continuations(PROMPTS, 5), draw(batch())
json.dump([one.tokens.tolist() for one in found], sys.stdout)
"""
PROMPTS = [np.array([3, 4]), np.array([5]), np.array([6, 7, 8])]


@pytest.mark.processes
def test_devices_share_the_rows_of_a_batch(gru, language_model):
    """Three rows between two devices: one more is filled up, and left out again."""
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=2"
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_DISABLE_MOST_OPTIMIZATIONS": "true"}
    done = subprocess.run([sys.executable, "-c", SHARED], capture_output=True, text=True, env=environment, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    beam = Generator(gru, WITH_EOS, Beam(3))(batch()).tokens
    drawn = Generator(gru, WITH_EOS, Sample(), outputs=2)(batch()).tokens
    greedy_tokens = Generator(language_model, LANGUAGE).continuations(PROMPTS, 5).tokens
    assert json.loads(done.stdout) == [beam.tolist(), greedy_tokens.tolist(), drawn.tolist()]


def test_a_row_that_fills_a_shape_is_not_decoded(gru):
    tokens = Generator(gru, WITH_EOS)(batch(index=(0, 1, -1))).tokens
    assert tokens[:2].any(axis=1).all() and not tokens[2].any()
