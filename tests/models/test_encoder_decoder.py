"""Mixers on both sides of an encoder-decoder: hybrids, its equality with the Transformer, both directions, mistakes.

Dims: B batch, S source length, T target length, D model width.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import models
from models.mixers import MIXERS
from tests.models.promises import (
    BOTH,
    MASK_BS,
    PROMISES,
    SOURCE_BS,
    SPEC,
    TARGET,
    TARGET_BT,
    close,
    compiled,
    forward,
    stepped,
)
from tests.models.sizes import SIZES

D = 8
SMALL = {"hidden_size": D, "mlp_dim": 12, "num_heads": 2, "local_attention.window": 3}
HYBRID = {"encoder_mixers": "gru,attention,conv", "decoder_mixers": "attention,lstm,local_attention", "num_layers": 3}


def config_of(name: str, **values):
    return models.configured(name, {k: v for k, v in SMALL.items() if k in models.MODELS[name].options()} | values)


@functools.cache
def made(*values):
    """(graph, params), all of them noise; `values` are pairs of a key and its value."""
    config = config_of("encoder_decoder", **dict(values))
    graph, shapes = nnx.split(nnx.eval_shape(lambda: models.build(config.name, config, SPEC, jax.random.key(0))))
    rng = np.random.default_rng(1)
    return graph, jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape) / 3, jnp.float32), shapes)


@pytest.fixture(scope="module")
def hybrid():
    model = made(*HYBRID.items())
    return model, np.asarray(forward(model, SOURCE_BS, MASK_BS, TARGET_BT).logits)


def test_with_attention_throughout_it_is_the_transformer():
    """The same parameters at the start, by value; the same loss and gradients, with dropout; the same steps."""
    values = {"positions": "shaw", "dropout_rate": 0.3, "attention_dropout_rate": 0.2, "num_layers": 1}
    (ours, state), (theirs, state_there) = (
        nnx.split(models.build(name, config_of(name, **values), SPEC, jax.random.key(0)))
        for name in ("encoder_decoder", "transformer")
    )
    jax.tree.map(np.testing.assert_array_equal, nnx.to_pure_dict(state), renamed(state_there))

    @functools.partial(jax.jit, static_argnums=0)
    def study(graph, params):
        def loss(params):
            logits = nnx.merge(graph, params)(*BOTH, TARGET, key=jax.random.key(3)).logits
            return jnp.sum(jnp.sin(logits)), logits

        return jax.value_and_grad(loss, has_aux=True)(params), stepped(nnx.merge(graph, params), 2)

    (found, slope), steps = study(ours, state)
    (expected, slope_there), expected_steps = study(theirs, state_there)
    close((found, steps), (expected, expected_steps))
    close(nnx.to_pure_dict(slope), renamed(slope_there))


def renamed(state):
    """A Transformer's parameters, or their gradients, under the names that they have here."""
    tree = nnx.to_pure_dict(state)
    for side in ("encoder", "decoder"):
        for layer in tree[side]["layers"].values():
            layer["mixer"] = {"core": layer.pop("attention")}
            layer["mixer_residual"] = layer.pop("attention_residual")
    return tree


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
def test_what_every_stack_promises(hybrid, promise):
    promise(*hybrid)


