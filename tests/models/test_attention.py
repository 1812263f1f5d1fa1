"""Attention and whole layers against PyTorch's, and what attention promises about masks, taps and caches."""

import functools
import itertools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import models
from models.attention import CrossAttention, Keys, SelfAttention, View, attend, masked_softmax
from models.taps import Tapper
from models.transformer_layers import Layer

REFERENCE = np.load(pathlib.Path(__file__).parents[1] / "reference" / "transformer.npz")
SOURCE_MASK, TARGET_MASK = jnp.asarray(REFERENCE["source_mask"]), jnp.asarray(REFERENCE["target_mask"])
HEADS = int(REFERENCE["num_heads"])
NO_TAPS = Tapper(None, ())
CHOICES = (("encoder", "decoder"), ("pre", "post"), ("relu", "gelu"))
LAYERS = [f"{side}_{norm}_{act}" for side, norm, act in itertools.product(*CHOICES)]


def test_reference_says_what_made_it():
    assert any(version.startswith("torch ") for version in REFERENCE["versions"])


@pytest.mark.parametrize("case", LAYERS)
def test_layer_agrees_with_torch_forward_and_backward(case):
    kind, norm, activation = case.split("_")
    read = lambda what, name: np.asarray(REFERENCE[f"{case}/{what}/{name}"])  # noqa: E731
    config = models.configured("transformer")
    config.update(
        {
            "hidden_size": read("param", "norm1.weight").shape[0],
            "mlp_dim": read("param", "linear1.bias").shape[0],
            "num_heads": HEADS,
            "norm": norm,
            "activation": activation,
        }
    )
    decoder = kind == "decoder"
    layer = Layer(config, decoder, nnx.Rngs(0))
    loaded = layer_from_torch(lambda n: read("param", n), decoder)
    graphdef, params = nnx.split(layer)
    assert jax.tree.map(np.shape, nnx.to_pure_dict(params)) == jax.tree.map(np.shape, loaded)

    def run(params, inputs):
        layer = nnx.merge(graphdef, params)
        if not decoder:
            views = [View(SOURCE_MASK[:, None, :])]
            return layer(inputs["source"], lambda x: x, views, "", NO_TAPS)[0]
        T = TARGET_MASK.shape[1]
        views = [View(TARGET_MASK[:, None, :] & np.tri(T, dtype=bool))]
        assert layer.cross_attention is not None
        encoded = (layer.cross_attention.keys(inputs["memory"]), View(SOURCE_MASK[:, None, :]))
        return layer(inputs["target"], lambda x: x, views, "", NO_TAPS, encoded=encoded)[0]

    names = ("target", "memory") if decoder else ("source",)
    inputs = {name: read("input", name) for name in names}
    compare(run, loaded, inputs, read, layer_from_torch(lambda n: read("grad", n), decoder))


def test_cross_attention_agrees_with_torch_forward_and_backward():
    read = lambda what, name: np.asarray(REFERENCE[f"attention/{what}/{name}"])  # noqa: E731
    D = read("param", "out_proj.bias").shape[0]
    graphdef, _ = nnx.split(CrossAttention(D, HEADS, rngs=nnx.Rngs(0)))

    def run(params, inputs, tap=NO_TAPS):
        attention = nnx.merge(graphdef, params)
        keys = attention.keys(inputs["memory"])
        return attention(inputs["query"], keys, View(SOURCE_MASK[:, None, :]), "", tap)

    inputs = {name: read("input", name) for name in ("query", "memory")}
    loaded = cross_from_torch("", lambda n: read("param", n))
    compare(run, loaded, inputs, read, cross_from_torch("", lambda n: read("grad", n)))
    tap = Tapper({"attention": None}, ("attention",))
    run(loaded, jax.tree.map(jnp.asarray, inputs), tap)  # outside jit, which would capture tracers
    np.testing.assert_allclose(tap.captured["attention"], read("output", "weights"), atol=1e-5)
    assert (np.asarray(tap.captured["attention"]).transpose(0, 3, 1, 2)[~np.asarray(SOURCE_MASK)] == 0).all()


