"""What the recurrences in parallel rest on, and what they promise beyond every mixer: starts, extremes, many lengths.

Dims: B batch, T tokens, D width.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import models
from models.mixers import MIXERS
from models.mixers.delta_net import inverse
from models.mixers.linear_scan import linear_scan
from models.mixers.mixer import Span
from models.mixers.selective_scan import Selected, selective_scan
from models.positions import NoPositions
from models.taps import Tapper

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("T", [1, 2, 9, 10])  # one chunk, whole chunks and a rest
@pytest.mark.parametrize("rows", [1, 2])
def test_the_scan_is_the_loop(T, rows):
    """Complex numbers too; one row of what is kept may serve all."""
    keep = RNG.uniform(0.1, 1, (rows, T, 3)) * np.exp(1j * RNG.uniform(0, 6, (rows, T, 3)))
    enter, carry, d_h = (RNG.normal(size=(2, *shape, 3)) + 1j for shape in ((T,), (), (T,)))
    mask = np.arange(T) < np.array([[T], [T // 2]])

    def loop(keep, enter, carry):
        h, out = carry, []
        for t in range(T):
            h = jnp.where(mask[:, t, None], keep[:, t] * h + enter[:, t], h)
            out.append(h)
        return jnp.stack(out, axis=1)

    def loss(h):
        return (h * d_h).real.sum() + jnp.abs(h).sum()

    arguments = [jnp.asarray(x, jnp.complex64) for x in (keep, enter, carry)]
    ours, theirs = (
        jax.jit(jax.value_and_grad(lambda *xs: loss(form(*xs)), argnums=(0, 1, 2)))  # noqa: B023
        for form in (lambda *xs: linear_scan(*xs, jnp.asarray(mask))[0], loop)
    )
    (found, slopes), (expected, expected_slopes) = ours(*arguments), theirs(*arguments)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    for a, b in zip(slopes, expected_slopes, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    h_BTD, last_BD = linear_scan(*arguments)
    np.testing.assert_array_equal(h_BTD[:, -1], last_BD)


@pytest.mark.parametrize("T", [0, 1, 4, 9])  # nothing, less than a chunk, one, whole chunks and a rest
def test_the_selective_scan_is_the_loop(T):
    """In values and in all gradients, where no time passes and where all is forgotten too."""

    def loop(parts, rate_EN, h_BEN):
        out = []
        for t in range(T):
            now = Selected(*(part[:, t] for part in parts))
            h_BEN = (
                jnp.exp(now.delta[..., None] * rate_EN) * h_BEN + (now.delta * now.x)[..., None] * now.enter[:, None]
            )
            out.append(jnp.einsum("BEN,BN->BE", h_BEN, now.leave))
        return jnp.stack(out, axis=1) if out else jnp.zeros((2, 0, 3)), h_BEN

    def study(form):
        def loss(*arguments):
            y_BTE, h_BEN = form(*arguments)
            return jnp.sin(2 * y_BTE + 0.3).sum() + jnp.cos(h_BEN).sum()

        return jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2)))

    delta_BTE = RNG.uniform(size=(2, T, 3)) * RNG.choice([0, 1, 50], (2, T, 1))
    parts = Selected(delta_BTE, *(RNG.normal(size=(2, T, n)) for n in (3, 5, 5)))
    arguments = parts, -RNG.uniform(0.1, 5, (3, 5)), RNG.normal(size=(2, 3, 5))
    arguments = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), arguments)
    found, expected = study(lambda *xs: selective_scan(*xs, 4))(*arguments), study(loop)(*arguments)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found, expected)


@pytest.mark.parametrize("size", [1, 5, 8])
def test_the_inverse_is_exact_where_keys_repeat(size):
    """All products of keys are 1: powers of L reach binomial coefficients, the inverse has 1 and -1 alone."""
    same, below = np.ones((size, size)), np.tril(RNG.normal(size=(2, size, size)), -1)
    np.testing.assert_array_equal(inverse(jnp.asarray(same)), np.eye(size) - np.eye(size, k=-1))
    np.testing.assert_allclose(inverse(jnp.asarray(below)), np.linalg.inv(np.eye(size) + below), rtol=1e-4, atol=1e-4)


def made(name: str, **values):
    config = models.configured("decoder", {"hidden_size": 16} | values)
    return MIXERS[name](config, 0, nnx.Rngs(params=jax.random.key(0)))


def test_the_lru_starts_on_its_ring_with_states_of_variance_one():
    mixer = made("lru", **{"lru.min_radius": 0.5, "lru.max_radius": 0.9, "lru.max_phase": 0.3, "lru.expansion": 4})
    radius, phase = np.exp(-np.exp(mixer.nu[...])), np.exp(mixer.theta[...])
    assert radius.shape == (64,) and 0.5 <= radius.min() < 0.6 and 0.85 < radius.max() <= 0.9
    assert 0 < phase.min() < 0.05 and 0.25 < phase.max() <= 0.3
    np.testing.assert_allclose(np.exp(mixer.gamma[...]), np.sqrt(1 - radius**2), rtol=1e-4)


def test_mamba_starts_with_rates_one_to_n_and_small_time_steps():
    mixer = made("mamba", **{"mamba.state_size": 4})
    np.testing.assert_allclose(np.exp(mixer.log_rate[...]), np.tile([1, 2, 3, 4], (32, 1)), rtol=1e-6)
    steps = jax.nn.softplus(mixer.delta.bias[...])
    assert 9e-4 < steps.min() < 0.01 < steps.max() < 0.101


@pytest.mark.parametrize(("name", "kept"), [("min_gru", jax.nn.sigmoid(-2.0)), ("min_lstm", jax.nn.sigmoid(2.0))])
def test_a_forget_bias_keeps_more(name, kept):
    mixer = made(name, **{f"{name}.forget_bias": 2.0})
    np.testing.assert_allclose(jax.nn.sigmoid(mixer.core.bias[:16]), kept)
    assert (mixer.core.bias[16:] == 0).all()


def test_gates_of_the_mlstm_do_not_overflow():
    """exp(200) is no float32; a state that is as large is divided by as much."""
    mixer = made("mlstm", **{"mlstm.num_heads": 2, "mlstm.chunk": 2})
    mixer.gates.bias[...] = jnp.array([200.0, -200.0, 0.0, 100.0])
    graph, params = nnx.split(mixer)

    @jax.jit
    def run(params, x_BTD):
        def loss(params):
            span = Span.of(jnp.zeros(1, jnp.int32), 5, None, NoPositions(5, 16, 1, nnx.Rngs(0)))
            mixer = nnx.merge(graph, params)
            y_BTD, carry = mixer(x_BTD, span, mixer.start_carry(1), name="", tap=Tapper(None, ()))
            return jnp.sum(y_BTD**2), (y_BTD, carry)

        return jax.value_and_grad(loss, has_aux=True)(params)

    found = run(params, jnp.asarray(RNG.normal(size=(1, 5, 16)), jnp.float32))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))
    assert np.abs(found[0][1][0]).max() > 0.1


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        *(
            (
                name,
                {f"{name}.num_heads": 3},
                f"model.{name}.num_heads = 3 does not divide model.hidden_size = 16; use 1",
            )
            for name in ("linear_attention", "delta_net", "mlstm")
        ),
        ("lru", {"lru.max_radius": 1.5}, "model.lru.max_radius = 1.5 is not above model.lru.min_radius = 0.9 and at"),
    ],
)
def test_impossible_values_end_in_one_line(name, values, message):
    with pytest.raises(ValueError) as error:
        made(name, **values)
    assert message in str(error.value) and "\n" not in str(error.value)
