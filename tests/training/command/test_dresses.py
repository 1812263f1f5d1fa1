"""The Transformer in two dresses (configs/shakespeare.py): both run, and have as many parameters as each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import models
from data.spec import Spec
from tests.models.sizes import SIZES
from tests.training.processes import ROOT
from training.command import cli

SPEC = Spec("none", 0, 67, "tokens", 67, 0, 128, free_running=True, eos=2)
FILE = f"{ROOT}/configs/shakespeare.py"
DRESSES = ("as_taught", "current_practice")


def dressed(name):
    return cli.load(f"{FILE}:transformer_decoder,{name}").model


def test_they_are_matched_in_parameters_and_count_what_their_page_says():
    counts = []
    for name in DRESSES:
        config = dressed(name)
        model = nnx.eval_shape(lambda config=config: models.build(config.name, config, SPEC, jax.random.key(0)))
        counts.append(sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model))))
        assert counts[-1] == SIZES["transformer_decoder"](config, SPEC)
    assert counts[0] != counts[1] and abs(counts[0] / counts[1] - 1) < 0.002
    assert cli.load(f"{FILE}:transformer_decoder").model == models.configured("transformer_decoder", {"num_layers": 2})


@pytest.mark.parametrize("name", DRESSES)
def test_they_run(name):
    config = dressed(name)
    config.update({"hidden_size": 16, "mlp_dim": 24, "num_layers": 1})
    graph, shapes = nnx.split(nnx.eval_shape(lambda: models.build(config.name, config, SPEC, jax.random.key(0))))
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), jnp.float32), shapes)
    nothing = jnp.zeros((2, 0), jnp.int32), jnp.zeros((2, 0), bool)
    logits = jax.jit(lambda params: nnx.merge(graph, params)(*nothing, jnp.ones((2, 5), jnp.int32)).logits)(params)
    assert logits.shape == (2, 5, 67) and np.isfinite(logits).all()
    assert ("bias" in str(shapes.layers if "layers" in shapes else shapes["decoder"])) == (name == "as_taught")


def test_only_the_decoder_has_them():
    with pytest.raises(ValueError, match="only transformer_decoder has dresses; leave it out for gru_decoder"):
        cli.load(f"{FILE}:gru_decoder,as_taught")
