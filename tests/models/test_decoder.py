"""The stack of mixers: hybrids, its equality with the Transformer, its dresses, its receptive field, mistakes.

Dims: B batch, S source length, T target length, N = S + T, D model width, F feed-forward width.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import models
from models import mixer_stack
from models.block import Mlp, norm_of
from tests.models.promises import BOTH, MASK_BS, PROMISES, SOURCE_BS, SPEC, TARGET, TARGET_BT, V, close, forward

SMALL = {"hidden_size": 8, "mlp_dim": 12, "num_heads": 2, "local_attention.window": 3}
HYBRID = {"mixers": "gru,local_attention,conv,attention", "num_layers": 4}


def config_of(name: str, **values):
    return models.configured(
        name, {key: v for key, v in SMALL.items() if key in models.MODELS[name].options()} | values
    )


@functools.cache
def made(name: str, *values):
    """(graph, params), all of them noise; `values` are pairs of a key and its value."""
    config = config_of(name, **dict(values))
    graph, shapes = nnx.split(nnx.eval_shape(lambda: models.build(name, config, SPEC, jax.random.key(0))))
    rng = np.random.default_rng(1)
    return graph, jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape) / 3, jnp.float32), shapes)


@pytest.fixture(scope="module")
def hybrid():
    model = made("decoder", *HYBRID.items())
    return model, np.asarray(forward(model, SOURCE_BS, MASK_BS, TARGET_BT).logits)


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
def test_what_every_stack_promises(hybrid, promise):
    promise(*hybrid)


def test_taps_are_where_their_tokens_are(hybrid):
    """The source's padding lies between source and target, and what is tapped has gaps there."""
    (graph, params), logits = hybrid
    names = nnx.merge(graph, params).tap_names()
    output = forward((graph, params), SOURCE_BS, MASK_BS, TARGET_BT, taps=dict.fromkeys(names))
    close(output.logits, logits)
    weights_BHNN = np.asarray(output.taps["decoder.3.attention"])
    real_BN = np.concatenate([MASK_BS, np.ones_like(TARGET_BT, bool)], axis=1)
    expected_BNN = real_BN[:, None] & real_BN[:, :, None] & np.tri(11, dtype=bool)
    assert ((weights_BHNN > 0).all(1) == expected_BNN)[real_BN].all()
    local_BHNN = np.asarray(output.taps["decoder.1.attention"])
    at_BN = real_BN.cumsum(1)
    near_BNN = expected_BNN & (at_BN[:, :, None] - at_BN[:, None] < 3)
    assert ((local_BHNN > 0).all(1) == near_BNN)[real_BN].all()

    added = {name: jnp.zeros_like(value) for name, value in output.taps.items()}

    @jax.jit
    def slopes(params, taps):
        return jax.grad(lambda taps: (nnx.merge(graph, params)(*BOTH, TARGET, taps=taps).logits[:, 2] ** 2).sum())(taps)

    for name, slope in slopes(params, added).items():
        assert np.abs(slope).max() > 0, name
        if name.endswith(("inputs", "hidden")):  # the loss reads target 2 and what comes before it
            assert (np.abs(slope).max(-1)[~real_BN] == 0).all() and (slope[:, 8:] == 0).all(), name


@pytest.mark.parametrize("positions", ["learned", "rotary", "relative"])
def test_with_attention_throughout_it_is_the_transformer(positions):
    """The same parameters at the start, by name and value; the same loss and gradients, with padding or dropout."""
    values = {"positions": positions, "dropout_rate": 0.3, "attention_dropout_rate": 0.2, "num_layers": 1}
    ours, theirs = (
        nnx.split(models.build(name, config_of(name, **values), SPEC, jax.random.key(0)))
        for name in ("decoder", "transformer_decoder")
    )
    assert [x.shape for x in jax.tree.leaves(ours[1])] == [x.shape for x in jax.tree.leaves(renamed(theirs[1]))]
    jax.tree.map(np.testing.assert_array_equal, jax.tree.leaves(ours[1]), jax.tree.leaves(renamed(theirs[1])))

    @functools.partial(jax.jit, static_argnums=0)
    def study(graph, params, source, mask, key):
        def loss(params):
            logits = nnx.merge(graph, params)(source, mask, TARGET, key=key).logits
            return jnp.sum(jnp.sin(logits)), logits

        return jax.value_and_grad(loss, has_aux=True)(params)

    none = jnp.zeros((3, 0), jnp.int32), jnp.zeros((3, 0), bool)
    for arguments in [(*BOTH, None), (*none, jax.random.key(3))][: 2 if positions == "rotary" else 1]:
        (found, slope), (expected, slope_there) = (study(*both, *arguments) for both in (ours, theirs))
        close(found, expected)
        close(jax.tree.leaves(slope), jax.tree.leaves(renamed(slope_there)))


