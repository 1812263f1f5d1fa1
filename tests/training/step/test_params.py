"""The flat dict of parameters: there and back, counted, and digested in a fixed order."""

import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import models
from data.spec import Spec
from tests.models.sizes import SIZES
from training.step import params

SPEC = Spec("tokens", 9, 11, "tokens", 11, 5, 4, free_running=True, eos=2)


TAGS = Spec("tokens", 9, 11, "tokens", 11, 5, 5, layout="aligned")


def spec_of(name):
    return SPEC if "sequence" in models.MODELS[name].layouts else TAGS


def build(name, **values):
    config = models.configured(name)
    models.set_width(config, 8)
    config.update(num_layers=1, **values)
    return models.build(name, config, spec_of(name), jax.random.key(0)), config


@pytest.fixture(scope="module")
def gru():
    return build("gru_attention")[0]


@pytest.mark.parametrize("name", sorted(SIZES))
def test_skeleton_puts_every_array_back(name):
    model, config = build(name)
    flat = params.flatten(model)
    other = {key: array + 1 for key, array in flat.items()}
    rebuilt = params.flatten(params.Skeleton(model)(other))
    assert rebuilt.keys() == flat.keys()
    for key in flat:
        np.testing.assert_array_equal(rebuilt[key], flat[key] + 1)
    assert params.count(flat) == SIZES[name](config, spec_of(name))


def test_skeleton_keeps_none_of_the_arrays(gru):
    flat = params.flatten(gru)
    zeros = jax.tree.map(jnp.zeros_like, flat)
    source, mask = jnp.ones((1, 5), jnp.int32), jnp.ones((1, 5), bool)
    logits = params.Skeleton(gru)(zeros)(source, mask, jnp.ones((1, 4), jnp.int32)).logits
    assert not logits.any()
    assert gru(source, mask, jnp.ones((1, 4), jnp.int32)).logits.any()


def test_embeddings_are_what_has_a_row_a_token(gru):
    flat = params.flatten(gru)
    tables = {name: array.shape for name, array in flat.items() if array.shape[0] in (9, 11) and "table" in name}
    assert sorted(tables.values()) == [(9, 8), (11, 8)]
    assert params.count(flat) - params.count(flat, embeddings=False) == (9 + 11) * 8


def test_learned_positions_count_as_embeddings():
    flat = params.flatten(build("transformer_decoder", positions="learned")[0])
    assert params.count(flat) - params.count(flat, embeddings=False) == (9 + 11) * 8 + (5 + 4) * 8


def test_digest_is_the_same_in_any_order_and_sees_every_bit(gru):
    flat = params.flatten(gru)
    digest = params.sha256(flat)
    assert params.sha256(dict(reversed(flat.items()))) == digest == params.sha256(params.flatten(gru))
    assert len(digest) == 64
    name = max(flat, key=lambda name: flat[name].size)
    changed = np.array(flat[name])
    changed.flat[-1] = np.nextafter(changed.flat[-1], np.float32(9))
    assert params.sha256(flat | {name: changed}) != digest
    renamed = {f"{key}x" if key == name else key: array for key, array in flat.items()}
    assert params.sha256(renamed) != digest
    assert params.sha256(flat | {name: flat[name].T}) != digest


def test_digest_by_hand():
    """It is recorded in every summary, so it must never mean something else."""
    b, a = np.arange(3, dtype=np.float32), np.eye(2, dtype=np.float32)
    plain = b"a (2, 2) float32\n" + a.tobytes() + b"b (3,) float32\n" + b.tobytes()
    assert params.sha256({"b": jnp.asarray(b), "a": jnp.asarray(a)}) == hashlib.sha256(plain).hexdigest()


def test_models_that_compute_the_same_have_equal_skeletons():
    one, other, dropping = (params.Skeleton(build("gru_attention", dropout_rate=rate)[0]) for rate in (0.0, 0.0, 0.5))
    assert one == other and hash(one) == hash(other) and one != dropping
    assert one != params.Skeleton(build("lstm_attention", dropout_rate=0.0)[0])
