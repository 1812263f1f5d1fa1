"""What each kind of position promises."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import models
from data.spec import Spec
from models import MODELS, transformer_layers
from models.attention import Keys, View, attend
from models.mixers.mixer import Span
from models.positions import POSITIONS, T5, Alibi, Learned, Relative, Rotary, Shaw, buckets, positions_of, sinusoids
from models.taps import Tapper
from tests.models.sizes import SIZES


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def test_positions_count_real_tokens_wherever_padding_stands():
    mask = jnp.array([[1, 1, 1, 0, 0], [0, 0, 1, 1, 1], [1, 0, 1, 0, 1], [0, 0, 0, 0, 0]], bool)
    got = np.asarray(positions_of(mask))
    assert [row[keep].tolist() for row, keep in zip(got, np.asarray(mask), strict=True)] == [
        [0, 1, 2],
        [0, 1, 2],
        [0, 1, 2],
        [],
    ]
    assert (got >= 0).all()


def test_sinusoids_are_those_of_the_paper_at_any_length():
    D = 6
    got = np.asarray(sinusoids(jnp.array([[0, 1, 7, 5000]]), D))[0]
    for row, position in zip(got, [0, 1, 7, 5000], strict=True):
        for i in range(D // 2):
            angle = position / 10000 ** (2 * i / D)
            np.testing.assert_allclose(row[2 * i : 2 * i + 2], [np.sin(angle), np.cos(angle)], atol=1e-3)
    assert sinusoids(jnp.array([[3]]), 5).shape == (1, 1, 5)


def test_sinusoidal_adds_and_none_does_nothing():
    x_BTD, position_BT = normal(0, 2, 3, 8), jnp.array([[0, 1, 2], [5, 6, 7]])
    kinds = {name: kind(4, 8, 2, nnx.Rngs(0)) for name, kind in POSITIONS.items()}
    added = kinds["sinusoidal"].add(x_BTD, position_BT)
    np.testing.assert_allclose(added, x_BTD + np.asarray(sinusoids(position_BT, 8)), rtol=1e-6)
    for name in ("none", "rotary", "alibi", "relative", "t5", "shaw"):
        assert kinds[name].add(x_BTD, position_BT) is x_BTD
    for name, kind in kinds.items():
        assert kind.biased == (name in ("alibi", "relative", "t5", "shaw"))
        assert (kind.bias(position_BT, position_BT) is not None) == (kind.biased and name != "shaw")
        assert (kind.edges(position_BT, position_BT) is not None) == (name == "shaw")
        assert kind.trains_bias == (kind.biased and bool(jax.tree.leaves(nnx.state(kind, nnx.Param))))
    for name in ("none", "sinusoidal", "learned", "alibi", "relative", "t5", "shaw"):
        x_BHTK = normal(1, 2, 2, 3, 4)
        assert kinds[name].rotate(x_BHTK, position_BT) is x_BHTK


def test_learned_positions_beyond_the_table_share_its_last_row():
    learned = Learned(4, 8, 2, nnx.Rngs(0))
    x_BTD = jnp.zeros((1, 5, 8))
    added = np.asarray(learned.add(x_BTD, jnp.array([[0, 1, 3, 4, 900]])))[0]
    table = np.asarray(learned.table_ND[...])
    np.testing.assert_array_equal(added, table[[0, 1, 3, 3, 3]])
    assert not np.allclose(table[0], table[3])


def test_rotary_scores_depend_on_the_distance_alone_and_lengths_are_kept():
    rotary = Rotary(4, 8, 1, nnx.Rngs(0))
    query, key = normal(1, 1, 1, 1, 8), normal(2, 1, 1, 1, 8)

    @jax.jit
    def score(i, j):
        place = lambda n: n[None, None]  # noqa: E731
        return (rotary.rotate(query, place(i)) * rotary.rotate(key, place(j))).sum()

    near = [float(score(np.int32(i + 3), np.int32(i))) for i in (0, 1, 50, 400)]
    np.testing.assert_allclose(near, near[0], atol=1e-3)
    assert abs(float(score(np.int32(5), np.int32(0))) - near[0]) > 1e-2
    assert abs(float(score(np.int32(0), np.int32(3))) - near[0]) > 1e-2  # and on its sign
    turned = rotary.rotate(query, jnp.array([[11]]))
    np.testing.assert_allclose(np.linalg.norm(turned), np.linalg.norm(query), rtol=1e-5)
    np.testing.assert_allclose(rotary.rotate(query, jnp.array([[0]])), query)


def test_rotary_turns_each_pair_by_its_frequency():
    x = jnp.array([[[[1.0, 1.0, 0.0, 0.0]]]])
    turned = np.asarray(Rotary(4, 4, 1, nnx.Rngs(0)).rotate(x, jnp.array([[3]])))[0, 0, 0]
    slow = 3 / 10000**0.5
    np.testing.assert_allclose(turned, [np.cos(3), np.cos(slow), np.sin(3), np.sin(slow)], rtol=1e-5)


def test_rotary_refuses_heads_of_odd_width():
    with pytest.raises(ValueError, match="num_heads = 2 gives heads of odd width 3.*use 1 or 3"):
        Rotary(4, 6, 2, nnx.Rngs(0))


def test_alibi_slopes_and_distances_are_those_of_the_paper():
    bias = np.asarray(Alibi(4, 16, 8, nnx.Rngs(0)).bias(jnp.array([[0, 4]]), jnp.array([[0, 1, 4, 9]])))
    assert bias.shape == (1, 8, 2, 4)
    np.testing.assert_allclose(bias[0, :, 0, 1], [-(0.5**i) for i in range(1, 9)])
    np.testing.assert_allclose(bias[0, 0], -0.5 * np.array([[0, 1, 4, 9], [4, 3, 0, 5]]))


def drawn(kind, num_positions, num_heads, causal):
    graph, tables = nnx.split(kind(num_positions, 8, num_heads, nnx.Rngs(0), causal=causal))
    return nnx.merge(graph, jax.tree.map(lambda leaf: normal(leaf.size, *leaf.shape), tables))


def test_every_relative_distance_has_its_scalar_and_those_beyond_the_longest_are_clipped():
    at, head = jnp.array([[0, 1, 2, 3, 4, 9]]), 1
    causal, both = (drawn(Relative, 4, 2, causal) for causal in (True, False))
    table = np.asarray(causal.table_HN[...])[head]
    assert table.shape == (4,)  # distances 0 to 3, the farthest of four tokens
    np.testing.assert_array_equal(causal.bias(at[:, -2:], at)[0, head, 0], table[[3, 3, 2, 1, 0, 0]])
    np.testing.assert_array_equal(causal.bias(at[:, -1:], at)[0, head, 0], table[[3, 3, 3, 3, 3, 0]])
    table = np.asarray(both.table_HN[...])[head]
    assert table.shape == (7,)  # -3 to 3
    np.testing.assert_array_equal(both.bias(at[:, 2:3], at)[0, head, 0], table[[5, 4, 3, 2, 1, 0]])
    np.testing.assert_array_equal(both.bias(at[:, 1:2], at)[0, head, 0], table[[4, 3, 2, 1, 0, 0]])
    assert Relative(1000, 8, 2, nnx.Rngs(0)).table_HN.shape == (2, 129)
    assert Relative(0, 8, 2, nnx.Rngs(0), causal=False).table_HN.shape == (2, 1)
    assert Shaw(1000, 8, 2, nnx.Rngs(0), causal=False).key_NK.shape == (33, 4)  # k = 16 on either side


CAUSAL_BUCKETS = dict(zip(range(17), range(17), strict=True)) | {20: 17, 50: 24, 127: 31, 128: 31, 500: 31}
BUCKETS_OF_A_SIDE = dict(zip(range(9), range(9), strict=True)) | {
    11: 8,
    12: 9,
    16: 10,
    20: 10,
    50: 13,
    127: 15,
    500: 15,
}


@pytest.mark.parametrize(("causal", "worked"), [(True, CAUSAL_BUCKETS), (False, BUCKETS_OF_A_SIDE)])
def test_the_buckets_of_t5_are_those_of_the_paper(causal, worked):
    """Worked by hand, and by the formula: half are exact, and half logarithmic up to 128."""
    number = 32 if causal else 16
    exact = number // 2
    for distance, bucket in enumerate(buckets(number)):
        if distance >= exact:
            steps = (number - exact) * math.log(distance / exact) / math.log(128 / exact)
            assert bucket == min(exact + math.floor(steps + 1e-9), number - 1)
        assert bucket == worked.get(distance, bucket)
    t5 = drawn(T5, 20, 2, causal)
    table, far = np.asarray(t5.table_HN[...]), jnp.array([[1000]])
    assert table.shape == (2, 32)
    distance = np.array([list(worked)])
    before = np.asarray(t5.bias(far, far - distance))[0, :, 0]
    np.testing.assert_array_equal(before, table[:, list(worked.values())])
    after = np.asarray(t5.bias(far, far + distance))[0, :, 0]
    later = [0 if causal or not n else 16 + worked[n] for n in worked]  # a causal stack has none that it sees
    np.testing.assert_array_equal(after, table[:, later])


def plain(query_HTK, key_HTK, value_HTK, tables, position, visible_TT, index):
    """The loss of the test below, in loops over heads and queries in float64: one table is a bias, two are vectors."""
    total = 0.0
    for head, (query_TK, key_TK, value_TK) in enumerate(zip(query_HTK, key_HTK, value_HTK, strict=True)):
        for t, query in enumerate(query_TK):
            seen = np.flatnonzero(visible_TT[t])
            at = [index(position[t] - position[s]) for s in seen]
            bias = tables[0][head, at] if len(tables) == 1 else 0
            of_key, of_value = (0, 0) if len(tables) == 1 else (table_NK[at] for table_NK in tables)
            weights = np.exp((key_TK[seen] + of_key) @ query / math.sqrt(len(query)) + bias)
            total += np.sin(2 * (weights / weights.sum()) @ (value_TK[seen] + of_value) + 0.3).sum()
    return total


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("name", ["relative", "t5", "shaw"])
def test_attention_with_trained_distances_is_the_plain_form_forward_and_backward(name, causal):
    """Of six tokens that stand apart, against loops; gradients against differences, the table's entry by entry."""
    position = np.array([0, 1, 3, 9, 40, 300])
    graph, table = nnx.split(drawn(POSITIONS[name], 4, 2, causal))
    visible_TT = np.tri(6, dtype=bool) if causal else np.ones((6, 6), bool)

    def index(distance):
        if name != "t5":
            return max(-3, min(distance, 3)) + (0 if causal else 3)
        side, n, exact = (16 if distance < 0 else 0), abs(distance), (16 if causal else 8)
        if n >= exact:
            n = min(2 * exact - 1, math.floor(exact + exact * math.log(n / exact) / math.log(128 / exact)))
        return side + n

    @jax.jit
    @jax.value_and_grad
    def loss(arrays):
        query, key, value = (x[None] for x in arrays[:3])
        at_1T = jnp.asarray([position])
        view = View.of(jnp.asarray(visible_TT)[None], nnx.merge(graph, arrays[3]), at_1T, at_1T)
        return jnp.sin(2 * attend(query, [Keys(key, value)], [view], "", Tapper(None, ())) + 0.3).sum()

    arrays = [*(normal(n, 2, 6, 4) for n in range(3)), table]
    found, slopes = loss(arrays)
    slopes, wide = jax.tree.leaves(slopes), [np.array(x, np.float64) for x in jax.tree.leaves(arrays)]
    expected = plain(*wide[:3], wide[3:], position, visible_TT, index)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    for of_array, slope in zip(wide, slopes, strict=True):
        for place in np.ndindex(of_array.shape):
            middle, ends = of_array[place], []
            for change in (1e-4, -1e-4):
                of_array[place] = middle + change
                ends.append(plain(*wide[:3], wide[3:], position, visible_TT, index))
            of_array[place] = middle
            np.testing.assert_allclose(slope[place], (ends[0] - ends[1]) / 2e-4, rtol=1e-5, atol=1e-5)
    assert all(np.abs(slope).max() > 1e-2 for slope in slopes[3:])