def compare(run, params, inputs, read, expected_grads):
    """Output and every gradient, leaf by leaf, within 1e-5."""

    def loss(params, inputs):
        output = run(params, inputs)
        return jnp.vdot(output, read("input", "cotangent")), output

    evaluate = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))
    (grads, input_grads), output = evaluate(params, inputs)
    close = functools.partial(np.testing.assert_allclose, atol=1e-5, rtol=1e-5)
    close(output, read("output", "output"))
    jax.tree.map(close, grads, expected_grads)
    jax.tree.map(close, input_grads, {name: read("grad", name) for name in inputs})
    _, broken = evaluate(jax.tree.map(lambda x: x * 1.01, params), inputs)
    assert not np.allclose(broken, read("output", "output"), atol=1e-5)


def linear_from_torch(weight, bias):
    return {"kernel": weight.T, "bias": bias}


def self_from_torch(prefix, read):
    return {
        "qkv": linear_from_torch(read(f"{prefix}in_proj_weight"), read(f"{prefix}in_proj_bias")),
        "output": linear_from_torch(read(f"{prefix}out_proj.weight"), read(f"{prefix}out_proj.bias")),
    }


def cross_from_torch(prefix, read):
    weight, bias = read(f"{prefix}in_proj_weight"), read(f"{prefix}in_proj_bias")
    D = weight.shape[1]
    return {
        "query": linear_from_torch(weight[:D], bias[:D]),
        "kv": linear_from_torch(weight[D:], bias[D:]),
        "output": linear_from_torch(read(f"{prefix}out_proj.weight"), read(f"{prefix}out_proj.bias")),
    }


def layer_from_torch(read, decoder):
    norm = lambda n: {"norm": {"scale": read(f"norm{n}.weight"), "bias": read(f"norm{n}.bias")}}  # noqa: E731
    tree = {
        "attention": self_from_torch("self_attn.", read),
        "attention_residual": norm(1),
        "mlp": {
            "inner": linear_from_torch(read("linear1.weight"), read("linear1.bias")),
            "outer": linear_from_torch(read("linear2.weight"), read("linear2.bias")),
        },
        "mlp_residual": norm(3 if decoder else 2),
    }
    if decoder:
        tree |= {"cross_attention": cross_from_torch("multihead_attn.", read), "cross_residual": norm(2)}
    return tree


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def random_keys(seed, S, B=2, H=3, K=4):
    return Keys(normal(seed, B, H, S, K), normal(seed + 100, B, H, S, K))


def attend_now(blocks, views, query_BHTK=None, **options):
    """`attend` as one compiled program, which is quicker to make than one for each operation."""
    run = jax.jit(lambda query, blocks, views: attend(query, blocks, views, "", NO_TAPS, **options))
    return np.asarray(run(QUERY_BHTK if query_BHTK is None else query_BHTK, blocks, views))


QUERY_BHTK = normal(9, 2, 3, 5, 4)
SEES_ALL = View(jnp.ones((1, 1, 6), bool))


def test_a_query_that_sees_nothing_gets_zeros_and_finite_gradients():
    visible_BTS = jnp.ones((2, 5, 6), bool).at[1, 2].set(False)

    def total(query_BHTK):
        context_BHTK = attend(query_BHTK, [random_keys(0, 6)], [View(visible_BTS)], "", NO_TAPS)
        return (context_BHTK**2).sum(), context_BHTK

    grad, context_BHTK = map(np.asarray, jax.jit(jax.grad(total, has_aux=True))(QUERY_BHTK))
    assert (context_BHTK[1, :, 2] == 0).all() and (context_BHTK[1, :, 1] != 0).all()
    assert np.isfinite(grad).all() and (grad[1, :, 2] == 0).all() and (grad[0] != 0).any()


def test_hidden_keys_do_not_matter_however_large():
    visible_BTS = jnp.arange(6)[None, None] < jnp.array([4, 2])[:, None, None]
    block = random_keys(0, 6)
    loud = Keys(*(jnp.where(visible_BTS[:, :, :, None], x, 1e6) for x in block))
    quiet = attend_now([block], [View(visible_BTS)])
    np.testing.assert_array_equal(quiet, attend_now([loud], [View(visible_BTS)]))
    assert not np.allclose(quiet, attend_now([loud], [SEES_ALL]))


