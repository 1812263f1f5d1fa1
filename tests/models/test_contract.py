"""What every entry of MODELS promises, by walking the table; `models/contract.py` states it.

Dims: B batch, S source length, T target length, P prefix length, V outputs, W feature width.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import models
from data.spec import Spec
from models import MODELS
from models.decoding import beam_search, greedy
from tests.models.sizes import SIZES

B, S, T, V, W = 3, 5, 6, 9, 2
TOKENS = Spec("tokens", 11, V, "tokens", V, max_source_length=9, max_target_length=9)
SPECS = {
    "tokens": TOKENS,
    "features": dataclasses.replace(TOKENS, source="features", source_size=W),
    "none": dataclasses.replace(TOKENS, source="none", source_size=0, max_source_length=0),
}
LENGTHS = np.array([5, 2, 4])  # of the sources

NAMES = sorted(MODELS)
CASES = [(name, kind) for name in NAMES for kind in SPECS if kind != "none" or not MODELS[name].needs_source]
DECODING = [(name, kind) for name, kind in CASES if MODELS[name].decodes]
CAUSAL = [name for name in NAMES if MODELS[name].causal]


def tiny(name: str, **changes):
    """The defaults of `name` at widths that differ from each other."""
    config = models.configured(name)
    small = {"hidden_size": 8, "embed_size": 6, "num_heads": 2, "mlp_dim": 12, "num_layers": 2} | changes
    for field, value in small.items():
        if field in config:
            config[field] = value
    if "attention" in config:
        config.attention.size = 5
    return config


def abstract(name: str, kind: str, **changes):
    """(graph, shapes of the parameters), without drawing any."""
    config = tiny(name, **changes)
    return nnx.split(nnx.eval_shape(lambda: models.build(name, config, SPECS[kind], jax.random.key(0))))


@functools.cache
def built(name: str, kind: str):
    """(graph, params) as built, plus noise that moves biases off zero; only noise where kind is not tokens."""
    graph, params = abstract(name, kind)
    if kind == "tokens":
        params = nnx.state(models.build(name, tiny(name), SPECS[kind], jax.random.key(0)))
    return graph, noisy(params, 0.1 if kind == "tokens" else 0.4)


def noisy(params, scale: float):
    """The parameters, or zeros where they are only shapes, plus normal noise."""
    rng = np.random.default_rng(1)
    return jax.tree.map(
        lambda leaf: jnp.asarray(
            (0 if isinstance(leaf, jax.ShapeDtypeStruct) else leaf) + scale * rng.normal(size=leaf.shape), jnp.float32
        ),
        params,
    )


def batch(kind: str, *, source_left: int = 0, source_right: int = 0, target_right: int = 0) -> dict:
    """The same examples with more padding, which is filled with what must not matter."""
    rng = np.random.default_rng(0)
    length = 0 if kind == "none" else S
    source: np.ndarray = rng.normal(size=(B, S, W)) if kind == "features" else rng.integers(1, 11, (B, length))
    mask = np.arange(length) < LENGTHS[:, None]
    target_in, target_out = rng.integers(1, V, (2, B, T))
    weights = (np.arange(T) < np.array([4, 3, 2])[:, None]).astype(np.float32)
    if kind != "none":
        pad = [(0, 0), (source_left, source_right), (0, 0)][: source.ndim]
        source, mask = np.pad(source, pad, constant_values=7), np.pad(mask, pad[:2])
    pad = [(0, 0), (0, target_right)]
    return {
        "source": jnp.asarray(source, jnp.float32 if kind == "features" else jnp.int32),
        "mask": jnp.asarray(mask),
        "target_in": jnp.asarray(np.pad(target_in, pad, constant_values=3), jnp.int32),
        "target_out": jnp.asarray(np.pad(target_out, pad), jnp.int32),
        "weights": jnp.asarray(np.pad(weights, pad)),
    }


def loss_of(graph, params, taps, batch):
    model = nnx.merge(graph, params)
    output = model(batch["source"], batch["mask"], batch["target_in"], taps=taps)
    losses_BT = optax.softmax_cross_entropy_with_integer_labels(output.logits, batch["target_out"])
    return jnp.sum(losses_BT * batch["weights"]) / jnp.sum(batch["weights"]), output


@functools.cache
def study(name: str, kind: str, dtype: str = "float32"):
    """params, taps, batch -> ((loss, output), gradients with respect to params and taps), compiled."""
    graph, _ = abstract(name, kind, dtype=dtype)
    return jax.jit(jax.value_and_grad(functools.partial(loss_of, graph), argnums=(0, 1), has_aux=True))


@functools.cache
def taps(name: str, kind: str) -> dict:
    """A zero at every tap that the batch as it is fills."""
    graph, params = built(name, kind)
    ask = dict.fromkeys(nnx.merge(graph, params).tap_names())
    _, output = jax.eval_shape(functools.partial(loss_of, graph), params, ask, batch(kind))
    return {tap: jnp.zeros(value.shape, value.dtype) for tap, value in output.taps.items()}


@functools.cache
def base(name: str, kind: str):
    """The study of the batch as it is, with a zero at every tap."""
    _, params = built(name, kind)
    return study(name, kind)(params, taps(name, kind), batch(kind))


@functools.cache
def dropped(name: str, remat: bool = False):
    """(params, key) -> ((loss, logits), gradients) with dropout, compiled; and whether it computes anything anew."""
    graph, _ = abstract(name, "tokens", dropout_rate=0.3, remat=remat)
    _, params = built(name, "tokens")
    data = batch("tokens")

    def loss(params, key):
        logits = nnx.merge(graph, params)(data["source"], data["mask"], data["target_in"], key=key).logits
        return optax.softmax_cross_entropy_with_integer_labels(logits, data["target_out"]).mean(), logits

    traced = jax.jit(jax.value_and_grad(loss, has_aux=True)).trace(params, jax.random.key(0))
    return traced.lower().compile(), "remat" in str(traced.jaxpr)


def assert_close(ours, expected, atol=1e-5):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=atol), ours, expected)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_output_and_taps(name, kind):
    """Every parameter and every tap matters, and every name that is offered is captured."""
    graph, params = built(name, kind)
    (_, output), (d_params, d_taps) = base(name, kind)
    assert output.logits.shape == (B, T, V) and output.logits.dtype == jnp.float32
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
    (loss, output), (gradient, _) = base(name, kind)
    sides = [{"source_right": 3, "target_right": 2}, {"source_left": 3, "target_right": 2}]
    _, params = built(name, kind)
    for padding in sides if kind != "none" else sides[:1]:
        padded = batch(kind, **padding)
        (padded_loss, padded_output), (padded_gradient, _) = study(name, kind)(params, {}, padded)
        assert_close(padded_output.logits[:, :T], output.logits)
        assert_close((padded_loss, padded_gradient), (loss, gradient))
    if kind != "none":
        unmasked = {**padded, "mask": jnp.ones_like(padded["mask"])}
        (other_loss, _), _ = study(name, kind)(params, {}, unmasked)
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


@pytest.mark.parametrize(("name", "kind"), DECODING)
def test_decoding_step_by_step_gives_the_teacher_forced_logits(name, kind):
    graph, params = built(name, kind)
    (_, output), _ = base(name, kind)
    logits = jax.jit(functools.partial(decode, graph))(params, batch(kind))
    assert_close(logits, output.logits)
    assert not np.allclose(logits[:, 1], logits[:, 2], atol=1e-3)


@pytest.mark.parametrize(("name", "kind"), [case for case in DECODING if case[1] != "features"])
def test_decoding_after_a_prefix(name, kind):
    """The prefix is of another length in each row; its padding is nothing that was fed."""
    graph, params = built(name, kind)
    (_, output), _ = base(name, kind)
    known_B = np.array([2, 0, 1])
    mask_BP = np.arange(2) < known_B[:, None]
    prefix_BP = jnp.where(mask_BP, batch(kind)["target_in"][:, :2], 5)
    logits = jax.jit(functools.partial(decode, graph))(params, batch(kind), prefix_BP, jnp.asarray(mask_BP))
    for row, known in enumerate(known_B):
        assert_close(logits[row], output.logits[row, known : known + T - 2])


@pytest.mark.parametrize("name", CAUSAL)
def test_no_target_position_sees_a_later_one(name):
    """Gradients of each position's logits with respect to each position's embedding, one id a position."""
    graph, shapes = abstract(name, "tokens", tie_embeddings=False)
    params = noisy(shapes, 0.4)
    ids = jnp.arange(1, T + 1)[None]
    weights_V = jax.random.normal(jax.random.key(2), (V,))

    def outputs(params):
        one = {field: value[:1] for field, value in batch("tokens").items()}
        return nnx.merge(graph, params)(one["source"], one["mask"], ids).logits[0] @ weights_V

    gradient_TVE = jax.jit(jax.jacrev(outputs))(params)["inputs"]["target"]["table"][...]
    sees_TT = np.abs(gradient_TVE[:, ids[0]]).max(-1)
    assert np.all(np.triu(sees_TT, 1) == 0)
    assert np.all(sees_TT[np.tril_indices(T)] > 0)  # and it sees all that came before


@pytest.mark.parametrize("name", NAMES)
def test_it_overfits_one_batch(name):
    """Step by step with the program of `base`, which is compiled already."""
    _, params = built(name, "tokens")
    data, zeros, losses = batch("tokens"), taps(name, "tokens"), []
    state = OPTIMIZER.init(params)
    for _ in range(120):
        (loss, _), (gradient, _) = study(name, "tokens")(params, zeros, data)
        params, state = update(params, state, gradient)
        losses.append(float(loss))
    assert losses[0] > 1.5 and losses[-1] < 0.05, losses[::20]


OPTIMIZER = optax.adam(0.02)


@jax.jit
def update(params, state, gradient):
    updates, state = OPTIMIZER.update(gradient, state)
    return optax.apply_updates(params, updates), state


@pytest.mark.parametrize("name", NAMES)
def test_it_runs_in_bfloat16(name):
    """Logits within 0.06 of float32's (of order 1), a gradient that points the same way."""
    (loss, output), (gradient, _) = base(name, "tokens")
    _, params = built(name, "tokens")
    (low_loss, low_output), (low_gradient, _) = study(name, "tokens", "bfloat16")(params, {}, batch("tokens"))
    assert low_output.logits.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(low_gradient)} == {jnp.dtype("float32")}
    assert_close(low_output.logits, output.logits, atol=0.06)
    assert not np.array_equal(low_output.logits, output.logits)  # it was computed in bfloat16
    flat, low = (np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(g)]) for g in (gradient, low_gradient))
    assert flat @ low / np.linalg.norm(flat) / np.linalg.norm(low) > 0.99


