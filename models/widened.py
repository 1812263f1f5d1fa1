"""Products of bfloat16 arrays that are summed in float32, with gradients that are such products too."""

from collections.abc import Callable
from functools import partial

import jax
from jax.typing import DTypeLike

from models.shapes import Array

Product = Callable[..., Array]  # of two arrays, linear in each, with `preferred_element_type`: jnp.matmul, or the like


def widened(product: Product, x: Array, y: Array, dtype: DTypeLike) -> Array:
    """product(x, y), summed and returned in `dtype`, which is that of x or a wider one.

    Left to automatic differentiation, its gradients would multiply the wide gradient with an array that is widened for
    it: float32 products in the backward pass of a bfloat16 model, at half an accelerator's rate or less.
    """
    return product(x, y) if dtype == x.dtype else _widened(product, dtype, x, y)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _widened(product: Product, dtype: DTypeLike, x: Array, y: Array) -> Array:
    return product(x, y, preferred_element_type=dtype)


def _forward(product: Product, dtype: DTypeLike, x: Array, y: Array):
    return _widened(product, dtype, x, y), (x, y)


def _backward(product: Product, dtype: DTypeLike, saved: tuple[Array, Array], gradient: Array):
    x, y = saved
    _, pullback = jax.vjp(product, x, y)  # product is linear in each, so nothing is computed a second time
    return pullback(gradient.astype(x.dtype))


_widened.defvjp(_forward, _backward)
