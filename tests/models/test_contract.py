"""What every entry of MODELS promises, by walking the table; `models/contract.py` states it.

Around the compiled programs everything is numpy: jax would compile each new operation and shape, for 25 ms.

Dims: B batch, S source length, T target length, P prefix length, V outputs, W feature width.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from scipy.special import log_softmax

import models
from data.spec import Spec
from models import MODELS, flops
from models.decoding import Wanted, beam_search, greedy
from tests.models.sizes import SIZES

B, S, T, V, W = 3, 4, 6, 9, 2
TOKENS = Spec("tokens", 11, V, "tokens", V, max_source_length=9, max_target_length=9)
SPECS = {
    "tokens": TOKENS,
    "features": dataclasses.replace(TOKENS, source="features", source_size=W),
    "none": dataclasses.replace(TOKENS, source="none", source_size=0, max_source_length=0),
    "aligned": dataclasses.replace(TOKENS, layout="aligned"),
    "label": dataclasses.replace(TOKENS, source="features", source_size=W, layout="label"),
}
SEQUENCES = ("tokens", "features", "none")
LENGTHS = np.array([4, 2, 3])  # of the sources

NAMES = sorted(MODELS)
PURE = {name for name in NAMES if getattr(MODELS[name], "pattern", ())}
"""Stacks of one mixer, of which `test_mixers.py` asks the most: here one task and one layer do, and what is the stack's
is asked of `decoder`."""
READERS = {name for name in NAMES if "sequence" not in MODELS[name].layouts}  # their answers stand at the source
SOURCELESS = {name for name in NAMES if not MODELS[name].takes_source}
TRAINED = [name for name in NAMES if not MODELS[name].counted]  # by gradients
FIRST = {name: "features" if name in PURE else "tokens" for name in NAMES}
FIRST |= dict.fromkeys(READERS, "aligned") | dict.fromkeys(SOURCELESS, "none")
"""The task that each has in any case."""
LIGHT = dict.fromkeys(NAMES, "features") | dict.fromkeys(READERS, "label") | dict.fromkeys(SOURCELESS, "none")
"""What needs one task and one layer has this."""
CASES = [
    (name, kind)
    for name in NAMES
    for kind in (("aligned", "label") if name in READERS else ("none",) if name in SOURCELESS else SEQUENCES)
    if kind == FIRST[name] or (name not in PURE and (kind != "none" or not MODELS[name].needs_source))
]
DECODING = [(name, kind) for name, kind in CASES if MODELS[name].decodes]
ONE_LAYER = [case for case in DECODING if case[1] != "tokens"]
CAUSAL = [name for name in NAMES if MODELS[name].causal]
ONE_LAYER_DROPS = [name for name in NAMES if "mlp_dim" in models.configured(name)]  # others have dropout between two
LAYERS = {
    "tokens": 2,
    "features": 1,
    "none": 1,
    "aligned": 2,
    "label": 1,
}  # compiling is what these tests cost: what needs one layer has one

SEEDS = {"mlstm_decoder": 2}  # 1 puts a sum of weights so near the 1 of its maximum that bfloat16 takes the other side


def tiny(name: str, **changes):
    """The defaults of `name` at widths that differ from each other. Dropout is on, and waits for a key."""
    config = models.configured(name)
    small = {"hidden_size": 8, "embed_size": 6, "num_heads": 2, "mlp_dim": 12, "num_layers": 2, "dropout_rate": 0.3}
    small["order"] = 3
    for field, value in (small | changes).items():
        if field in config:
            config[field] = value
    if "size" in config.get("attention", ()):
        config.attention.size = 5
    return config


@functools.cache
def abstract(name: str, kind: str, **changes):
    """(graph, shapes of the parameters), without drawing any."""
    config = tiny(name, **{"num_layers": LAYERS[kind]} | changes)
    return nnx.split(nnx.eval_shape(lambda: models.build(name, config, SPECS[kind], jax.random.key(0))))


@functools.cache
def built(name: str, kind: str):
    """(graph, params), all of them noise: what is drawn instead compiles for seconds, and `tests/golden` has it. A
    model that is counted has read a text in which all pairs of tokens occur."""
    if MODELS[name].counted:
        model = models.build(name, tiny(name), SPECS[kind], jax.random.key(0))
        model.count(np.random.default_rng(1).integers(1, V, 2000))
        return nnx.split(model)
    graph, shapes = abstract(name, kind)
    return graph, noisy(shapes, 0.4, SEEDS.get(name, 1))


def noisy(params, scale: float, seed: int = 1):
    """The parameters, or zeros where they are only shapes, plus normal noise."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: np.asarray(
            (0 if isinstance(leaf, jax.ShapeDtypeStruct) else leaf) + scale * rng.normal(size=leaf.shape), np.float32
        ),
        params,
    )


