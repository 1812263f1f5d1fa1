"""Fused attention through `jax.nn.dot_product_attention` against our own; where it is taken, where it is refused.

cuDNN's kernel needs a GPU. XLA's takes the same arguments, so layouts, masks, lengths and scale are tested here; that
the program for a GPU calls cuDNN is read from its text.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import models
from data.spec import Spec
from models import fused_attention
from models.attention import Keys, View, attend
from models.fused_attention import Fused, attend_fused, choose
from models.padding import put_back, to_front
from models.taps import Tapper

NAMES = ("transformer", "transformer_decoder")
V = 11
SPEC = Spec("tokens", V, V, "tokens", V, 6, 7, shared_vocabulary=True, eos=2)
LENGTHS = np.array([6, 2, 0])
RNG = np.random.default_rng(0)
SOURCE, TARGET = RNG.integers(3, V, (4, 6)), RNG.integers(3, V, (4, 5))
# Padded on the right, on the left, with a gap, and nothing but padding.
MASK = np.array([[1, 1, 1, 1, 0, 0], [0, 0, 1, 1, 1, 1], [1, 0, 1, 0, 0, 1], [0, 0, 0, 0, 0, 0]], bool)


def normal(seed, *shape, dtype=jnp.float32):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


@pytest.mark.parametrize(
    ("dtype", "causal", "lengths", "size", "wide"),  # cuDNN's wants sizes even; `wide` are the values
    [
        *itertools.product(["float32"], [False, True], [None, LENGTHS], [7], [8]),
        ("float32", False, None, 6, 16),
        ("float32", True, LENGTHS, 6, 4),
        ("bfloat16", False, None, 6, 8),
        ("bfloat16", True, LENGTHS, 7, 16),
    ],
)
def test_the_kernel_gives_what_our_attention_gives(dtype, causal, lengths, size, wide):
    """Outputs and gradients, with a row that has no keys."""
    query, key, value, weight = (normal(n, 3, 2, size, K, dtype=dtype) for n, K in enumerate((8, 8, wide, wide)))
    visible = np.ones((3, 1, size), bool) if lengths is None else np.arange(size) < lengths[:, None, None]
    view = View(jnp.asarray(visible & (np.tri(size, dtype=bool) if causal else True)))
    fused = Fused("xla", None if lengths is None else jnp.asarray(lengths, jnp.int32), causal)

    def ours(query, key, value):
        return attend(query, [Keys(key, value)], [view], "", Tapper(None, ()))

    def theirs(query, key, value):
        return attend_fused(query, key, value, fused)

    def study(attention):
        run = lambda *arrays: (attention(*arrays).astype(jnp.float32) * weight).sum()  # noqa: E731
        return [attention(query, key, value), *jax.grad(run, argnums=(0, 1, 2))(query, key, value)]

    bound = 1e-5 if dtype == "float32" else 0.05
    expected = jax.jit(lambda: study(ours))()
    for found, right in zip(jax.jit(lambda: study(theirs))(), expected, strict=True):
        assert found.dtype == right.dtype == dtype
        np.testing.assert_allclose(found.astype(jnp.float32), right.astype(jnp.float32), atol=bound)
    if lengths is not None:
        assert all((np.asarray(array[2], np.float32) == 0).all() for array in expected)
        shifted = Fused("xla", jnp.asarray(np.maximum(lengths - 1, 0), jnp.int32), causal)
        assert not np.allclose(attend_fused(query, key, value, shifted), expected[0], atol=2 * bound)


def test_real_tokens_come_to_the_front_and_go_back():
    x = normal(0, 4, 6, 2)
    front, mask, order = to_front(x, jnp.asarray(MASK))
    np.testing.assert_array_equal(mask, np.arange(6) < MASK.sum(1)[:, None])
    for row in range(4):
        np.testing.assert_array_equal(front[row, : MASK[row].sum()], np.asarray(x)[row, MASK[row]])
    np.testing.assert_array_equal(put_back(front, order), x)


def make(name, **values):
    config = models.configured(name)
    config.update({"hidden_size": 16, "mlp_dim": 24, "num_heads": 2, "num_layers": 2} | values)
    graph, params = nnx.split(nnx.eval_shape(lambda: models.build(name, config, SPEC, jax.random.key(0))))
    rng = np.random.default_rng(1)
    return graph, jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape) / 3, jnp.float32), params)


@pytest.mark.parametrize(
    "values",
    [
        {"positions": "sinusoidal", "num_layers": 1},
        {"positions": "rotary", "norm": "post"},
        {"positions": "learned", "remat": True, "num_layers": 1},
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_whole_models_agree_wherever_the_padding_lies(name, values):
    """Logits of every position and gradients of every parameter."""

    def study(kernel):
        graph, params = make(name, fused_attention=kernel, **values)

        def loss(params):
            logits = nnx.merge(graph, params)(SOURCE, MASK, TARGET).logits
            return (jax.nn.log_softmax(logits)[..., 0]).sum(), logits

        program = jax.jit(jax.grad(loss, has_aux=True))
        (gradients, logits), text = program(params), program.lower(params).as_text()
        return gradients, logits, text

    (gradients, logits, text), (d_expected, expected, d_text) = study("xla"), study("never")
    assert text != d_text
    np.testing.assert_allclose(logits, expected, atol=2e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), gradients, d_expected)
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(gradients)) > 1


@pytest.mark.parametrize("name", NAMES)
def test_steps_after_a_fused_start_give_the_teacher_forced_logits(name):
    graph, params = make(name, fused_attention="xla")

    @jax.jit
    def run(params):
        model = nnx.merge(graph, params)
        memory, state = model.start(SOURCE, MASK, 3, TARGET[:, :2])
        steps = []
        for t in range(3):
            logits, state = model.step(TARGET[:, 2 + t], t, memory, state)
            steps.append(logits)
        return jnp.stack(steps, axis=1), model(SOURCE, MASK, TARGET).logits[:, 2:]

    steps, expected = run(params)
    np.testing.assert_allclose(steps, expected, atol=2e-5)


@pytest.mark.parametrize("name", NAMES)
def test_taps_are_those_of_our_own_attention(name):
    """A kernel has no weights to show, and orders its tokens otherwise."""
    outputs = []
    for kernel in ("xla", "never"):
        model = nnx.merge(*make(name, fused_attention=kernel))
        taps = dict.fromkeys(model.tap_names())
        outputs.append(jax.jit(lambda model=model, taps=taps: model(SOURCE, MASK, TARGET, taps=taps).taps)())
    assert outputs[0].keys() == outputs[1].keys()
    jax.tree.map(np.testing.assert_array_equal, *outputs)


def test_the_program_for_a_gpu_calls_cudnn(monkeypatch):
    """Traced and lowered for CUDA, with lengths odd and even; nothing is run."""
    own = "jax._src.cudnn.fused_attention_stablehlo"
    stablehlo = pytest.importorskip(
        own, reason=f"this JAX has no {own}, whose check of cuDNN a machine without it fails"
    )
    monkeypatch.setattr(stablehlo, "check_cudnn_version", lambda: 91000)
    monkeypatch.setattr(fused_attention, "compute_capability", lambda: (9, 0))

    def calls(**values):
        graph, params = make("transformer", dtype="bfloat16", **values)
        step = jax.jit(jax.grad(lambda params: nnx.merge(graph, params)(SOURCE, MASK, TARGET).logits.sum()))
        text = step.trace(params).lower(lowering_platforms=("cuda",)).as_text()
        return text.count("@__cudnn$fmhaSoftmax("), text.count("@__cudnn$fmhaSoftmaxBackward(")

    layers, attentions = 2, 3  # encoder, decoder, and between them
    assert calls() == (layers * attentions, layers * attentions)
    assert calls(fused_attention="never") == (0, 0)


def config_of(**values):
    config = models.configured("transformer")
    config.update({"hidden_size": 128, "num_heads": 2, "dtype": "bfloat16", **values})
    return config


@pytest.mark.parametrize(
    ("values", "capability", "reason"),
    [
        ({}, None, "it needs an NVIDIA GPU and this is cpu; use auto or never"),
        ({}, (7, 5), "it needs compute capability 8.0 and the GPU has 7.5"),
        ({"dtype": "float32"}, (9, 0), "model.dtype = 'float32'; use bfloat16"),
        ({"num_heads": 32}, (9, 0), "model.num_heads = 32 gives 4"),
        ({"num_heads": 1, "hidden_size": 256}, (8, 0), "at most 128 wide"),
        ({"key_size": 12}, (9, 0), "a multiple of 8, and model.key_size = 12"),
        ({"positions": "alibi"}, (9, 0), "model.positions = 'alibi'"),
        ({"positions": "t5"}, (9, 0), "model.positions = 't5' adds to scores in float32; use never"),
        ({"attention_dropout_rate": 0.1}, (9, 0), "model.attention_dropout_rate = 0.1; use 0.0"),
    ],
)
def test_cudnn_is_refused_where_it_cannot_run_and_auto_goes_without(monkeypatch, values, capability, reason):
    monkeypatch.setattr(fused_attention, "compute_capability", lambda: capability)
    assert choose(config_of(fused_attention="auto", **values)) is None
    with pytest.raises(ValueError, match="^model.fused_attention = 'cudnn' cannot run: ") as refused:
        choose(config_of(fused_attention="cudnn", **values))
    assert reason in str(refused.value) and "\n" not in str(refused.value)
    with pytest.raises(ValueError, match="cannot run"):
        models.build("transformer", config_of(fused_attention="cudnn", **values), SPEC, jax.random.key(0))


def test_cudnn_is_taken_where_it_can_run(monkeypatch):
    assert fused_attention.compute_capability() is None  # here
    monkeypatch.setattr(fused_attention, "compute_capability", lambda: (9, 0))
    assert choose(config_of()) == choose(config_of(fused_attention="cudnn")) == "cudnn"
    assert choose(config_of(num_heads=1, hidden_size=256)) == "cudnn"  # Hopper's heads may be wider
    assert choose(config_of(fused_attention="never")) is None


def test_what_was_trained_with_a_gpus_kernels_is_built_anywhere():
    """For evaluation: a config's own choice stays as it is."""
    for name, field in (("transformer", "fused_attention"), ("lstm", "backend")):
        config = models.configured(name)
        config[field] = "cudnn"
        with pytest.raises(ValueError, match="needs an NVIDIA GPU"):
            models.build(name, config, SPEC, jax.random.key(0))
        nnx.eval_shape(
            lambda name=name, config=config: models.build(name, models.portable(config), SPEC, jax.random.key(0))
        )
        assert config[field] == "cudnn"


def test_an_unknown_kernel_is_named_with_the_nearest():
    with pytest.raises(ValueError, match="model.fused_attention = 'cudn' is not known; did you mean cudnn"):
        models.build("transformer", config_of(fused_attention="cudn"), SPEC, jax.random.key(0))