def test_mixers_of_one_window_and_of_one_block_are_attention_with_learned_distances():
    """The same logits, and the same gradients of what is learned for each distance, where all is in reach."""

    def study(mixer):
        wide = {"local_attention.window": 16, "hierarchical_attention.block_size": 16}
        config = config_of("decoder", mixers=mixer, num_layers=1, positions="shaw", **wide)
        graph, params = nnx.split(models.build("decoder", config, SPEC, jax.random.key(0)))

        @jax.jit
        @functools.partial(jax.value_and_grad, has_aux=True)
        def loss(params):
            logits = nnx.merge(graph, params)(*BOTH, TARGET).logits
            return jnp.sum(jnp.sin(logits)), logits

        (_, logits), slopes = loss(params)
        tables = nnx.to_pure_dict(slopes)["positions"]
        assert all(np.abs(table).max() > 1e-3 for table in tables.values()) and len(tables) == 2
        return logits, tables

    expected = study("attention")
    for mixer in ("local_attention", "hierarchical_attention"):
        close(study(mixer), expected)


def renamed(state):
    """A Transformer's parameters under the names that they have in the stack of mixers."""
    tree = nnx.to_pure_dict(state)
    stack = tree.pop("decoder")
    for layer in stack["layers"].values():
        layer["mixer"] = {"core": layer.pop("attention")}
        layer["mixer_residual"] = layer.pop("attention_residual")
    return tree | {name: part for name, part in stack.items() if part}


SPARSE = {"strided_attention.window": 3, "strided_attention.dilation": 3, "local_attention.window": 3, "num_heads": 2}


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("conv_decoder", {"num_layers": 3}, 1 + 2 * (1 + 2 + 4)),  # three taps, 1, 2 and 4 tokens apart
        ("decoder", {"mixers": "local_attention,strided_attention", "num_layers": 2} | SPARSE, 3 * 3),
    ],
)
def test_the_receptive_field_is_found_by_gradients_to_the_token(name, values, expected):
    """All tokens of it count, so a window and a stride as long as it leave no gaps."""
    graph, params = made(name, *values.items())
    field = nnx.merge(graph, params).receptive_field
    assert field == expected

    @jax.jit
    def slope(params, taps):
        def last(taps):
            target = jnp.arange(2 * field)[None] % V
            none = jnp.zeros((1, 0), jnp.int32), jnp.zeros((1, 0), bool)
            return jnp.sum(nnx.merge(graph, params)(*none, target, taps=taps).logits[0, -1] ** 2)

        return jax.grad(last)(taps)["decoder.inputs"]

    seen_N = np.abs(slope(params, {"decoder.inputs": jnp.zeros((1, 2 * field, 8))})).max(2)[0] > 0
    np.testing.assert_array_equal(np.flatnonzero(seen_N), np.arange(field, 2 * field))
    assert nnx.merge(*made("decoder", *HYBRID.items())).receptive_field is None
    local = made("decoder", ("mixers", "conv,local_attention"), ("num_layers", 2))
    assert nnx.merge(*local).receptive_field == 1 + 2 + 2


@pytest.mark.parametrize(
    ("name", "values", "read", "unread"),
    [
        ("decoder", {"mixers": "gru"}, "mixers", {"positions", "num_heads", "mamba.state_size"}),
        ("decoder", {"mixers": "gru,mamba", "positions": "learned"}, "positions", {"num_heads", "conv.dilation"}),
        ("decoder", {"mixers": "gru,attention"}, "positions", {"local_attention.window"}),
        ("encoder_decoder", {"encoder_mixers": "gru", "decoder_mixers": "gru"}, "num_heads", {"conv.dilation"}),
        ("encoder_decoder", {"encoder_mixers": "gru", "positions": "alibi"}, "positions", {"conv.dilation"}),
        ("transformer", {}, "num_heads", set()),
    ],
)
def test_keys_that_no_layer_reads(name, values, read, unread):
    found = mixer_stack.unread(models.configured(name, values))
    assert unread <= found and read not in found and (found or not unread)


def swiglu(inner, gate, outer, x):
    """Shazeer 2020, equation 6."""
    return (x @ gate / (1 + np.exp(-x @ gate)) * (x @ inner)) @ outer


def rmsnorm(scale, x):
    """Zhang & Sennrich 2019, equation 4."""
    return x / np.sqrt((x**2).mean(-1, keepdims=True)) * scale


