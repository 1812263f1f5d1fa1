"""Both Transformers under every kind of position: padding, causality, decoding, streaming, taps, mistakes.

`test_contract.py` asks what every architecture must do, in its default configuration.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import models
from data.spec import Spec
from models import MODELS, build
from models.positions import POSITIONS
from tests.models.sizes import SIZES

NAMES = ("transformer", "transformer_decoder")
VOCAB = 11
SPEC = Spec("tokens", VOCAB, VOCAB, "tokens", VOCAB, 6, 7, shared_vocabulary=True, eos=2)
RNG = np.random.default_rng(0)
SOURCE_BS, TARGET_BT = RNG.integers(3, VOCAB, (3, 5)), RNG.integers(3, VOCAB, (3, 6))
MASK_BS = np.arange(5) < np.array([5, 2, 0])[:, None]  # the last row has no source at all
BOTH, TARGET = (jnp.asarray(SOURCE_BS), jnp.asarray(MASK_BS)), jnp.asarray(TARGET_BT)


def config_of(name, **values):
    config = models.configured(name)
    config.update({"hidden_size": 16, "mlp_dim": 24, "num_heads": 2, "num_layers": 2} | values)
    return config


def make(name, spec=SPEC, **values):
    """A model with every parameter drawn, biases and scales too; cheaper than its own initialisation."""
    config = config_of(name, **values)
    graphdef, params = nnx.split(nnx.eval_shape(lambda: build(name, config, spec, jax.random.key(0))))
    rng = np.random.default_rng(1)
    return nnx.merge(graphdef, jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32) / 3, params))


@functools.partial(jax.jit, static_argnums=0)
def compiled(graphdef, params, arguments, options):
    return nnx.merge(graphdef, params)(*arguments, **options)


def forward(model, *arguments, **options):
    """One compiled call, compiled once for each set of shapes."""
    return compiled(*nnx.split(model), arguments, options)


CASES = [("transformer_decoder", kind) for kind in POSITIONS]
CASES += [("transformer", kind) for kind in ("sinusoidal", "t5")]  # added to what is read, and to scores


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def case(request):
    name, kind = request.param
    model = make(name, positions=kind, num_layers=1)
    return model, np.asarray(forward(model, SOURCE_BS, MASK_BS, TARGET_BT).logits)


def close(a, b):
    np.testing.assert_allclose(a, b, atol=1e-5, rtol=1e-5)


def test_padding_on_either_side_of_the_source_changes_nothing(case):
    model, logits = case
    pad = ((0, 0), (2, 1))
    more = forward(model, np.pad(SOURCE_BS, pad, constant_values=9), np.pad(MASK_BS, pad), TARGET_BT)
    close(more.logits, logits)
    swapped = np.asarray(forward(model, SOURCE_BS[:, [1, 0, 2, 3, 4]], MASK_BS, TARGET_BT).logits)
    blind = type(model.decoder.positions) is POSITIONS["none"]
    assert np.allclose(swapped[0], logits[0], atol=1e-4) == blind  # one layer without positions sees a set


def test_steps_after_any_prefix_give_the_teacher_forced_logits(case):
    model, logits = case
    graphdef, params = nnx.split(model)
    known_B = np.array([3, 1, 0])  # how many tokens each row knows

    @jax.jit
    def run(params, prefix, mask):
        model = nnx.merge(graphdef, params)
        memory, state = model.start(*BOTH, 5, prefix, mask)
        assert all(leaf.shape[0] == 3 for leaf in jax.tree.leaves((memory, state)))

        def step(state, t):
            token_B = jnp.take_along_axis(TARGET, known_B[:, None] + t, axis=1)[:, 0]
            logits_BV, state = model.step(token_B, t, memory, state)
            return state, logits_BV

        return jax.lax.scan(step, state, jnp.arange(3))[1].swapaxes(0, 1)

    for left in (True, False):  # the side on which the prefix is padded
        prefix, mask = np.full((3, 4), 9), np.zeros((3, 4), bool)
        for row, known in enumerate(known_B):
            at = slice(4 - known, 4) if left else slice(0, known)
            prefix[row, at], mask[row, at] = TARGET_BT[row, :known], True
        steps = run(params, prefix, mask)
        for row, known in enumerate(known_B):
            close(steps[row], logits[row, known : known + 3])


def test_chunks_with_a_carry_give_the_logits_of_the_whole(case):
    model, logits = case
    first = forward(model, SOURCE_BS, MASK_BS, TARGET_BT[:, :2])
    second = forward(model, SOURCE_BS, MASK_BS, TARGET_BT[:, 2:], carry=first.carry)
    close(np.concatenate([first.logits, second.logits], axis=1), logits)
    other = forward(model, SOURCE_BS, MASK_BS, TARGET_BT[::-1, :2])
    astray = forward(model, SOURCE_BS, MASK_BS, TARGET_BT[:, 2:], carry=other.carry)
    assert not np.allclose(astray.logits, logits[:, 2:], atol=1e-3)


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("spec", [SPEC, Spec("features", 3, VOCAB, "real", 1, 6, 7)], ids=["tied", "features"])
@pytest.mark.parametrize("name", NAMES)
def test_number_of_parameters_is_the_closed_form(name, spec, norm):
    for positions in ("learned", "rotary", "relative", "t5", "shaw"):
        config = config_of(name, norm=norm, positions=positions)
        model = nnx.eval_shape(lambda config=config: build(name, config, spec, jax.random.key(0)))
        leaves = jax.tree.leaves(nnx.state(model))
        assert sum(leaf.size for leaf in leaves) == SIZES[name](config, spec)


def test_a_small_transformer_counted_by_hand():
    config = config_of("transformer", hidden_size=4, mlp_dim=6, num_layers=1)
    attention, mlp, norm = 4 * (4 * 4 + 4), 4 * 6 + 6 + 6 * 4 + 4, 8
    encoder, decoder = attention + mlp + 2 * norm + norm, 2 * attention + mlp + 3 * norm + norm
    assert SIZES["transformer"](config, SPEC) == encoder + decoder + VOCAB * 4 + VOCAB


@pytest.mark.parametrize("name", NAMES)
def test_features_sources_and_language_models(name):
    features = make(name, Spec("features", 3, VOCAB, "real", 1, 6, 7), num_layers=1)
    source = RNG.normal(size=(3, 5, 3)).astype(np.float32)
    assert forward(features, source, MASK_BS, TARGET_BT).logits.shape == (3, 6, 1)
    if not MODELS[name].needs_source:
        model = make(name, Spec("none", 0, VOCAB, "tokens", VOCAB, 0, 7), num_layers=1)
        output = forward(model, np.zeros((3, 0), np.int32), np.zeros((3, 0), bool), TARGET_BT)
        assert output.logits.shape == (3, 6, VOCAB)


@pytest.mark.parametrize("name", NAMES)
def test_taps_capture_and_perturb_every_name(name):
    model = make(name)
    names = model.tap_names()
    output = forward(model, SOURCE_BS, MASK_BS, TARGET_BT, taps=dict.fromkeys(names))
    assert set(output.taps) == set(names)
    weights = np.asarray(output.taps["decoder.0.attention"])
    sums = weights.sum(-1)
    assert weights.ndim == 4 and np.all((np.abs(sums - 1) < 1e-5) | (sums == 0)) and (np.triu(weights, 1) == 0).all()
    graphdef, params = nnx.split(model)
    zeros = jax.tree.map(jnp.zeros_like, output.taps)

    @jax.jit
    def gradients(params, taps):
        return jax.grad(lambda taps: (nnx.merge(graphdef, params)(*BOTH, TARGET, taps=taps).logits ** 2).sum())(taps)

    for tapped, gradient in gradients(params, zeros).items():
        assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0, tapped
    bumped = {"decoder.1.hidden": RNG.normal(size=output.taps["decoder.1.hidden"].shape)}
    assert not np.allclose(forward(model, SOURCE_BS, MASK_BS, TARGET_BT, taps=bumped).logits, output.logits, atol=1e-3)


def test_cross_attention_weights_have_the_sources_shape_and_skip_its_padding():
    output = forward(make("transformer"), SOURCE_BS, MASK_BS, TARGET_BT, taps={"decoder.0.cross_attention": None})
    weights_BHTS = np.asarray(output.taps["decoder.0.cross_attention"])
    assert weights_BHTS.shape == (3, 2, 6, 5)
    assert (weights_BHTS[1, :, :, 2:] == 0).all() and (weights_BHTS[1, :, :, :2] > 0).all()
    assert (weights_BHTS[2] == 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_dropout_follows_its_key(name):
    model = make(name, num_layers=1, dropout_rate=0.3, attention_dropout_rate=0.3)
    run = lambda **options: np.asarray(forward(model, SOURCE_BS, MASK_BS, TARGET_BT, **options).logits)  # noqa: E731
    one, again, other = (run(key=jax.random.key(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert not np.allclose(one, other, atol=1e-3) and not np.allclose(one, run(), atol=1e-3)


def test_post_norm_and_gelu_are_other_functions():
    models = [
        make("transformer_decoder", num_layers=1, norm=norm, activation=activation)
        for norm, activation in (("pre", "relu"), ("post", "relu"), ("pre", "gelu"))
    ]
    # Post-norm has no last norm, so its parameters are drawn differently; that both agree with PyTorch's
    # layers is tested beside the attention.
    outputs = [np.asarray(forward(model, SOURCE_BS, MASK_BS, TARGET_BT).logits) for model in models]
    assert not np.allclose(outputs[0], outputs[1], atol=1e-2) and not np.allclose(outputs[0], outputs[2], atol=1e-2)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"hidden_size": 64, "num_heads": 3},
            "model.num_heads = 3 does not divide model.hidden_size = 64; use 1, 2, 4, 8, 16, 32 or 64",
        ),
        ({"positions": "rotry"}, "model.positions = 'rotry' is not known; did you mean rotary? choose from none, "),
        ({"norm": "pree"}, "model.norm = 'pree' is not known; did you mean pre? choose from pre, post"),
        ({"activation": "gelo"}, "model.activation = 'gelo' is not known; did you mean gelu?"),
        ({"hidden_size": 36, "num_heads": 4, "positions": "rotary"}, "gives heads of odd width 9"),
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_impossible_configs_end_in_one_line(name, values, message):
    with pytest.raises(ValueError) as error:
        build(name, config_of(name, **values), SPEC, jax.random.key(0))
    assert message in str(error.value) and "\n" not in str(error.value)