RIGHT = {"source_right": 3, "target_right": 2}
LEFT = {"source_left": 3, "target_right": 2, "filler": 5}


def batch(
    kind: str, *, source_left: int = 0, source_right: int = 0, target_right: int = 0, filler: int = 7
) -> dict[str, np.ndarray]:
    """The same examples with more padding, which is filled with what must not matter."""
    rng = np.random.default_rng(0)
    length = 0 if kind == "none" else S
    real = SPECS[kind].source == "features"
    source: np.ndarray = rng.normal(size=(B, S, W)) if real else rng.integers(1, 11, (B, length))
    mask = np.arange(length) < LENGTHS[:, None]
    answers = {"aligned": S, "label": 1}.get(kind, T)
    target_in, target_out = rng.integers(1, V, (2, B, answers))
    weights = (np.arange(answers) < np.array([4, 3, 2])[:, None]).astype(np.float32)
    if kind == "aligned":
        weights = mask.astype(np.float32)
    if kind != "none":
        pad = [(0, 0), (source_left, source_right), (0, 0)][: source.ndim]
        source, mask = np.pad(source, pad, constant_values=filler), np.pad(mask, pad[:2])
    pad = [(0, 0), (source_left, source_right) if kind == "aligned" else (0, target_right)]
    return {
        "source": np.asarray(source, np.float32 if real else np.int32),
        "mask": np.asarray(mask),
        "target_in": np.asarray(np.pad(target_in, pad, constant_values=3), np.int32),
        "target_out": np.asarray(np.pad(target_out, pad), np.int32),
        "weights": np.asarray(np.pad(weights, pad)),
    }


def loss_of(graph, params, taps, batch):
    model = nnx.merge(graph, params)
    output = model(batch["source"], batch["mask"], batch["target_in"], taps=taps)
    losses_BT = optax.softmax_cross_entropy_with_integer_labels(output.logits, batch["target_out"])
    return jnp.sum(losses_BT * batch["weights"]) / jnp.sum(batch["weights"]), output


def fetched(function: Callable) -> Callable:
    """The function as one compiled program whose results are numpy's."""
    program = jax.jit(function)
    return lambda *arguments: jax.device_get(program(*arguments))


@functools.cache
def study(name: str, kind: str, dtype: str = "float32"):
    """params, taps, batch -> ((loss, output), gradients with respect to params and taps, if it has any), compiled."""
    graph, _ = abstract(name, kind, dtype=dtype)
    if MODELS[name].counted:
        return fetched(lambda *arguments: (loss_of(graph, *arguments), ({}, {})))
    return fetched(jax.value_and_grad(functools.partial(loss_of, graph), argnums=(0, 1), has_aux=True))


@functools.cache
def taps(name: str, kind: str) -> dict:
    """A zero at every tap that the padded batch fills."""
    graph, params = built(name, kind)
    ask = dict.fromkeys(nnx.merge(graph, params).tap_names())
    _, output = jax.eval_shape(functools.partial(loss_of, graph), params, ask, batch(kind, **RIGHT))
    return {tap: np.zeros(value.shape, value.dtype) for tap, value in output.taps.items()}


@functools.cache
def base(name: str, kind: str):
    """The study of the batch with padding on the right, and with a zero at every tap."""
    _, params = built(name, kind)
    return study(name, kind)(params, taps(name, kind), batch(kind, **RIGHT))


def dropped(name: str, remat: bool = False):
    """Parameters, and (params, batch, key) -> (loss, logits) with dropout."""
    layers = 1 if name in ONE_LAYER_DROPS else 2
    graph, shapes = abstract(name, LIGHT[name], remat=remat, num_layers=layers, bidirectional=False)

    def loss(params, data, key):
        logits = nnx.merge(graph, params)(data["source"], data["mask"], data["target_in"], key=key).logits
        return optax.softmax_cross_entropy_with_integer_labels(logits, data["target_out"]).mean(), logits

    return noisy(shapes, 0.4), loss


