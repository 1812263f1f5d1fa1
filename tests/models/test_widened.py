"""Products of matrices: rows over several axes, and bfloat16 forward and backward."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.matmul import matmul
from models.widened import widened
from tests.models import test_contract as contract


def normal(seed, *shape, dtype=jnp.float32):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def test_rows_on_several_axes_are_rows_of_one_matrix():
    x, kernel = normal(0, 3, 4, 5), normal(1, 5, 6)
    np.testing.assert_allclose(matmul(x, kernel), jnp.einsum("abd,do->abo", x, kernel), atol=1e-6)


def test_a_widened_product_keeps_its_sum_wide_and_its_gradients_narrow():
    x, kernel, weight = normal(0, 7, 300, dtype=jnp.bfloat16), normal(1, 300, 2, dtype=jnp.bfloat16), normal(2, 7, 2)

    def total(x, kernel, product):
        return (product(x, kernel) * weight).sum()

    wide = functools.partial(widened, jnp.matmul, dtype=jnp.float32)
    exact = np.asarray(x, np.float64) @ np.asarray(kernel, np.float64)
    assert wide(x, kernel).dtype == jnp.float32
    np.testing.assert_allclose(wide(x, kernel), exact, rtol=1e-4, atol=1e-4)
    assert not np.allclose((x @ kernel).astype(jnp.float32), exact, rtol=1e-4, atol=1e-4)
    expected = jax.grad(total, argnums=(0, 1))(x.astype(jnp.float32), kernel.astype(jnp.float32), jnp.matmul)
    for found, right in zip(jax.grad(total, argnums=(0, 1))(x, kernel, wide), expected, strict=True):
        assert found.dtype == jnp.bfloat16
        np.testing.assert_allclose(found.astype(jnp.float32), right, rtol=0.03, atol=0.03)


STATES_IN_FLOAT32 = {"linear_attention_decoder", "delta_net_decoder", "mlstm_decoder"}  # and the keys that fill them


@pytest.mark.parametrize("name", contract.TRAINED)
def test_bfloat16_architectures_multiply_bfloat16_matrices_forward_and_backward(name):
    """All but products with a vector, the additive score's v, and within heads those with a state in float32."""
    kind = "aligned" if name in contract.READERS else "tokens"
    graph, params = contract.abstract(name, kind, dtype="bfloat16")
    step = jax.grad(lambda params, batch: contract.loss_of(graph, params, None, batch)[0])
    products = list(products_of(jax.make_jaxpr(step)(params, contract.batch(kind)).jaxpr))
    assert len(products) >= 3  # the output layer's, and its two gradients
    wide = [p for p in products if {str(v.aval.dtype) for v in p.invars} != {"bfloat16"}]
    if name in STATES_IN_FLOAT32:  # (batch, heads, ...), where projections have two axes or (batch, time, width)
        assert wide
        wide = [p for p in wide if len(p.params["dimension_numbers"][1][0]) < 2]
    assert [str(p) for p in wide if min(sizes(p)) > 1] == []


def sizes(product):
    """How many rows, columns and terms the product has: of a matrix and a vector one of them is 1."""
    contracting, batch = product.params["dimension_numbers"]
    left, right = (v.aval.shape for v in product.invars)
    free = [np.delete(shape, [*c, *b]) for shape, c, b in zip((left, right), contracting, batch, strict=True)]
    return [*map(math.prod, free), math.prod(left[axis] for axis in contracting[0])]


def products_of(jaxpr):
    """Every dot_general, within loops and calls too."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            yield equation
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns")):
            inner = getattr(inner, "jaxpr", inner)
            if hasattr(inner, "eqns"):
                yield from products_of(inner)