@pytest.mark.parametrize("name", [name for name, kind in DECODING if kind == "tokens"])
def test_beams_agree_with_greedy_search_and_with_the_call(name):
    """Beam 1 is greedy; a beam's score is what the teacher-forced call gives its tokens, whatever was reordered."""
    graph, params = built(name, "tokens")
    data, limits = batch("tokens"), {"bos": 1, "eos": 2, "pad": 0, "max_len": T}

    @jax.jit
    def decode(params):
        inputs = nnx.merge(graph, params), data["source"], data["mask"]
        search = functools.partial(beam_search, *inputs, **limits, length_penalty=0.0)
        return greedy(*inputs, **limits), search(beam_size=1), search(beam_size=3)

    by_greed, by_one, by_three = decode(params)
    np.testing.assert_array_equal(by_one.tokens, by_greed.tokens)
    np.testing.assert_allclose(by_one.scores, by_greed.scores, rtol=1e-5)
    assert (by_three.scores >= by_greed.scores - 1e-5).mean() > 0.5
    tokens_BN = np.asarray(by_three.tokens)
    fed_BN = np.concatenate([np.ones((B, 1), np.int32), tokens_BN[:, :-1]], axis=1)
    (_, output), _ = study(name, "tokens")(params, taps(name, "tokens"), {**data, "target_in": jnp.asarray(fed_BN)})
    gains_BN = np.take_along_axis(np.asarray(jax.nn.log_softmax(output.logits)), tokens_BN[:, :, None], axis=2)[:, :, 0]
    ended_BN = np.cumsum(tokens_BN == 2, axis=1) - (tokens_BN == 2)  # what follows EOS has no part in the score
    np.testing.assert_allclose((gains_BN * (ended_BN == 0)).sum(1), by_three.scores, rtol=1e-4)


