"""Both Transformers under every kind of position: padding, causality, decoding, streaming, taps, mistakes.

`test_contract.py` asks what every architecture must do, in its default configuration.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import models
from data.spec import Spec
from models import MODELS, build
from models.positions import POSITIONS
from tests.models import promises
from tests.models.promises import BOTH, MASK_BS, PROMISES, SOURCE_BS, SPEC, TARGET, TARGET_BT, V
from tests.models.sizes import SIZES

NAMES = ("transformer", "transformer_decoder")
RNG = np.random.default_rng(1)


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


def forward(model, *arguments, **options):
    return promises.forward(nnx.split(model), *arguments, **options)


CASES = [("transformer_decoder", kind) for kind in POSITIONS]
CASES += [("transformer", kind) for kind in ("sinusoidal", "t5")]  # added to what is read, and to scores


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def case(request):
    name, kind = request.param
    model = make(name, positions=kind, num_layers=1)
    return model, np.asarray(forward(model, SOURCE_BS, MASK_BS, TARGET_BT).logits)


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
def test_what_every_stack_promises(case, promise):
    model, logits = case
    promise(nnx.split(model), logits)


def test_one_layer_without_positions_sees_a_set(case):
    model, logits = case
    swapped = np.asarray(forward(model, SOURCE_BS[:, [1, 0, 2, 3, 4]], MASK_BS, TARGET_BT).logits)
    blind = type(model.decoder.positions) is POSITIONS["none"]
    assert np.allclose(swapped[0], logits[0], atol=1e-4) == blind


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("spec", [SPEC, Spec("features", 3, V, "real", 1, 6, 7)], ids=["tied", "features"])
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
    assert SIZES["transformer"](config, SPEC) == encoder + decoder + V * 4 + V


@pytest.mark.parametrize("name", NAMES)
def test_features_sources_and_language_models(name):
    features = make(name, Spec("features", 3, V, "real", 1, 6, 7), num_layers=1)
    source = RNG.normal(size=(3, 5, 3)).astype(np.float32)
    assert forward(features, source, MASK_BS, TARGET_BT).logits.shape == (3, 6, 1)
    if not MODELS[name].needs_source:
        model = make(name, Spec("none", 0, V, "tokens", V, 0, 7), num_layers=1)
        output = forward(model, np.zeros((3, 0), np.int32), np.zeros((3, 0), bool), TARGET_BT)
        assert output.logits.shape == (3, 6, V)


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
        ({"key_size": 7, "positions": "rotary"}, "model.key_size = 7 is odd, which model.positions = rotary cannot"),
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_impossible_configs_end_in_one_line(name, values, message):
    with pytest.raises(ValueError) as error:
        build(name, config_of(name, **values), SPEC, jax.random.key(0))
    assert message in str(error.value) and "\n" not in str(error.value)