@functools.cache
def with_dropout(name: str):
    params, loss = dropped(name)
    return params, jax.jit(loss), batch(LIGHT[name])


def answers(kind: str, output, **padding):
    """The logits of the batch without its padding."""
    if kind == "aligned":
        return output.logits[batch(kind, **padding)["weights"] > 0]
    return output.logits[:, : batch(kind)["target_in"].shape[1]]


def assert_close(ours, expected, atol=1e-5):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=atol), ours, expected)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_output_and_taps(name, kind):
    """Every parameter and every tap matters, and every name that is offered is captured."""
    graph, params = built(name, kind)
    (_, output), (d_params, d_taps) = base(name, kind)
    assert output.logits.shape == (*batch(kind, **RIGHT)["target_in"].shape, V)
    assert output.logits.dtype == jnp.float32
    np.testing.assert_allclose(nnx.merge(graph, params).logits(output.readout), output.logits, atol=1e-5)
    assert set(output.taps) == set(nnx.merge(graph, params).tap_names())
    for tap, gradient in d_taps.items():
        assert output.taps[tap].shape == gradient.shape and gradient.shape[0] == B
        assert np.abs(gradient).max() > 0, tap
    for path, gradient in jax.tree_util.tree_leaves_with_path(d_params):
        # A key's bias shifts all of a query's scores alike, which softmax does not see.
        if "key" not in jax.tree_util.keystr(path):
            assert np.abs(gradient).max() > 1e-8, jax.tree_util.keystr(path)


def test_an_unknown_tap_is_refused():
    graph, params = built("gru", "tokens")
    with pytest.raises(ValueError, match="did you mean decoder.0.hidden"):
        loss_of(graph, params, {"decoder.0.hiden": None}, batch("tokens"))


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_padding_changes_nothing(name, kind):
    """Nor any gradient, wherever it stands and whatever it holds."""
    (loss, output), (gradient, _) = base(name, kind)
    graph, params = built(name, kind)
    bare_loss, bare_output = fetched(functools.partial(loss_of, graph))(params, {}, batch(kind))
    assert_close((bare_loss, answers(kind, bare_output)), (loss, answers(kind, output, **RIGHT)))
    if kind != "none":
        padded = batch(kind, **LEFT)
        (other_loss, other_output), (other_gradient, _) = study(name, kind)(params, taps(name, kind), padded)
        assert_close(answers(kind, other_output, **LEFT), answers(kind, output, **RIGHT))
        assert_close((other_loss, other_gradient), (loss, gradient))
        seen = {**padded, "mask": np.ones_like(padded["mask"])}
        ((other_loss, _), _) = study(name, kind)(params, taps(name, kind), seen)
        assert abs(other_loss - loss) > 1e-4  # the mask matters, so this test can fail


def decode(graph, params, batch, prefix=None, prefix_mask=None):
    """Teacher-forced logits, (B, T - P, V), one step at a time after the prefix."""
    model = nnx.merge(graph, params)
    known_B = jnp.zeros(B, jnp.int32) if prefix_mask is None else prefix_mask.sum(1)
    steps = T - (0 if prefix is None else prefix.shape[1])
    memory, state = model.start(batch["source"], batch["mask"], steps, prefix=prefix, prefix_mask=prefix_mask)
    for leaf in jax.tree.leaves((memory, state)):
        assert leaf.shape[0] == B  # so that a beam can repeat and reorder it

    def body(state, t):
        token_B = jnp.take_along_axis(batch["target_in"], (known_B + t)[:, None], axis=1)[:, 0]
        logits_BV, state = model.step(token_B, t, memory, state)
        return state, logits_BV

    _, logits_TBV = jax.lax.scan(body, state, jnp.arange(steps))
    return jnp.swapaxes(logits_TBV, 0, 1)


@pytest.mark.parametrize(("name", "kind"), [case for case in DECODING if case[1] != "features"])
def test_decoding_step_by_step_gives_the_teacher_forced_logits(name, kind):
    """After features too: the beams below start so."""
    graph, params = built(name, kind)
    (_, output), _ = base(name, kind)
    logits = fetched(functools.partial(decode, graph))(params, batch(kind))
    assert_close(logits, output.logits[:, :T])
    assert not np.allclose(logits[:, 1], logits[:, 2], atol=1e-3)


