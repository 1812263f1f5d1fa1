"""The convolutional encoder-decoder beside its paper's equations, its receptive field, chunks, mistakes.

Dims: B batch, S source length, T target length, E embedding width, D width of the convolutions.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import models
from data.spec import Spec
from tests.models.scan_forms import linear, sigmoid

V, E, D, K, LAYERS = 11, 6, 8, 3, 2
SPEC = Spec("tokens", V, V, "tokens", V, 12, 12, shared_vocabulary=True, eos=2)
RNG = np.random.default_rng(0)
SOURCE_BS, TARGET_BT = RNG.integers(3, V, (2, 5)), RNG.integers(3, V, (2, 6))
LENGTHS = np.array([5, 3])
ROOT = np.sqrt(0.5)


def config_of(**values):
    return models.configured("conv", {"hidden_size": D, "embed_size": E, "num_layers": LAYERS} | values)


@functools.cache
def made():
    """(graph, params), all of them noise."""
    graph, shapes = nnx.split(nnx.eval_shape(lambda: models.build("conv", config_of(), SPEC, jax.random.key(0))))
    rng = np.random.default_rng(1)
    return graph, jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape) / 2, jnp.float32), shapes)


@jax.jit
def study(params, encoder_inputs, decoder_inputs, place_BT):
    """((loss of the logits at the places, output), gradients with respect to parameters and inputs)."""

    def loss(params, taps):
        output = nnx.merge(made()[0], params)(*source(), jnp.asarray(TARGET_BT), taps=taps)
        return jnp.sum(jnp.sin(output.logits) * place_BT[..., None]), output

    taps = {"encoder.inputs": encoder_inputs, "decoder.inputs": decoder_inputs}
    return jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(params, taps)


def source():
    return jnp.asarray(SOURCE_BS), jnp.asarray(np.arange(5) < LENGTHS[:, None])


def zeros():
    return jnp.zeros((2, 5, E)), jnp.zeros((2, 6, E))


def glu(x):
    """Dauphin et al. 2017, equation 1."""
    return x[: len(x) // 2] * sigmoid(x[len(x) // 2 :])


def convolved(p, x_TD, first):
    """Gehring et al. 2017, section 3.2: k neighbours from place t + first on, zeros beyond the ends."""
    T = len(x_TD)
    beside = [
        np.concatenate([x_TD[s] if 0 <= s < T else np.zeros(D) for s in range(t + first, t + first + K)])
        for t in range(T)
    ]
    return np.array([glu(linear(p["inputs"], row)) for row in beside])


def plain(p, source, target):
    """Logits of one example: equations 1 and 2 of section 3.3, scaled as section 3.5 says."""
    table = p["inputs"]["target"]["table"]

    def embedded(tokens, positions):
        return [0.1 * (table[token] * np.sqrt(E) + positions["table_ND"][at]) for at, token in enumerate(tokens)]

    e, g = np.array(embedded(source, p["source_positions"])), np.array(embedded(target, p["target_positions"]))
    x, y = linear(p["encoder_in"], e), linear(p["decoder_in"], g)
    for number in range(LAYERS):
        x = (convolved(p["encoder"][number], x, -1) + x) * ROOT
    z = linear(p["encoder_out"], x)
    for number in range(LAYERS):
        layer, before = p["decoder"][number], y
        h = convolved(layer["conv"], y, -2)
        y = np.zeros_like(h)
        for t in range(len(target)):
            d = (linear(layer["query"], h[t]) + g[t]) * ROOT
            weights = np.exp(z @ d)
            c = (weights / weights.sum()) @ ((z + e) * ROOT)
            o = (h[t] + linear(layer["context"], c * np.sqrt(len(source)))) * ROOT
            y[t] = (o + before[t]) * ROOT
    return linear(p["decoder_out"], y) @ table.T + p["head"]["bias"]


def test_it_is_what_its_paper_says():
    """Against numpy in float64; gradients against differences of its loss, along a direction of each parameter."""
    _, params = made()
    (_, output), (slopes, _) = study(params, *zeros(), jnp.ones((2, 6)))
    wide = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), nnx.to_pure_dict(params))
    leaves, tree = jax.tree.flatten(wide)

    def expected(leaves):
        p = jax.tree.unflatten(tree, leaves)
        return np.stack([plain(p, SOURCE_BS[row, : LENGTHS[row]], TARGET_BT[row]) for row in range(2)])

    np.testing.assert_allclose(output.logits, expected(leaves), rtol=1e-5, atol=1e-5)
    rng = np.random.default_rng(3)
    for at, slope in enumerate(jax.tree.leaves(nnx.to_pure_dict(slopes))):
        assert np.abs(slope).max() > 1e-3
        direction = rng.normal(size=slope.shape) / np.sqrt(slope.size)
        moved = [[*leaves[:at], leaves[at] + by * direction, *leaves[at + 1 :]] for by in (-1e-5, 1e-5)]
        below, above = (np.sin(expected(arrays)).sum() for arrays in moved)
        size = float(np.linalg.norm(slope) * np.linalg.norm(direction))
        np.testing.assert_allclose(np.vdot(slope, direction), (above - below) / 2e-5, rtol=1e-5, atol=1e-5 * size)


def test_the_receptive_field_is_found_by_gradients_to_the_token():
    """Two convolutions of three see five tokens: in the decoder, the last five of what it was fed."""
    graph, params = made()
    field = nnx.merge(graph, params).receptive_field
    assert field == 5
    last = jnp.zeros((2, 6)).at[:, 5].set(1.0)
    _, (_, inputs) = study(params, *zeros(), last)
    np.testing.assert_array_equal(np.abs(inputs["decoder.inputs"]).max(2) > 0, [[False] + 5 * [True]] * 2)
    assert (np.abs(inputs["encoder.inputs"]).max(2) > 0).tolist() == [5 * [True], 3 * [True] + 2 * [False]]


def test_the_encoder_sees_as_many_half_on_either_side():
    graph, params = made()
    tokens = jnp.arange(11)[None] % V

    @jax.jit
    def slope(params, added):
        def middle(added):
            output = nnx.merge(graph, params)(
                tokens, jnp.ones((1, 11), bool), tokens[:, :1], taps={"encoder.inputs": added, "encoder.1.hidden": None}
            )
            return jnp.sum(output.taps["encoder.1.hidden"][:, 5])

        return jax.grad(middle)(added)

    seen_S = np.abs(slope(params, jnp.zeros((1, 11, E)))).max(2)[0] > 0
    np.testing.assert_array_equal(np.flatnonzero(seen_S), np.arange(3, 8))


def test_chunks_with_a_carry_give_the_logits_of_the_whole():
    graph, params = made()
    run = jax.jit(lambda target, carry: nnx.merge(graph, params)(*source(), target, carry=carry)[:2])
    whole, _ = run(TARGET_BT, None)
    first, carry = run(TARGET_BT[:, :1], None)
    second, _ = run(TARGET_BT[:, 1:], carry)
    np.testing.assert_allclose(np.concatenate([first, second], axis=1), whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kernel_size": 4}, "model.kernel_size = 4 has no middle for the encoder; use an odd one, such as 3 or 5"),
        ({"kernel_size": 1}, "model.kernel_size = 1 is too small; use 3 or more"),
        ({"positions": "rotary"}, "model.positions = 'rotary' is not known; choose from none, sinusoidal, learned"),
    ],
)
def test_impossible_configs_end_in_one_line(values, message):
    with pytest.raises(ValueError) as error:
        models.build("conv", config_of(**values), SPEC, jax.random.key(0))
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("positions", ["none", "sinusoidal"])
def test_other_positions_have_no_parameters_and_matter(positions):
    model = models.build("conv", config_of(positions=positions), SPEC, jax.random.key(0))
    assert not jax.tree.leaves(nnx.state(model.source_positions))
    x_BTE = jnp.ones((1, 2, E))
    moved = model.source_positions.add(x_BTE, jnp.arange(2)[None])
    assert np.array_equal(moved, x_BTE) == (positions == "none")