@pytest.mark.parametrize(
    ("make", "equation", "names"),
    [(Mlp, swiglu, ("inner", "gate", "outer")), (norm_of, rmsnorm, ("scale",))],
    ids=["swiglu", "rmsnorm"],
)
def test_swiglu_and_rmsnorm_are_their_equations_forward_and_backward(make, equation, names):
    """In float64; gradients against differences along a direction of each parameter and of what enters."""
    config = config_of("decoder", activation="swiglu", norm_kind="rmsnorm", use_bias=False)
    graph, params = nnx.split(make(config, nnx.Rngs(0)) if make is Mlp else make(config))
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), jnp.float32), params)
    assert len(jax.tree.leaves(params)) == len(names)

    def loss(params, x_BTD):
        y_BTD = nnx.merge(graph, params)(x_BTD, *([None] if make is Mlp else []))
        return jnp.sum(jnp.sin(2 * y_BTD + 0.3)), y_BTD

    x_BTD = rng.normal(size=(2, 3, 8))
    (_, y_BTD), slopes = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(params, jnp.asarray(x_BTD, jnp.float32))

    def named(tree):
        return [np.asarray(getattr(tree[name], "kernel", tree[name])[...], np.float64) for name in names]

    wide, of_params = [*named(params), x_BTD], [*named(slopes[0]), np.asarray(slopes[1])]
    close(y_BTD, equation(*wide))
    for at, slope in enumerate(of_params):
        direction = rng.normal(size=slope.shape) / np.sqrt(slope.size)
        moved = [[*wide[:at], wide[at] + by * direction, *wide[at + 1 :]] for by in (-1e-6, 1e-6)]
        below, above = (np.sin(2 * equation(*arrays) + 0.3).sum() for arrays in moved)
        np.testing.assert_allclose(np.sum(slope * direction), (above - below) / 2e-6, atol=1e-6 * np.linalg.norm(slope))


DRESSED = {"norm_kind": "rmsnorm", "activation": "swiglu", "use_bias": False, "num_kv_heads": 1, "positions": "rotary"}
NARROW = {"key_size": 3, "positions": "shaw"}


@pytest.mark.parametrize(
    ("name", "values"),
    [(name, DRESSED) for name in ("transformer", "transformer_decoder", "decoder")] + [("transformer", NARROW)],
    ids=["transformer", "transformer_decoder", "decoder", "narrow keys"],
)
def test_it_decodes_as_it_is_trained_and_has_the_closed_form_s_size(name, values):
    from tests.models.sizes import SIZES

    graph, params = made(name, *values.items())
    config = config_of(name, **values)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == SIZES[name](config, SPEC)
    logits = forward((graph, params), SOURCE_BS, MASK_BS, TARGET_BT).logits

    @jax.jit
    def run(params):
        model = nnx.merge(graph, params)
        memory, state = model.start(*BOTH, 6)
        return jax.lax.scan(lambda s, t: model.step(TARGET[:, t], t, memory, s)[::-1], state, jnp.arange(6))[1]

    close(run(params).swapaxes(0, 1), logits)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mixers": "gru,gruu"}, "model.mixers = 'gruu' is not known; did you mean gru? choose from attention, "),
        ({"mixers": ""}, "model.mixers = '' is not known; choose from attention, "),
        ({"mixers": "gru,gru,gru,attention"}, "names 4 layers and model.num_layers = 2; use 4 or more"),
        ({"num_kv_heads": 3}, "model.num_kv_heads = 3 does not divide model.num_heads = 2; use 1 or 2"),
        ({"num_heads": 3}, "model.num_heads = 3 does not divide model.hidden_size = 8; use 1, 2, 4 or 8"),
        ({"local_attention.window": 1}, "model.local_attention.window = 1 is too small; use 2 or more"),
        (
            {"mixers": "local_attention", "local_attention.window": 100000, "local_attention.dilation": 100000},
            "model.local_attention.dilation = 100000 and model.local_attention.window = 100000 make layer 1 see "
            "9,999,900,000 tokens back; lower them to 16,777,216 or fewer",
        ),
        ({"norm_kind": "rms"}, "model.norm_kind = 'rms' is not known; did you mean rmsnorm?"),
    ],
)
def test_impossible_configs_end_in_one_line(values, message):
    with pytest.raises(ValueError) as error:
        models.build("decoder", config_of("decoder", **values), SPEC, jax.random.key(0))
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_stack_without_attention_needs_no_heads_that_fit():
    models.build("decoder", config_of("decoder", mixers="gru", hidden_size=6, num_heads=4), SPEC, jax.random.key(0))
    assert models.configured("conv_decoder").positions == "none"
    with pytest.raises(ValueError, match="choose from none, sinusoidal, learned"):
        models.check_values(models.configured("conv_decoder", {"positions": "rotary"}))