@pytest.mark.parametrize(("name", "kind"), ONE_LAYER)
def test_decoding_after_a_prefix(name, kind):
    """The prefix is of another length in each row; its padding is nothing that was fed."""
    graph, params = built(name, kind)
    (_, output), _ = base(name, kind)
    known_B = np.array([2, 0, 1])
    mask_BP = np.arange(2) < known_B[:, None]
    prefix_BP = np.where(mask_BP, batch(kind)["target_in"][:, :2], 5)
    logits = fetched(functools.partial(decode, graph))(params, batch(kind), prefix_BP, mask_BP)
    for row, known in enumerate(known_B):
        assert_close(logits[row], output.logits[row, known : known + T - 2])


@pytest.mark.parametrize("name", sorted({name for name, _ in DECODING}))
def test_a_step_in_bfloat16_leaves_its_state_s_form(name):
    """After a prefix; nothing is computed, and whether it is right is asked in float32."""
    kind = LIGHT[name]
    graph, shapes = abstract(name, kind, dtype="bfloat16")
    data, prefix_BP = batch(kind), np.ones((B, 2), np.int32)

    def one(params):
        model = nnx.merge(graph, params)
        memory, state = model.start(data["source"], data["mask"], T, prefix=prefix_BP, prefix_mask=prefix_BP > 0)
        return state, model.step(data["target_in"][:, 0], jnp.asarray(0), memory, state)

    program, (state, (logits_BV, after)) = jax.make_jaxpr(one, return_shape=True)(shapes)
    assert (logits_BV.shape, logits_BV.dtype) == ((B, V), jnp.float32)
    form = functools.partial(jax.tree.map, lambda leaf: (leaf.shape, leaf.dtype))
    assert form(after) == form(state)
    assert MODELS[name].counted or "bf16" in str(program)
    scanned_BTV = jax.eval_shape(functools.partial(decode, graph), shapes, data, prefix_BP, prefix_BP > 0)
    assert (scanned_BTV.shape, scanned_BTV.dtype) == ((B, T - 2, V), jnp.float32)


@pytest.mark.parametrize("name", CAUSAL)
def test_no_target_position_sees_a_later_one(name):
    """Another token at one position changes no logit before it, to the bit, and all from there on within its reach."""
    kind = FIRST[name]
    graph, params = built(name, kind)
    field = getattr(nnx.merge(graph, params), "receptive_field", None) or T
    data, logits = batch(kind, **RIGHT), base(name, kind)[0][1].logits
    for t in range(T):
        other = data["target_in"].copy()
        other[:, t] = other[:, t] % (V - 1) + 1
        (_, output), _ = study(name, kind)(params, taps(name, kind), {**data, "target_in": other})
        np.testing.assert_array_equal(output.logits[:, :t], logits[:, :t])
        assert np.all(np.abs(output.logits - logits)[:, t : t + field].max(-1) > 0), t


@pytest.mark.parametrize("name", TRAINED)
def test_it_overfits_one_batch(name):
    """Step by step with the program of `base`, which is compiled already; Adam is not compiled at all."""
    kind = FIRST[name]
    _, params = built(name, kind)
    data = batch(kind, **RIGHT)
    leaves, tree = jax.tree.flatten(params)
    leaves = [0.5 * leaf for leaf in leaves]
    means, squares, losses = [0.0] * len(leaves), [0.0] * len(leaves), []
    for step in range(1, 201):
        (loss, _), (gradient, _) = study(name, kind)(jax.tree.unflatten(tree, leaves), taps(name, kind), data)
        losses.append(float(loss))
        if losses[-1] < 0.05:
            break
        for at, slope in enumerate(jax.tree.leaves(gradient)):
            means[at] = 0.9 * means[at] + 0.1 * slope
            squares[at] = 0.99 * squares[at] + 0.01 * slope**2
            size = np.sqrt(squares[at] / (1 - 0.99**step)) + 1e-8
            leaves[at] = leaves[at] - np.float32(0.02) * (means[at] / (1 - 0.9**step) / size)
    assert losses[0] > 1.5 and losses[-1] < 0.05, losses[::20]