SPEC = Spec("tokens", 9, 9, "tokens", 9, 5, 5, eos=2)
KINDS_OF = {name: getattr(kind.options().get("positions"), "choices", ()) for name, kind in MODELS.items()}
WITH_ANY = [name for name in MODELS if set(POSITIONS) <= set(KINDS_OF[name])]
MIXED = {
    "decoder": {"mixers": "attention,local_attention", "num_layers": 2},
    "encoder_decoder": {"decoder_mixers": "local_attention"},
}


def made(name, kind):
    """(graph, parameters of noise, config, spec) over nine tokens; all its mixers attend."""
    values = {"hidden_size": 8, "mlp_dim": 8, "num_heads": 2, "num_layers": 1, "positions": kind}
    config = models.configured(name, values | MIXED.get(name, {}))
    spec = SPEC if "sequence" in MODELS[name].layouts else dataclasses.replace(SPEC, layout="aligned")
    graph, shapes = nnx.split(nnx.eval_shape(lambda: models.build(name, config, spec, jax.random.key(0))))
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), jnp.float32), shapes)
    return graph, params, config, spec


@pytest.mark.parametrize("kind", POSITIONS)
@pytest.mark.parametrize("name", WITH_ANY)
def test_a_shift_of_all_positions_changes_what_is_added_and_nothing_that_is_relative(name, kind, monkeypatch):
    """On whatever sides there are, with other positions than their masks, or the tokens read before, have."""
    graph, params, _, _ = made(name, kind)
    source, target = np.random.default_rng(1).integers(3, 9, (2, 2, 5))
    plain = Span.of

    @jax.jit
    def logits(by):
        monkeypatch.setattr(transformer_layers, "positions_of", lambda mask_BT: positions_of(mask_BT) + by)
        monkeypatch.setattr(Span, "of", lambda before_B, *others: plain(before_B + by, *others))
        return nnx.merge(graph, params)(source, np.ones((2, 5), bool), target).logits

    same = np.allclose(logits(0), logits(2), atol=1e-4)
    assert same == (kind not in ("sinusoidal", "learned"))


