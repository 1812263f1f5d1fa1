"""The encoder-only Transformer is PyTorch's, forward and backward, and each output sees the whole source.

`tests/reference/make_transformer_encoder.py` made what is compared with.
"""

import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import models
from data.spec import Spec
from models.positions import POSITIONS
from tests.models.test_attention import layer_from_torch
from training.step import params

REFERENCE = np.load(pathlib.Path(__file__).parents[1] / "reference" / "transformer_encoder.npz")
SOURCE, MASK, BOS = jnp.asarray(REFERENCE["source"], jnp.int32), jnp.asarray(REFERENCE["mask"]), int(REFERENCE["bos"])
B, S = SOURCE.shape
V, D = REFERENCE["aligned/param/embed.weight"].shape
SPECS = {
    "aligned": Spec("tokens", V, V, "tokens", V, S, S, layout="aligned", shared_vocabulary=True, bos=BOS),
    "label": Spec("tokens", V, V, "classes", 4, S, 1, layout="label", shared_vocabulary=True, bos=BOS),
}
DRESS = {"aligned": {"norm": "pre", "activation": "gelu"}, "label": {"norm": "post", "activation": "relu"}}


def build(case):
    config = models.configured("transformer_encoder")
    mlp_dim = len(REFERENCE[f"{case}/param/encoder.layers.0.linear1.bias"])
    config.update({"hidden_size": D, "mlp_dim": mlp_dim, "num_heads": int(REFERENCE["num_heads"]), **DRESS[case]})
    return nnx.eval_shape(lambda: models.build("transformer_encoder", config, SPECS[case], jax.random.key(0)))


def from_torch(case, what):
    """PyTorch's arrays, or their gradients, by our names."""

    def read(name):
        return jnp.asarray(REFERENCE[f"{case}/{what}/{name}"])

    tree = {"inputs": {"target": {"table": read("embed.weight")}}, "encoder": {"layers": {}}}
    for number in range(2):
        layer = layer_from_torch(lambda name, number=number: read(f"encoder.layers.{number}.{name}"), decoder=False)
        tree["encoder"]["layers"][number] = layer
    if case == "label":
        tree["head"] = {"kernel": read("output.weight").T, "bias": read("output.bias")}
    else:
        tree["head"] = {"bias": read("output_bias")}
        tree["encoder"]["last_norm"] = {"scale": read("encoder.norm.weight"), "bias": read("encoder.norm.bias")}
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


@pytest.mark.parametrize("positions", POSITIONS)
def test_a_transformer_s_encoder_has_its_arrays(positions):
    """By name and shape, so that `init_from` gives a translation model the encoder of a masked one, but for tables that
    are as long as a sequence, which is one token longer there."""

    def shapes(name, spec):
        config = models.configured(name, {"hidden_size": 8, "mlp_dim": 12, "num_heads": 2, "positions": positions})
        model = nnx.eval_shape(lambda: models.build(name, config, spec, jax.random.key(0)))
        leaves, _ = jax.tree_util.tree_flatten_with_path(nnx.state(model, nnx.Param)["encoder"])
        return {jax.tree_util.keystr(path): leaf.shape for path, leaf in leaves}

    masked = shapes("transformer_encoder", SPECS["aligned"])
    whole = shapes("transformer", dataclasses.replace(SPECS["aligned"], layout="sequence"))
    differ = {place for place in masked | whole if masked.get(place) != whole.get(place)}
    assert len(masked) > 20 and all("positions" in place for place in differ)
    assert bool(differ) == (positions in ("learned", "relative", "shaw"))


@pytest.mark.parametrize("case", sorted(SPECS))
def test_it_agrees_with_torch_forward_and_backward(case):
    skeleton, loaded = params.Skeleton(build(case)), from_torch(case, "param")
    cotangent, target_in = REFERENCE[f"{case}/cotangent"], jnp.zeros((B, S if case == "aligned" else 1), jnp.int32)

    @jax.jit
    def evaluate(loaded):
        def loss(loaded):
            logits = skeleton(loaded)(SOURCE, MASK, target_in).logits
            return jnp.vdot(logits, cotangent), logits

        return jax.grad(loss, has_aux=True)(loaded)

    gradients, logits = evaluate(loaded)
    counted = cotangent != 0
    np.testing.assert_allclose(logits[counted], REFERENCE[f"{case}/output"][counted], rtol=1e-5, atol=1e-5)
    expected = from_torch(case, "grad")
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        np.testing.assert_allclose(gradient, expected[name], rtol=1e-5, atol=1e-5, err_msg=name)
    _, broken = evaluate({name: array * 1.01 for name, array in loaded.items()})
    assert not np.allclose(broken[counted], REFERENCE[f"{case}/output"][counted], atol=1e-3)


def test_each_output_sees_the_whole_source_and_none_of_target_in():
    model = params.Skeleton(build("aligned"))(from_torch("aligned", "param"))
    call = jax.jit(lambda source, target_in: model(source, MASK, target_in).logits)
    before = np.asarray(call(SOURCE, SOURCE))
    for place in range(S):
        after = np.asarray(call(SOURCE.at[0, place].set(SOURCE[0, place] % (V - 3) + 3), SOURCE))
        changed = np.abs(after - before).max(axis=-1)
        assert np.all(changed[0] > 0) and not changed[1:].any(), place
    np.testing.assert_array_equal(call(SOURCE, jnp.zeros_like(SOURCE)), before)


def test_answers_of_another_length_are_refused():
    model = params.Skeleton(build("aligned"))(from_torch("aligned", "param"))
    with pytest.raises(ValueError, match="answers of shape .* are not aligned with a source of"):
        model(SOURCE, MASK, SOURCE[:, 1:])