@pytest.mark.parametrize("name", TRAINED)
def test_it_runs_in_bfloat16(name):
    """Logits within 0.06 of float32's (of order 1), a gradient that points the same way."""
    kind = LIGHT[name]
    (_, output), (gradient, _) = base(name, kind)
    _, params = built(name, kind)
    (_, low_output), (low_gradient, _) = study(name, kind, "bfloat16")(params, {}, batch(kind, **RIGHT))
    assert low_output.logits.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(low_gradient)} == {jnp.dtype("float32")}
    assert_close(low_output.logits, output.logits, atol=0.06)
    assert not np.array_equal(low_output.logits, output.logits)  # it was computed in bfloat16
    flat, low = (np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(g)]) for g in (gradient, low_gradient))
    assert flat @ low / np.linalg.norm(flat) / np.linalg.norm(low) > 0.99


@pytest.mark.parametrize(
    ("name", "kind"),
    [(name, kind) for name, kind in ONE_LAYER if name not in PURE and (kind == "features" or kind == FIRST[name])],
)
def test_beams_agree_with_greedy_search_and_with_the_call(name, kind):
    """A beam's score is what the teacher-forced call gives its tokens, whatever was reordered."""
    graph, params = built(name, kind)
    data, wanted = batch(kind), Wanted(bos=1, eos=2, pad=0, max_len=T)

    @fetched
    def decode(params, data):
        inputs = nnx.merge(graph, params), data["source"], data["mask"]
        return greedy(*inputs, wanted), beam_search(*inputs, wanted, length_penalty=0.0, beam_size=3)

    by_greed, by_three = decode(params, data)
    assert (by_three.scores >= by_greed.scores - 1e-5).mean() > 0.5
    for found in (by_greed, by_three):
        tokens_BN = found.tokens
        fed_BN = np.concatenate([np.ones((B, 1), np.int32), tokens_BN[:, :-1]], axis=1)
        fed = {**batch(kind, **RIGHT), "target_in": np.pad(fed_BN, [(0, 0), (0, 2)])}
        (_, output), _ = study(name, kind)(params, taps(name, kind), fed)
        gains_BNV = log_softmax(output.logits[:, :T], axis=-1)
        gains_BN = np.take_along_axis(gains_BNV, tokens_BN[:, :, None], axis=2)[:, :, 0]
        ended_BN = np.cumsum(tokens_BN == 2, axis=1) - (tokens_BN == 2)  # what follows EOS has no part in the score
        np.testing.assert_allclose((gains_BN * (ended_BN == 0)).sum(1), found.scores, rtol=1e-4)


@pytest.mark.parametrize(("name", "kind"), ONE_LAYER)
def test_room_for_more_tokens_is_zeros_at_the_end(name, kind):
    """So that a search can begin with little room and go on with more."""
    graph, params = built(name, kind)

    @fetched
    def starts(params, data):
        model = nnx.merge(graph, params)
        return [model.start(data["source"], data["mask"], room)[1] for room in (2, 5)]

    for small, large in zip(*map(jax.tree.leaves, starts(params, batch(kind))), strict=True):
        assert small.ndim == large.ndim and max(large.shape, default=0) >= max(small.shape, default=0)
        filled = np.pad(small, [(0, b - a) for a, b in zip(small.shape, large.shape, strict=True)])
        np.testing.assert_array_equal(filled, large)


@pytest.mark.parametrize("name", [name for name in TRAINED if name not in PURE])
def test_remat_changes_nothing_but_memory(name):
    """The same loss, dropout included, and the gradients of that loss; what the backward pass reads is computed anew.

    Each parameter's gradient is held against differences of the loss without remat, along a direction of length 1.
    """
    (params, plain, data), key, rng = with_dropout(name), jax.random.key(1), np.random.default_rng(2)
    kept, again = (jax.jit(jax.value_and_grad(loss, has_aux=True)) for loss in (plain, dropped(name, remat=True)[1]))
    assert flops.count(again, params, data, key) > flops.count(kept, params, data, key)
    found, gradient = jax.device_get(again(params, data, key))
    assert_close(found, plain(params, data, key), atol=1e-6)
    leaves, tree = jax.tree.flatten(params)
    for at, (path, slope) in enumerate(jax.tree_util.tree_leaves_with_path(gradient)):
        direction = rng.normal(size=slope.shape)
        direction = direction / np.linalg.norm(direction) + slope / max(np.linalg.norm(slope), 1e-3)
        direction = np.asarray(direction / np.linalg.norm(direction), np.float32)
        moved = [[*leaves[:at], leaves[at] + np.float32(by) * direction, *leaves[at + 1 :]] for by in (-0.002, 0.002)]
        below, above = (float(plain(jax.tree.unflatten(tree, arrays), data, key)[0]) for arrays in moved)
        expected, where = (above - below) / 0.004, jax.tree_util.keystr(path)
        np.testing.assert_allclose(np.vdot(slope, direction), expected, rtol=0.02, atol=5e-4, err_msg=where)


