"""Attention in tiles against the plain form: outputs, gradients, padding, biases, and what it holds at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import models
from data.spec import Spec
from models import tiled_attention
from models.attention import Keys, View, attend
from models.positions import POSITIONS, positions_of
from models.taps import Tapper
from models.tiled_attention import Tiles, attend_tiled
from training.command import cli

B, H, K, V = 3, 2, 8, 6
SIDE = tiled_attention.SIDE
NO_BIAS = POSITIONS["none"](1, H * K, H, nnx.Rngs(0)).bias
ALIBI = POSITIONS["alibi"](1, H * K, H, nnx.Rngs(0)).bias


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    monkeypatch.setattr(tiled_attention, "SIDE", 16)


def normal(seed, *shape, dtype=jnp.float32):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def mask_of(kind, T):
    """Padded on the right, on the left with a gap, and nothing but padding."""
    mask_BT = np.ones((B, T), bool)
    if kind == "padded":
        mask_BT[0, T - 20 :] = mask_BT[1, :18] = mask_BT[1, 25] = mask_BT[2] = False
    return jnp.asarray(mask_BT)


def study(attention, arrays, weight_BHTK):
    """The output, and the gradients with respect to queries, keys and values."""

    def run(*arrays):
        context_BHTK = attention(*arrays)
        return (context_BHTK.astype(jnp.float32) * weight_BHTK).sum(), context_BHTK

    gradients, context_BHTK = jax.jit(jax.grad(run, argnums=(0, 1, 2), has_aux=True))(*arrays)
    return [context_BHTK, *gradients]


@pytest.mark.parametrize("bias", [NO_BIAS, ALIBI], ids=["no bias", "alibi"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("T", "padding"), [(48, "none"), (41, "padded")])
def test_tiles_give_what_the_whole_matrix_gives(T, padding, causal, bias):
    mask_BT = mask_of(padding, T)
    position_BT = positions_of(mask_BT)
    visible_BTS = mask_BT[:, None, :] & (jnp.tri(T, dtype=bool) if causal else True)
    view = View(visible_BTS, bias(position_BT, position_BT))
    arrays, weight_BHTV = [normal(n, B, H, T, width) for n, width in enumerate((K, K, V))], normal(3, B, H, T, V)

    def whole(query, key, value):
        return attend(query, [Keys(key, value)], [view], "", Tapper(None, ()))

    def tiled(query, key, value):
        return attend_tiled(query, key, value, Tiles(mask_BT, position_BT, causal, bias))

    expected = study(whole, arrays, weight_BHTV)
    for found, right in zip(study(tiled, arrays, weight_BHTV), expected, strict=True):
        np.testing.assert_allclose(found, right, rtol=1e-5, atol=1e-5)
    if padding == "padded":
        assert (np.asarray(expected[0])[2] == 0).all()  # a row without keys


def test_queries_of_one_sequence_see_the_keys_of_another():
    mask_BS, S = mask_of("padded", 41), 41
    arrays = [normal(0, B, H, 30, K), normal(1, B, H, S, K), normal(2, B, H, S, K)]

    def whole(query, key, value):
        return attend(query, [Keys(key, value)], [View(mask_BS[:, None, :])], "", Tapper(None, ()))

    def tiled(query, key, value):
        return attend_tiled(query, key, value, Tiles(mask_BS))

    weight_BHTK = normal(3, B, H, 30, K)
    for found, right in zip(study(tiled, arrays, weight_BHTK), study(whole, arrays, weight_BHTK), strict=True):
        np.testing.assert_allclose(found, right, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("heads", [1, 4, 100])
def test_the_size_of_a_group_changes_nothing(heads, monkeypatch):
    """One row at a time, two, and all four."""
    arrays, weight_BHTK = [normal(n, 4, H, 48, K) for n in range(3)], normal(3, 4, H, 48, K)
    tiles = Tiles(None, jnp.arange(48)[None], True, ALIBI)

    def tiled(query, key, value):
        return attend_tiled(query, key, value, tiles)

    expected = study(tiled, arrays, weight_BHTK)
    monkeypatch.setattr(tiled_attention, "HEADS", heads)
    for found, right in zip(study(tiled, arrays, weight_BHTK), expected, strict=True):
        np.testing.assert_allclose(found, right, rtol=1e-6, atol=1e-6)


def test_bfloat16_is_summed_in_float32():
    arrays, weight_BHTK = [normal(n, B, H, 48, K) for n in range(3)], normal(3, B, H, 48, K)
    everything = Tiles(jnp.ones((1, 48), bool), jnp.arange(48)[None], True, NO_BIAS)

    def tiled(query, key, value):
        return attend_tiled(query, key, value, everything)

    exact = study(tiled, arrays, weight_BHTK)
    rounded = study(tiled, [x.astype(jnp.bfloat16) for x in arrays], weight_BHTK)
    for found, right in zip(rounded, exact, strict=True):
        assert found.dtype == jnp.bfloat16
        np.testing.assert_allclose(np.asarray(found, np.float32), right, atol=0.06)


def test_a_causal_pattern_never_computes_a_tile_that_no_query_sees():
    """A mask hides no NaN, which times 0 is NaN, so three blocks tell what was read for what: queries no later keys,
    forward and backward, and the gradients of keys and values no earlier queries."""
    everything = Tiles(None, jnp.arange(48)[None], True, ALIBI)

    @jax.jit
    def run(arrays, weight_BHTV):
        def total(*arrays):
            context_BHTV = attend_tiled(*arrays, everything)
            return (context_BHTV * weight_BHTV).sum(), context_BHTV

        (of_query, of_key, of_value), context_BHTV = jax.grad(total, argnums=(0, 1, 2), has_aux=True)(*arrays)
        return {"context": context_BHTV, "query": of_query, "key": of_key, "value": of_value}

    arrays = [normal(n, B, H, 48, width) for n, width in enumerate((K, K, V))]
    weight_BHTV = normal(3, B, H, 48, V)
    clean = run(arrays, weight_BHTV)
    for end in (16, 32):
        earlier, later = np.s_[:, :, :end], np.s_[:, :, end:]
        keys_unknown = [arrays[0], *(x.at[later].set(np.nan) for x in arrays[1:])]
        found, expected = run(keys_unknown, weight_BHTV.at[later].set(0)), run(arrays, weight_BHTV.at[later].set(0))
        for name in ("context", "query"):
            np.testing.assert_array_equal(found[name][earlier], expected[name][earlier], err_msg=name)
            assert np.isnan(found[name][later]).all() and np.abs(found[name][earlier]).max() > 0.1, name
        found = run([arrays[0].at[earlier].set(np.nan), *arrays[1:]], weight_BHTV)
        for name in ("key", "value"):
            np.testing.assert_array_equal(found[name][later], clean[name][later], err_msg=name)
            assert np.isnan(found[name][earlier]).all() and np.abs(found[name][later]).max() > 0.1, name


def test_memory_is_linear_in_the_sequence():
    def bytes_of(T):
        everything = Tiles(jnp.ones((1, T), bool), jnp.arange(T)[None], True, NO_BIAS)
        gradient = jax.grad(lambda *arrays: attend_tiled(*arrays, everything).sum(), argnums=(0, 1, 2))
        compiled = jax.jit(gradient).lower(*[jax.ShapeDtypeStruct((B, H, T, K), jnp.float32)] * 3).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert bytes_of(2048) < 2.2 * bytes_of(1024)


def without_tiles(monkeypatch):
    for module in ("transformer_layers", "encoded", "mixers.softmax_attention"):
        monkeypatch.setattr(f"models.{module}.worthwhile", lambda T: False)


@pytest.mark.parametrize(("positions", "scaled"), [("rotary", True), ("alibi", True), ("alibi", False)])
def test_a_long_language_model_is_computed_in_tiles_with_the_same_logits(positions, scaled, monkeypatch):
    config = cli.load("configs/shakespeare.py:transformer_decoder").model
    config.update(hidden_size=16, mlp_dim=16, num_heads=2, num_layers=2, positions=positions, attention_scale=scaled)
    spec = Spec("none", 0, 11, "tokens", 11, 0, 40)
    model = models.build("transformer_decoder", config, spec, jax.random.key(0))
    nothing, target = np.zeros((2, 0), np.int32), np.random.default_rng(0).integers(3, 11, (2, 40))

    def logits():
        return jax.jit(lambda: model(nothing, nothing.astype(bool), target).logits)

    assert "while" in logits().lower().as_text()
    found = logits()()
    without_tiles(monkeypatch)
    assert "while" not in logits().lower().as_text()
    np.testing.assert_allclose(found, logits()(), atol=1e-5)


@pytest.mark.parametrize("name", ["transformer", "decoder"])
def test_what_tiles_have_no_part_in_turns_them_off(name, monkeypatch):
    """Dropout of weights, and taps of weights and heads: of a long sequence they are those of the whole matrix."""
    config = models.configured(name)
    config.update(hidden_size=16, mlp_dim=16, num_heads=2, num_layers=1, attention_dropout_rate=0.5)
    spec = Spec("tokens", 11, 11, "tokens", 11, 40, 40)
    graph, shapes = nnx.split(nnx.eval_shape(lambda: models.build(name, config, spec, jax.random.key(0))))
    params = jax.tree.map(lambda leaf: normal(leaf.size, *leaf.shape) / 3, shapes)
    source, target = np.random.default_rng(0).integers(3, 11, (2, 2, 40))
    names = [tap for tap in nnx.merge(graph, params).tap_names() if tap.endswith(("attention", "heads"))]

    def study(params, key):
        def call(**options):
            return nnx.merge(graph, params)(source, np.ones((2, 40), bool), target, **options)

        tapped = call(taps=dict.fromkeys(names))
        return call().logits, call(key=key).logits, (tapped.logits, tapped.taps)

    def close(found, expected):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), found, expected)

    by_tiles = []

    def noted(*arguments):
        by_tiles.append(arguments)
        return attend_tiled(*arguments)

    monkeypatch.setattr("models.attention.attend_tiled", noted)
    plain, dropped, tapped = jax.jit(study)(params, jax.random.key(1))
    assert len(by_tiles) == {"transformer": 3, "decoder": 1}[name]  # of the call with neither
    without_tiles(monkeypatch)
    close((plain, dropped, tapped), jax.jit(lambda *x: study(*x))(params, jax.random.key(1)))
    assert tapped[1].keys() == set(names) and np.abs(dropped - plain).max() > 0.1
    close(tapped[0], plain)


@pytest.mark.parametrize("name", ["transformer_decoder", "decoder"])
def test_a_bias_that_is_trained_keeps_to_the_plain_form(name):
    """Tiles give none of its gradient, so there is no loop of theirs in the program; without it there is one."""
    nothing, target = np.zeros((2, 0), np.int32), np.zeros((2, 40), np.int32)

    def program(positions):
        config = models.configured(name)
        config.update(hidden_size=16, mlp_dim=16, num_heads=2, num_layers=1, positions=positions)
        spec = Spec("none", 0, 11, "tokens", 11, 0, 40)
        graph, params = nnx.split(nnx.eval_shape(lambda: models.build(name, config, spec, jax.random.key(0))))
        call = jax.jit(lambda params: nnx.merge(graph, params)(nothing, nothing.astype(bool), target).logits)
        return call.lower(params).as_text()

    assert "while" in program("alibi")
    assert not any("while" in program(positions) for positions in ("relative", "t5", "shaw"))


@pytest.mark.parametrize(("T", "by_tiles"), [(64, False), (128, False), (129, True)])
def test_what_one_tile_holds_is_computed_as_before(T, by_tiles, monkeypatch):
    monkeypatch.setattr(tiled_attention, "SIDE", SIDE)
    assert tiled_attention.worthwhile(T) == by_tiles
