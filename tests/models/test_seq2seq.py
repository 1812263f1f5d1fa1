"""What the encoder-decoders' and decoder-only networks' options do.

Dims: B batch, S source length, T target length, H hidden width, C encoder's output width, A score width.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import models
from models.attention_scores import masked_softmax
from tests.models.sizes import SIZES
from tests.models.test_contract import TOKENS, batch, decode, noisy, tiny

DATA = jax.tree.map(jnp.asarray, batch("tokens"))


def configured(name: str, attention: dict | None = None, **changes):
    config = tiny(name, **changes)
    if attention:
        config.attention.update(attention)
    return config


def make(name: str, attention: dict | None = None, **changes):
    """The architecture with drawn parameters, which costs less than building it."""
    config = configured(name, attention, **changes)
    model = nnx.eval_shape(lambda: models.build(name, config, TOKENS, jax.random.key(0)))
    graph, shapes = nnx.split(model)
    return nnx.merge(graph, jax.tree.map(jnp.asarray, noisy(shapes, 0.4)))


def forward(model, data=DATA, **arguments):
    graph, params = nnx.split(model)
    return jax.jit(
        lambda params: nnx.merge(graph, params)(data["source"], data["mask"], data["target_in"], **arguments)
    )(params)


OPTIONS = [
    ("gru", {"context": "every_step"}, {}),
    ("lstm", {"context": "every_step", "bidirectional": True}, {}),
    ("rnn", {"bidirectional": True, "reverse_source": True, "num_layers": 1}, {}),
    ("lstm_attention", {"bidirectional": True}, {"input_feeding": False}),
    ("gru_attention", {"num_layers": 1, "reverse_source": True}, {"score": "dot"}),
    ("gru_attention", {"num_layers": 1}, {"score": "scaled_dot", "input_feeding": False}),
    ("rnn_attention", {"bidirectional": True, "num_layers": 1}, {"score": "general"}),
    ("gru_attention", {"bidirectional": True, "num_layers": 1}, {"score": "concat"}),
]


@pytest.mark.parametrize(("name", "changes", "attention"), OPTIONS)
def test_options_keep_the_contract(name, changes, attention):
    """Decoding agrees, padding on the left and on the right changes nothing, and every parameter counts."""
    model = make(name, attention, **changes)
    graph, params = nnx.split(model)
    logits = jax.jit(lambda data: nnx.merge(graph, params)(data["source"], data["mask"], data["target_in"]).logits)
    expected = logits(DATA)
    np.testing.assert_allclose(jax.jit(functools.partial(decode, graph))(params, DATA), expected, atol=1e-5)
    for padding in ({"source_left": 2}, {"source_right": 2}):  # of one shape, and so one program
        np.testing.assert_allclose(logits(batch("tokens", **padding)), expected, atol=1e-5)
    size = SIZES[name](configured(name, attention, **changes), TOKENS)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == size


@pytest.mark.parametrize("name", ["gru", "gru_attention", "gru_decoder", "lstm_decoder"])
def test_carry_streams_the_target_in_chunks(name):
    model = make(name)
    whole = forward(model)
    first = forward(model, {**DATA, "target_in": DATA["target_in"][:, :1]})
    second = forward(model, {**DATA, "target_in": DATA["target_in"][:, 1:]}, carry=first.carry)
    np.testing.assert_allclose(first.logits, whole.logits[:, :1], atol=1e-5)
    np.testing.assert_allclose(second.logits, whole.logits[:, 1:], atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), second.carry, whole.carry)
    assert not np.allclose(forward(model, {**DATA, "target_in": DATA["target_in"][:, 1:]}).logits, second.logits)


@pytest.mark.parametrize("name", ["lstm", "gru_attention"])
def test_reversal_reads_each_row_backwards_and_nothing_else(name):
    """The same weights on rows that were turned round by hand, token by token, padding left in place."""
    lengths = np.asarray(DATA["mask"]).sum(1)
    turned = np.asarray(DATA["source"]).copy()
    for row, length in enumerate(lengths):
        turned[row, :length] = turned[row, :length][::-1]
    plain, reversing = make(name), make(name, reverse_source=True)
    nnx.update(reversing, nnx.state(plain))
    by_hand = forward(plain, {**DATA, "source": jnp.asarray(turned)})
    np.testing.assert_allclose(forward(reversing).logits, by_hand.logits, atol=1e-5)
    assert not np.allclose(forward(plain).logits, by_hand.logits, atol=1e-3)


def test_attention_weights_are_shares_of_the_real_source():
    for feeding in (True, False):
        weights_BTS = forward(make("gru_attention", {"input_feeding": feeding}), taps={"decoder.attention": None}).taps[
            "decoder.attention"
        ]
        np.testing.assert_allclose(weights_BTS.sum(-1), 1.0, rtol=1e-5)
        assert np.all(np.asarray(weights_BTS)[~np.broadcast_to(DATA["mask"][:, None], weights_BTS.shape)] == 0)


@pytest.mark.parametrize("name", ["gru", "lstm_attention", "gru_decoder"])
def test_an_empty_source_row_is_finite_and_alone(name):
    """A row without a source gives numbers, and gradients that are numbers, and leaves its neighbours as they were."""
    model = make(name)
    graph, params = nnx.split(model)
    empty = {**DATA, "mask": DATA["mask"].at[1].set(False)}

    def total(params):
        logits = nnx.merge(graph, params)(empty["source"], empty["mask"], empty["target_in"]).logits
        return jnp.sum(jnp.sin(logits)), logits

    (_, logits), gradient = jax.jit(jax.value_and_grad(total, has_aux=True))(params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((logits, gradient)))
    np.testing.assert_allclose(logits[0], forward(model).logits[0], atol=1e-5)


@pytest.mark.parametrize("feeding", [True, False])
def test_dropout_falls_between_decoder_layers(feeding):
    """With and without input feeding, where the masks are drawn outside the scan."""
    model = make("gru_attention", {"input_feeding": feeding}, dropout_rate=0.5)
    dropped = forward(model, key=jax.random.key(3), taps={"decoder.0.hidden": None})
    whole = forward(model, taps={"decoder.0.hidden": None})
    assert not np.allclose(dropped.logits, whole.logits, atol=1e-3)
    single = make("gru_attention", {"input_feeding": feeding}, dropout_rate=0.5, num_layers=1)
    np.testing.assert_array_equal(forward(single, key=jax.random.key(3)).logits, forward(single).logits)


@pytest.mark.parametrize("variational", [True, False])
@pytest.mark.parametrize("name", ["rnn_decoder", "gru", "gru_attention"])
def test_variational_dropout_drops_the_same_features_at_all_steps(name, variational):
    """Before the first layer, seen by the gradient of what stands there; and in what the output layer reads."""
    model = make(name, input_dropout_rate=0.5, output_dropout_rate=0.5, variational_dropout=variational)
    graph, params = nnx.split(model)
    key = jax.random.key(5)

    def call(added_BTE):
        taps = {"decoder.inputs": added_BTE}
        return nnx.merge(graph, params)(DATA["source"], DATA["mask"], DATA["target_in"], key=key, taps=taps)

    shape = jax.eval_shape(lambda: call(None)).taps["decoder.inputs"].shape
    gradient_BTE = jax.jit(jax.grad(lambda added: (call(added).logits ** 2).sum()))(jnp.zeros(shape))
    readout_BTH = forward(model, key=key).readout
    for values_BTX in (gradient_BTE, readout_BTH):
        kept_TX = np.asarray(values_BTX[0] != 0)[-3:]  # real positions of the first row
        assert 0.2 < kept_TX.mean() < 0.8
        assert (kept_TX == kept_TX[:1]).all() == variational


@pytest.mark.parametrize("variational", [True, False])
@pytest.mark.parametrize("name", ["gru_decoder", "gru_attention"])
def test_variational_dropout_between_layers(name, variational):
    """What the layer below gives at step t reaches the logits of step t by the layer above alone."""
    model = make(name, dropout_rate=0.5, variational_dropout=variational)
    graph, params = nnx.split(model)
    below = "decoder.0.hidden"

    def logits(added_BTH):
        data = {name: value[:1] for name, value in DATA.items()}
        output = nnx.merge(graph, params)(
            data["source"], data["mask"], data["target_in"], key=jax.random.key(7), taps={below: added_BTH}
        )
        return output if added_BTH is None else output.logits

    shape = jax.eval_shape(lambda: logits(None)).taps[below].shape
    jacobian_TNH = jax.jit(jax.jacrev(lambda added: logits(added)[0, -3:].sum(-1)))(jnp.zeros(shape))[:, 0]
    steps = jacobian_TNH.shape[1] - 3 + np.arange(3)
    kept_TH = np.asarray(jacobian_TNH[np.arange(3), steps] != 0)
    assert 0.1 < kept_TH.mean() < 0.9
    assert (kept_TH == kept_TH[:1]).all() == variational


def test_masked_softmax_of_nothing_is_zero():
    weights = masked_softmax(jnp.ones((2, 1, 3)), jnp.array([[True, True, False], [False] * 3]))
    np.testing.assert_allclose(weights, np.array([[[0.5, 0.5, 0.0]], [[0.0, 0.0, 0.0]]]))


@pytest.mark.parametrize(
    ("attention", "changes", "message"),
    [
        ({"score": "adding"}, {}, "model.attention.score = 'adding' is not known; .*choose from additive"),
        ({"score": "dot"}, {"bidirectional": True}, "model.attention.score = 'dot' needs .*; use general"),
    ],
)
def test_scores_that_do_not_fit_are_refused(attention, changes, message):
    with pytest.raises(ValueError, match=message):
        make("gru_attention", attention, **changes)


def test_an_unknown_context_is_refused():
    with pytest.raises(ValueError, match="model.context = 'end' is not known; choose from start, every_step"):
        make("gru", context="end")