@pytest.mark.parametrize(("name", "kind"), DECODING)
def test_room_for_more_tokens_is_zeros_at_the_end(name, kind):
    """So that a search can begin with little room and go on with more."""
    graph, params = built(name, kind)
    data = batch(kind)
    states = []
    for room in (2, 5):
        model = nnx.merge(graph, params)
        states.append(jax.jit(lambda model=model, room=room: model.start(data["source"], data["mask"], room)[1])())
    for small, large in zip(*map(jax.tree.leaves, states), strict=True):
        assert small.ndim == large.ndim and max(large.shape, default=0) >= max(small.shape, default=0)
        filled = np.pad(small, [(0, b - a) for a, b in zip(small.shape, large.shape, strict=True)])
        np.testing.assert_array_equal(filled, large)


@pytest.mark.parametrize("name", NAMES)
def test_remat_changes_nothing_but_memory(name):
    """The same loss and gradients, dropout included; what the backward pass reads is computed anew."""
    _, params = built(name, "tokens")
    (plain, without), (remat, anew) = dropped(name), dropped(name, remat=True)
    assert_close(remat(params, jax.random.key(1)), plain(params, jax.random.key(1)), atol=1e-6)
    assert (without, anew) == (False, True)


@pytest.mark.parametrize("name", NAMES)
def test_dropout_follows_its_key(name):
    graph, params = abstract(name, "tokens", dropout_rate=0.3)[0], built(name, "tokens")[1]
    compiled, data = dropped(name)[0], batch("tokens")
    first, again, other = (compiled(params, jax.random.key(seed))[0][1] for seed in (1, 1, 2))
    none = jax.jit(lambda params: nnx.merge(graph, params)(data["source"], data["mask"], data["target_in"]).logits)(
        params
    )
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other, atol=1e-3) and not np.allclose(first, none, atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("output", ["tokens", "classes", "real"])
def test_parameter_count_is_what_its_page_says(name, shared, output):
    sizes = {"tokens": V, "classes": 4, "real": 1}
    shared_spec = dataclasses.replace(TOKENS, shared_vocabulary=shared, source_size=V if shared else 11)
    spec = dataclasses.replace(shared_spec, output=output, output_size=sizes[output])
    changes = ({}, {"embed_size": 8}, {"tie_embeddings": False}, {"bidirectional": True}, {"num_layers": 3})
    configs = {str(config): config for config in (tiny(name, **change) for change in changes)}  # not all have all keys
    counts = set()
    for text, config in configs.items():
        params = nnx.eval_shape(lambda config=config: nnx.state(models.build(name, config, spec, jax.random.key(0))))
        count = sum(leaf.size for leaf in jax.tree.leaves(params))
        assert count == SIZES[name](config, spec), text
        counts.add(count)
    assert len(counts) > 1


def test_build_names_the_nearest_architecture():
    with pytest.raises(ValueError, match="model = 'gru_atention' .* did you mean gru_attention"):
        models.build("gru_atention", models.configured("gru_attention"), TOKENS, jax.random.key(0))


@pytest.mark.parametrize("name", [name for name in NAMES if MODELS[name].needs_source])
def test_a_task_without_a_source_is_refused(name):
    with pytest.raises(ValueError, match=f"model = '{name}' needs a source .* use one of .*gru_decoder"):
        models.build(name, models.configured(name), SPECS["none"], jax.random.key(0))


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