def test_taps_are_where_their_tokens_are(hybrid):
    """Those of what reads backwards too; padding has no part in a loss, and later targets none in earlier logits."""
    (graph, params), logits = hybrid
    names = nnx.merge(graph, params).tap_names()
    assert "encoder.0.backward.gru.hidden" in names and "encoder.1.backward.attention" not in names
    left, mask = np.pad(SOURCE_BS, ((0, 0), (1, 0))), np.pad(MASK_BS, ((0, 0), (1, 0)))

    @jax.jit
    def study(params, taps):
        def loss(taps):
            output = nnx.merge(graph, params)(left, mask, TARGET, taps=taps)
            return jnp.sum(output.logits[:, 2] ** 2), output

        return jax.grad(loss, has_aux=True)(taps)

    shapes = jax.eval_shape(
        lambda taps: compiled(graph, params, (left, mask, TARGET), {"taps": taps}).taps, dict.fromkeys(names)
    )
    slopes, output = study(params, jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), shapes))
    close(output.logits, logits)
    for name, slope in slopes.items():
        assert np.abs(slope).max() > 0, name
        if name.startswith("encoder") and name.endswith(("inputs", "hidden")):
            assert ((np.abs(slope).max(-1) > 0) <= mask).all(), name
        if name.startswith("decoder") and name.endswith(("inputs", "hidden")):
            assert (slope[:, 3:] == 0).all() and np.abs(slope[:, 2]).max() > 0, name
    weights_BHSS = np.asarray(output.taps["encoder.1.attention"])
    assert ((weights_BHSS > 0).all(1) == mask[:, None] & mask[:, :, None])[mask].all()
    across_BHTS = np.asarray(output.taps["decoder.2.cross_attention"])
    assert ((across_BHTS > 0).all(1) == mask[:, None]).all()


def test_what_reads_backwards_starts_from_the_last_real_token(hybrid):
    """Its hidden state there has seen that token alone, and at the first token all."""
    (graph, params), _ = hybrid
    ask = {"encoder.0.backward.gru.hidden": None, "encoder.0.gru.hidden": None}
    before = forward((graph, params), SOURCE_BS, MASK_BS, TARGET_BT, taps=ask).taps
    for at, there, untouched in [
        (0, "encoder.0.backward.gru.hidden", [1, 2, 3, 4]),
        (4, "encoder.0.gru.hidden", [0, 1, 2, 3]),
    ]:
        other = SOURCE_BS.copy()
        other[0, at] = other[0, at] % 7 + 3
        after = forward((graph, params), other, MASK_BS, TARGET_BT, taps=ask).taps
        changed_S = np.abs(after[there] - before[there])[0].max(-1) > 0
        assert changed_S[at] and not changed_S[untouched].any()
        opposite = next(name for name in ask if name != there)
        assert (np.abs(after[opposite] - before[opposite])[0].max(-1) > 0).all()


@pytest.mark.parametrize("both_ways", [True, False])
def test_every_mixer_that_an_encoder_can_have_has_the_closed_form_s_size(both_ways):
    fit = [name for name, kind in MIXERS.items() if kind.two_sided or not kind.attends or not both_ways]
    assert len(fit) == len(MIXERS) - 3 * both_ways
    values = {"encoder_mixers": ",".join(fit), "decoder_mixers": ",".join(MIXERS), "bidirectional": both_ways}
    config = config_of("encoder_decoder", **values, num_layers=len(MIXERS))
    model = nnx.eval_shape(lambda: models.build("encoder_decoder", config, SPEC, jax.random.key(0)))
    assert sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model))) == SIZES["encoder_decoder"](config, SPEC)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"encoder_mixers": "gruu"}, "model.encoder_mixers = 'gruu' is not known; did you mean gru? choose from "),
        ({"decoder_mixers": "gru,gru,gru"}, "model.decoder_mixers = 'gru,gru,gru' names 3 layers and model.num_layers"),
        (
            {"encoder_mixers": "gru,local_attention"},
            "model.encoder_mixers = 'local_attention' attends to earlier tokens alone; use model.bidirectional=false, "
            "or attention, rnn, lstm, gru, conv, ",
        ),
        ({"num_heads": 3, "decoder_mixers": "gru", "encoder_mixers": "gru"}, "model.num_heads = 3 does not divide"),
    ],
)
def test_impossible_configs_end_in_one_line(values, message):
    with pytest.raises(ValueError) as error:
        models.build("encoder_decoder", config_of("encoder_decoder", **values), SPEC, jax.random.key(0))
    assert message in str(error.value) and "\n" not in str(error.value)