@pytest.mark.parametrize("kind", POSITIONS)
def test_padding_and_steps_after_a_prefix_change_nothing(kind):
    """The contract's walk has one kind: here the source's padding stands on the right in two rows and on the left in
    the same two, and prefixes are of one token and of two."""
    graph, params, _, _ = made("transformer", kind)
    source, target = np.random.default_rng(1).integers(3, 9, (2, 2, 5))
    right = np.arange(5) < np.array([[3], [2]])
    source, mask = np.concatenate([source, np.roll(source, 2, axis=1)]), np.concatenate([right, np.roll(right, 2, 1)])
    target, known_B = jnp.asarray(np.tile(target, (2, 1))), np.array([1, 2, 1, 2])

    @jax.jit
    def both(params):
        model = nnx.merge(graph, params)
        memory, state = model.start(source, mask, 3, prefix=target[:, :2], prefix_mask=np.arange(2) < known_B[:, None])

        def step(state, t):
            token_B = jnp.take_along_axis(target, (known_B + t)[:, None], axis=1)[:, 0]
            return model.step(token_B, t, memory, state)[::-1]

        return model(source, mask, target).logits, jax.lax.scan(step, state, jnp.arange(3))[1]

    whole_BTV, stepped_TBV = both(params)
    np.testing.assert_allclose(whole_BTV[:2], whole_BTV[2:], rtol=1e-5, atol=1e-4)
    for row, known in enumerate(known_B):
        np.testing.assert_allclose(stepped_TBV[:, row], whole_BTV[row, known : known + 3], rtol=1e-5, atol=1e-4)
    assert np.abs(whole_BTV[0] - whole_BTV[1]).max() > 0.1


@pytest.mark.parametrize("kind", POSITIONS)
def test_an_encoder_alone_ignores_padding_and_has_the_parameters_that_are_said(kind):
    """The answers stand where their tokens do: padding on the right, and the same rows with it on the left."""
    graph, params, config, spec = made("transformer_encoder", kind)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == SIZES["transformer_encoder"](config, spec)
    source, right = np.random.default_rng(1).integers(3, 9, (2, 5)), np.arange(5) < np.array([[3], [2]])

    @jax.jit
    def logits(source, mask):
        return nnx.merge(graph, params)(source, mask, np.zeros((2, 5), int)).logits

    first_BTV, seen_BTV = logits(source, right), logits(source, np.ones_like(right))
    filled = np.where(right, source, 11 - source)  # with tokens that are not what was there
    moved_BTV = logits(np.roll(filled, 2, axis=1), np.roll(right, 2, axis=1))
    np.testing.assert_allclose(np.roll(moved_BTV, -2, axis=1)[right], first_BTV[right], rtol=1e-5, atol=1e-4)
    assert np.abs(seen_BTV - first_BTV)[right].max() > 0.1