@pytest.mark.parametrize("name", TRAINED)
def test_dropout_follows_its_key(name):
    params, loss, data = with_dropout(name)
    keys = (key and jax.random.key(key) for key in (1, 1, 2, None))
    first, again, other, none = (np.asarray(loss(params, data, key)[1]) for key in keys)
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other, atol=1e-3) and not np.allclose(first, none, atol=1e-3)


COUNTED = [  # what the output is, whether there is one vocabulary, and the config; the head depends on all three
    *itertools.product(["tokens", "classes"], [False, True], [{}, {"tie_embeddings": False}]),
    ("real", True, {}),
    ("tokens", True, {"embed_size": 8}),
    *itertools.product(["tokens"], [False], [{"bidirectional": True}, {"bidirectional": False}, {"num_layers": 3}]),
]


@pytest.mark.parametrize("name", TRAINED)
def test_parameter_count_is_what_its_page_says(name):
    sizes, counts = {"tokens": V, "classes": 4, "real": 1}, {}
    for output, shared, changes in COUNTED:
        asked = SPECS["aligned"] if name in READERS else TOKENS
        shared_spec = dataclasses.replace(asked, shared_vocabulary=shared, source_size=V if shared else 11)
        spec = dataclasses.replace(shared_spec, output=output, output_size=sizes[output])
        config = tiny(name, **{"num_layers": 1} | changes)
        if (case := (output, shared, str(config))) not in counts:  # not all have all keys
            model = nnx.eval_shape(lambda: models.build(name, config, spec, jax.random.key(0)))  # noqa: B023
            counts[case] = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model)))
            assert counts[case] == SIZES[name](config, spec), case
    assert len(set(counts.values())) > 3


def test_build_names_the_nearest_architecture():
    with pytest.raises(ValueError, match="model = 'gru_atention' .* did you mean gru_attention"):
        models.build("gru_atention", models.configured("gru_attention"), TOKENS, jax.random.key(0))


@pytest.mark.parametrize("name", [name for name in NAMES if MODELS[name].needs_source])
def test_a_task_without_a_source_is_refused(name):
    with pytest.raises(ValueError, match=f"model = '{name}' needs a source .* use one of .*gru_decoder"):
        models.build(name, models.configured(name), SPECS["none"], jax.random.key(0))


@pytest.mark.parametrize("name", sorted(READERS))
def test_a_task_whose_answers_are_a_sequence_of_their_own_is_refused(name):
    with pytest.raises(ValueError, match=f"model = '{name}' cannot give a sequence of answers .* use one of .*gru,"):
        models.build(name, models.configured(name), TOKENS, jax.random.key(0))


@pytest.mark.parametrize(("name", "unfit"), [("ngram", "transformer_encoder"), ("transformer_encoder", "ngram")])
def test_what_is_recommended_fits(name, unfit):
    with pytest.raises(ValueError, match="use one of .*gru_decoder") as refused:
        models.build(name, models.configured(name), TOKENS, jax.random.key(0))
    assert unfit not in str(refused.value).partition("use one of")[2]


@pytest.mark.parametrize("name", sorted(SOURCELESS))
def test_a_task_with_a_source_is_refused(name):
    with pytest.raises(ValueError, match=f"model = '{name}' is of running text .* use one of rnn, "):
        models.build(name, models.configured(name), TOKENS, jax.random.key(0))


@pytest.mark.parametrize(
    ("field", "value", "hint"),
    [
        ("hidden_size", 0, "1 or more"),
        ("num_layers", -1, "1 or more"),
        ("dropout_rate", 1.0, "in \\[0, 1\\)"),
        ("dtype", "float16", "bfloat16"),
        ("embed_size", 0, "1 or more"),
    ],
)
def test_values_out_of_range_are_refused(field, value, hint):
    config = models.configured("gru")
    config[field] = value
    with pytest.raises(ValueError, match=f"model.{field} = .*{hint}"):
        models.build("gru", config, TOKENS, jax.random.key(0))
