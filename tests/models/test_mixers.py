"""What every entry of MIXERS promises, by walking the table; `models/mixers/mixer.py` states it.

Dims: B batch, T tokens, D model width.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import models
from models.mixers import MIXERS
from models.mixers.both_ways import BothWays
from models.mixers.mixer import Span
from models.positions import POSITIONS
from models.taps import Tapper
from tests.models.mixer_forms import FORMS
from tests.models.sizes import MIXER_SIZES

B, T, D, DEPTH = 3, 7, 8, 1
TINY = {
    "hidden_size": D,
    "num_heads": 2,
    "local_attention.window": 2,
    "strided_attention.window": 2,
    "strided_attention.dilation": 3,
    "hierarchical_attention.block_size": 2,
    "mamba.state_size": 3,
    **{f"{name}.chunk": 3 for name in ("linear_attention", "delta_net", "mamba", "mlstm")},
}  # T tokens are several windows, or chunks
CASES: dict[str, tuple[str, dict]] = {name: (name, {}) for name in MIXERS} | {
    "attention, one head of keys": ("attention", {"num_kv_heads": 1, "attention_scale": False, "use_bias": False}),
    "attention, narrow keys": ("attention", {"key_size": 3}),
    "local_attention, grouped, dilated": (
        "local_attention",
        {"num_kv_heads": 1, "key_size": 6, "local_attention.dilation": 2, "attention_scale": False},
    ),
    "hierarchical_attention, grouped": (
        "hierarchical_attention",
        {"num_kv_heads": 1, "key_size": 3, "hierarchical_attention.block_size": 3, "attention_scale": False},
    ),
    "conv, of two": ("conv", {"conv.kernel_size": 2, "conv.dilation": 3}),
    "linear_attention, relu": ("linear_attention", {"linear_attention.feature_map": "relu"}),
    "linear_attention, exp": ("linear_attention", {"linear_attention.feature_map": "exp"}),
    "min_gru, wide": ("min_gru", {"min_gru.expansion": 2}),
    "min_lstm, wide": ("min_lstm", {"min_lstm.expansion": 2}),
    "lru, wide": ("lru", {"lru.expansion": 2}),
    "mamba, wider": ("mamba", {"mamba.expansion": 3, "mamba.rank": 2, "mamba.kernel_size": 2}),
    "delta_net, gated": ("delta_net", {"delta_net.gated": True, "delta_net.num_heads": 2, "delta_net.kernel_size": 1}),
}
"""By name: a mixer and what is set beside its defaults."""
FIRST, REST = np.array([4, 2, 0]), 3  # real tokens of each row in a first chunk of four, and in a second


def config_of(case: str, **changes):
    return models.configured("decoder", TINY | CASES[case][1] | changes)


@functools.cache
def built(case: str, dtype: str = "float32"):
    """(graph, params), all of them noise."""
    kind, config = MIXERS[CASES[case][0]], config_of(case, dtype=dtype)
    graph, shapes = nnx.split(nnx.eval_shape(lambda: kind(config, DEPTH, nnx.Rngs(params=jax.random.key(0)))))
    rng = np.random.default_rng(1)
    return graph, jax.tree.map(lambda leaf: jnp.asarray(0.4 * rng.normal(size=leaf.shape), jnp.float32), shapes)


def mixer_of(case: str):
    return nnx.merge(*built(case))


def normal(seed: int, *shape: int):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def span_of(before_B, length: int, length_B=None) -> Span:
    return Span.of(before_B, length, length_B, POSITIONS["alibi"](0, D, 2, nnx.Rngs(0)))


def unlike(y):
    """Of a loss that reads every entry differently."""
    return jnp.sin(2 * y + 0.3)


@functools.cache
def study(case: str):
    """(params, x, length_B, taps) -> ((loss of real tokens, (y, captured)), gradients of params, x and taps)."""
    graph, _ = built(case)

    def loss(params, x_BTD, taps, length_B):
        mixer, tap = nnx.merge(graph, params), Tapper(taps, tuple(MIXERS[CASES[case][0]].taps))
        span = span_of(jnp.zeros(1, jnp.int32), x_BTD.shape[1], length_B)
        y_BTD, _ = mixer(x_BTD, span, mixer.start_carry(B), name="", tap=tap)
        return jnp.sum(unlike(y_BTD) * span.mask_BT[..., None]), (y_BTD, tap.captured)

    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True))


@functools.cache
def base(case: str):
    """The study of seven tokens in each row."""
    return study(case)(built(case)[1], normal(2, B, T, D), {}, jnp.full(B, T))


def close(ours, expected, **tolerance):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, **{"rtol": 1e-5, "atol": 1e-5} | tolerance), ours, expected
    )


def test_every_mixer_has_its_plain_form_and_its_size():
    assert set(FORMS) == set(MIXERS) == set(MIXER_SIZES)


@pytest.mark.parametrize("case", CASES)
def test_it_is_what_its_paper_says(case: str):
    """Against numpy in float64; gradients against differences of its loss, along a direction of each parameter."""
    (_, (y_BTD, _)), (of_params, of_x, _) = base(case)
    wide = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), nnx.to_pure_dict(built(case)[1]))
    leaves, tree = jax.tree.flatten((wide, np.asarray(normal(2, B, T, D), np.float64)))
    slopes = jax.tree.leaves((nnx.to_pure_dict(of_params), of_x))
    form, config = FORMS[CASES[case][0]], config_of(case)

    def plain(leaves):
        params, x_BTD = jax.tree.unflatten(tree, leaves)
        return np.stack([form(params, config, DEPTH, x_TD) for x_TD in x_BTD])

    close(y_BTD, plain(leaves))
    rng = np.random.default_rng(3)
    for at, slope in enumerate(slopes):
        assert np.abs(slope).max() > 1e-3  # every parameter counts
        direction = rng.normal(size=slope.shape) / np.sqrt(slope.size)
        moved = [[*leaves[:at], leaves[at] + by * direction, *leaves[at + 1 :]] for by in (-1e-5, 1e-5)]
        below, above = (np.sin(2 * plain(arrays) + 0.3).sum() for arrays in moved)
        size = np.linalg.norm(slope) * np.linalg.norm(direction)
        np.testing.assert_allclose(
            np.vdot(slope, direction), (above - below) / 2e-5, rtol=1e-5, atol=float(1e-5 * size)
        )


@pytest.mark.parametrize("case", CASES)
def test_chunks_and_steps_give_the_whole_s_numbers(case: str):
    """A first chunk of which rows have 4, 2 and no real tokens, then three tokens more, at once and step by step.

    The second chunk is computed anew in the backward pass, as remat does, and rows are reordered before each step, as
    a beam does.
    """
    graph, params = built(case)
    x_BTD = normal(2, B, T, D)

    def loss(params, first_BTD, more_BTD):
        mixer = nnx.merge(graph, params)
        span = span_of(jnp.zeros(1, jnp.int32), 4, jnp.asarray(FIRST))
        y_BTD, carry = mixer(first_BTD, span, mixer.start_carry(B), name="", tap=Tapper(None, ()))
        assert all(leaf.shape[0] == B for leaf in jax.tree.leaves(carry))
        then = span_of(jnp.asarray(FIRST, jnp.int32), REST)

        @jax.checkpoint
        def again(params, more_BTD, carry):
            return nnx.merge(graph, params)(more_BTD, then, carry, name="", tap=Tapper(None, ()))[0]

        z_BTD = again(params, more_BTD, carry)
        memory, state = mixer.open(carry, REST)
        assert all(leaf.shape[0] == B for leaf in jax.tree.leaves((memory, state)))

        def step(held, at):
            """With each row one place further on than before."""
            memory, state, row_B = jax.tree.map(lambda leaf_B: jnp.roll(leaf_B, 1, axis=0), held)
            t, x_BD = at
            now = span_of(jnp.asarray(FIRST, jnp.int32)[row_B] + t, 1)
            y_BD, after = mixer.step(x_BD[row_B], t, now, memory, state)
            assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, state)
            return (memory, after, row_B), y_BD[jnp.argsort(row_B)]

        held = memory, state, jnp.arange(B)
        _, stepped_TBD = jax.lax.scan(step, held, (jnp.arange(REST), more_BTD.swapaxes(0, 1)))
        total = jnp.sum(unlike(y_BTD) * span.mask_BT[..., None]) + jnp.sum(unlike(z_BTD))
        return total, (z_BTD, stepped_TBD.swapaxes(0, 1))

    first_BTD, more_BTD = x_BTD[:, :4], x_BTD[:, 4:]
    run = jax.jit(jax.value_and_grad(loss, has_aux=True))
    (found, (chunk_BTD, stepped_BTD)), slopes = run(params, first_BTD, more_BTD)
    rows = [jnp.concatenate([first_BTD[b, : FIRST[b]], more_BTD[b], 9 * first_BTD[b, FIRST[b] :]]) for b in range(B)]
    (expected, (y_BTD, _)), (of_params, _, _) = study(case)(params, jnp.stack(rows), {}, jnp.asarray(FIRST + REST))
    whole_BTD = jnp.stack([y_BTD[b, FIRST[b] : FIRST[b] + REST] for b in range(B)])
    close((chunk_BTD, stepped_BTD), (whole_BTD, whole_BTD))
    close((found, slopes), (expected, of_params), atol=1e-4)


@pytest.mark.parametrize("case", CASES)
def test_no_token_is_read_as_any_number_is(case: str):
    """An empty source, or a prompt of nothing; decoding goes on as if it had not been there."""
    mixer, x_BD = mixer_of(case), normal(3, B, D)
    start = mixer.start_carry(B)
    nothing_BTD, carry = mixer(
        jnp.zeros((B, 0, D)), span_of(jnp.zeros(B, jnp.int32), 0), start, name="", tap=Tapper(None, ())
    )
    assert nothing_BTD.shape == (B, 0, D)

    def first(carry):
        return mixer.step(x_BD, jnp.asarray(0), span_of(jnp.zeros(B, jnp.int32), 1), *mixer.open(carry, 1))[0]

    np.testing.assert_array_equal(first(carry), first(start))


@pytest.mark.parametrize("case", CASES)
def test_it_sees_as_far_back_as_it_says_and_nothing_later(case: str):
    """By another vector at one place: y is the same to the bit before it, and where it is out of reach."""
    mixer, (_, (y_BTD, _)) = mixer_of(case), base(case)[0]
    reach = T if mixer.reach is None else mixer.reach
    assert reach == T or reach < T - 1  # else this says nothing
    for s in range(T):
        x_BTD = normal(2, B, T, D).at[:, s].add(1.0)
        (_, (other_BTD, _)), _ = study(case)(built(case)[1], x_BTD, {}, jnp.full(B, T))
        changed_T = np.abs(other_BTD - y_BTD).max((0, 2)) > 0
        within = {t for t in range(T) if 0 <= t - s <= reach}
        certain = {s, s + reach} & within if mixer.reach else {s, T - 1}
        assert certain <= set(np.flatnonzero(changed_T)) <= within, s


@pytest.mark.parametrize("case", CASES)
def test_taps_capture_and_perturb_every_name(case: str):
    """And change nothing, where another form of the computation shows them."""
    _, params = built(case)
    taps = MIXERS[CASES[case][0]].taps
    arguments = params, normal(2, B, T, D)
    shapes = jax.eval_shape(study(case), *arguments, dict.fromkeys(taps), jnp.full(B, T))[0][1][1]
    assert taps and shapes.keys() == taps.keys()
    zeros = {name: jnp.zeros(value.shape, value.dtype) for name, value in shapes.items()}
    (loss, (y_BTD, captured)), (of_params, _, of_taps) = study(case)(*arguments, zeros, jnp.full(B, T))
    ((plain_loss, (plain_BTD, _)), (of_plain, _, _)) = base(case)
    close((y_BTD, of_params), (plain_BTD, of_plain), atol=2e-5)
    for name, axes in taps.items():
        assert captured[name].shape[0] == B and {captured[name].shape[axis] for axis in axes} <= {T}, name
        assert np.abs(of_taps[name]).max() > 1e-4 and np.isfinite(captured[name]).all(), name


@pytest.mark.parametrize("case", CASES)
def test_it_computes_in_bfloat16(case: str):
    graph, params = built(case, "bfloat16")

    @jax.jit
    def low(params, x_BTD):
        mixer = nnx.merge(graph, params)
        span = span_of(jnp.zeros(1, jnp.int32), T)
        return mixer(x_BTD.astype(jnp.bfloat16), span, mixer.start_carry(B), name="", tap=Tapper(None, ()))[0]

    y_BTD, expected_BTD = low(params, normal(2, B, T, D)), base(case)[0][1][0]
    assert y_BTD.dtype == jnp.bfloat16
    np.testing.assert_allclose(y_BTD.astype(jnp.float32), expected_BTD, atol=0.06 * np.abs(expected_BTD).max())


def test_in_both_directions_each_row_is_read_from_either_end():
    """By all that an encoder can have so, in one program, with the same parameters for both directions here."""
    names = [name for name, kind in MIXERS.items() if not (kind.two_sided or kind.attends)]
    length_B, x_BTD = np.array([T, 3, 1]), normal(2, B, T, D)
    reversed_BTD = jnp.stack([x_BTD[b, [*range(n)[::-1], *range(n, T)]] for b, n in enumerate(length_B)])

    def read(mixer, x_BTD, length_B=None):
        span = span_of(jnp.zeros(1, jnp.int32), T, length_B)
        return mixer(x_BTD, span, mixer.start_carry(len(x_BTD)), name="", tap=Tapper(None, ()))[0]

    @jax.jit
    def run(params, x_BTD, both_BTD):
        found, expected = {}, {}
        for name in names:
            both = nnx.eval_shape(lambda name=name: BothWays(MIXERS[name], config_of(name), DEPTH, nnx.Rngs(params=1)))
            both.forward = both.backward = mixer = nnx.merge(built(name)[0], params[name])
            found[name], expected[name] = read(both, x_BTD, jnp.asarray(length_B)), read(mixer, both_BTD)
        return found, expected

    params = {name: built(name)[1] for name in names}
    found, expected = run(params, x_BTD, jnp.concatenate([x_BTD, reversed_BTD]))
    for name in names:
        for b, n in enumerate(length_B):
            close(found[name][b, :n], expected[name][b, :n] + expected[name][B + b, :n][::-1])


@pytest.mark.parametrize("case", CASES)
def test_parameters_are_the_closed_form(case: str):
    leaves = jax.tree.leaves(built(case)[1])
    assert sum(leaf.size for leaf in leaves) == MIXER_SIZES[CASES[case][0]](config_of(case))


def test_bytes_of_state_as_a_function_of_the_context():
    """Keys and values grow with the context, what has a reach or a hidden state does not."""
    for context in (10, 1000):
        found = {case: mixer_of(case).state_bytes(context) for case in CASES}
        assert found["attention"] == 2 * 4 * D * context
        assert found["attention, one head of keys"] == 4 * D * context
        assert found["local_attention"] == 2 * 4 * D and found["local_attention, grouped, dilated"] == 2 * 4 * (6 + 4)
        assert found["strided_attention"] == 2 * 4 * D * 3
        assert found["hierarchical_attention"] == 2 * 4 * D * (2 + -(-(context + 1) // 2))
        assert found["rnn"] == found["gru"] == 4 * D and found["lstm"] == 8 * D
        assert found["conv"] == 4 * D * 2 * 2 and found["conv, of two"] == 4 * D * 3
        assert found["min_gru"] == found["min_lstm"] == 4 * D and found["lru"] == 8 * D
        assert found["linear_attention"] == 4 * 4 * 2 * 3 and found["mlstm"] == 4 * 4 * (2 * 3 + 1)
        assert found["delta_net"] == 4 * (4 * 2 * 2 + 3 * 3 * D) and found["delta_net, gated"] == 4 * 2 * 4 * 4
        assert found["mamba"] == 4 * 2 * D * (3 + 3) and found["mamba, wider"] == 4 * 3 * D * (3 + 1)
        assert found["min_gru, wide"] == found["min_lstm, wide"] == 8 * D and found["lru, wide"] == 16 * D