def test_blocks_of_keys_are_one_row_of_keys():
    one, two = random_keys(0, 4), random_keys(1, 3)
    visible_BTS, bias_BHTS = normal(3, 2, 5, 7) > -0.5, normal(4, 2, 3, 5, 7)
    whole = Keys(*(jnp.concatenate(pair, axis=2) for pair in zip(one, two, strict=True)))
    views = [View(visible_BTS[..., :4], bias_BHTS[..., :4]), View(visible_BTS[..., 4:], bias_BHTS[..., 4:])]
    expected = attend_now([whole], [View(visible_BTS, bias_BHTS)])
    np.testing.assert_allclose(attend_now([one, two], views), expected, atol=1e-6)
    assert not np.allclose(attend_now([one, two], [View(v.visible) for v in views]), expected, atol=1e-2)


def test_softmax_is_float32_whatever_the_scores():
    scores = jnp.linspace(-3, 3, 7, dtype=jnp.bfloat16)[None, None, None]
    assert masked_softmax(scores, jnp.ones((1, 1, 1, 7), bool)).dtype == jnp.float32


def test_head_gates_mask_one_head_and_measure_its_importance():
    block = random_keys(0, 6)

    @jax.jit
    def run(gates):
        return attend(QUERY_BHTK, [block], [SEES_ALL], "", Tapper({"heads": gates}, ("heads",)))

    plain = attend_now([block], [SEES_ALL])
    masked = np.asarray(run(np.array([0.0, -1.0, 0.0], np.float32)))
    assert (masked[:, 1] == 0).all()
    np.testing.assert_allclose(masked[:, ::2], plain[:, ::2], atol=1e-6)
    per_row = np.asarray(run(np.array([[0, 0, 0], [0, 0, -1]], np.float32)))
    assert (per_row[1, 2] == 0).all() and (per_row[0] != 0).all()
    importance_H = jax.jit(jax.grad(lambda gates: (run(gates) ** 2).sum() / 2))(np.zeros(3, np.float32))
    np.testing.assert_allclose(importance_H, (plain**2).sum((0, 2, 3)), rtol=1e-5)


def test_attention_dropout_acts_on_weights_and_only_with_a_key():
    block = Keys(normal(0, 2, 3, 6, 4), jnp.ones((2, 3, 6, 4)))  # the context is the sum of the weights
    np.testing.assert_allclose(attend_now([block], [SEES_ALL], dropout_rate=0.5), 1.0, rtol=1e-6)
    dropped = attend_now([block], [SEES_ALL], dropout_rate=0.5, key=jax.random.key(0))
    assert np.ptp(dropped) > 0.5
    np.testing.assert_allclose(dropped[..., 0], dropped[..., 1])


def test_cache_gives_what_the_whole_sequence_gives():
    graphdef, params = nnx.split(nnx.eval_shape(lambda: SelfAttention(12, 3, rngs=nnx.Rngs(0))))
    params = jax.tree.map(lambda x: normal(x.size, *x.shape) / 3, params)
    x_BTD = normal(1, 2, 4, 12)

    @jax.jit
    def run(x_BTD, visible_BTS, cache=None, slot=None):
        attention = nnx.merge(graphdef, params)
        return attention(x_BTD, lambda x: x, [View(visible_BTS)], "", NO_TAPS, cache=cache, slot=slot)

    whole, _ = run(x_BTD, np.tri(4, dtype=bool)[None])
    cache = Keys(*jnp.full((2, 2, 3, 6, 4), 1e9))  # what is not written is not read
    for t in range(4):
        step, cache = run(x_BTD[:, t : t + 1], (np.arange(6) <= t)[None, None], cache, np.int32(t))
        np.testing.assert_allclose(step[:, 0], whole[:, t], atol=1e-5)


def test_fused_projection_starts_at_the_scale_of_separate_ones():
    kernel = SelfAttention(64, 4, rngs=nnx.Rngs(0)).qkv.kernel[...]
    bound = (6 / 128) ** 0.5
    assert bound * 0.99 < np.abs(kernel).max() <= bound


def test_unknown_tap_is_named_with_the_nearest():
    with pytest.raises(ValueError, match="'decoder.0.hiden' is not a tap.*did you mean decoder.0.hidden"):
        Tapper({"decoder.0.hiden": None}, ("decoder.0.hidden", "decoder.1.hidden"))
