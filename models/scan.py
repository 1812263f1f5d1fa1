"""`lax.scan` for recurrences whose weight gradients are one matmul after the backward scan.

Automatic differentiation of a scan adds input^T dproduct to every weight gradient at every step: a
thin matmul and a pass over a matrix as large as the weights. Here the backward scan only leaves the
dproducts behind, and each weight gradient is one thick matmul over all steps at the end.

Dims: T steps, B batch, I width in, O width out; `...` any leading axes.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from models.matmul import matmul
from models.shapes import Array, Float


class Dense(NamedTuple):
    """The arrays of x W + b. A kernel of (B, I, O) holds one matrix for each row of the batch."""

    kernel: Float[Array, "*B I O"]
    bias: Float[Array, "O"] | None = None


class LinearFn(Protocol):
    def __call__(self, name: str, x: Array) -> Array:
        """x W + b with the weights of that name, in float32."""
        ...


Step = Callable[[LinearFn, Any, Any, Any], tuple[Any, Any]]


def multiply(x: Float[Array, "... I"], dense: Dense) -> Float[Array, "... O"]:
    """x W + b with x in the kernel's dtype and the sum in float32 (or wider)."""
    wide = jnp.promote_types(dense.kernel.dtype, jnp.float32)
    product_of = matmul if dense.kernel.ndim == 2 else jnp.matmul
    product = product_of(x.astype(dense.kernel.dtype), dense.kernel, preferred_element_type=wide)
    return product if dense.bias is None else product + dense.bias


def linear_of(weights: Mapping[str, Dense]) -> LinearFn:
    return lambda name, x: multiply(x, weights[name])


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def scan(step: Step, reverse: bool, weights: Mapping[str, Dense], constants: Any, carry: Any, xs: Any) -> tuple:
    """Runs `carry, y = step(linear, constants, carry, x)` over the leading axis of `xs`.

    `linear(name, value)` multiplies by `weights[name]`, once a step for each name. `step` closes over
    no traced array: what it reads besides the scan's own values comes through `constants`. Returns the
    last carry and the stacked y. Reverse-mode derivatives only.
    """
    linear = linear_of(weights)
    return jax.lax.scan(lambda carry, x: step(linear, constants, carry, x), carry, xs, reverse=reverse)


def scan_remat(step: Step, reverse: bool, weights: Mapping[str, Dense], constants: Any, carry: Any, xs: Any) -> tuple:
    """As `scan`, but what the backward pass needs is kept for about sqrt(T) steps at a time and computed anew for
    the others, from carries kept at every sqrt(T)-th step (Chen et al. 2016). Takes one forward pass longer."""
    length = _length(xs)
    size = math.isqrt(max(length - 1, 0)) + 1
    whole = length // size * size  # steps in segments of `size`; the rest is a shorter one
    segment = jax.checkpoint(partial(scan, step, reverse), prevent_cse=False)

    def run(carry, part):
        return segment(weights, constants, carry, part)

    rest = jax.tree.map(lambda x: x[whole:], xs)
    segments = jax.tree.map(lambda x: x[:whole].reshape(whole // size, size, *x.shape[1:]), xs)
    pieces = []
    if reverse and whole < length:
        carry, ys = run(carry, rest)
        pieces.append(ys)
    carry, ys = jax.lax.scan(run, carry, segments, reverse=reverse)
    pieces.insert(0, jax.tree.map(lambda y: y.reshape(whole, *y.shape[2:]), ys))
    if not reverse and whole < length:
        carry, ys = run(carry, rest)
        pieces.append(ys)
    return carry, jax.tree.map(lambda *parts: jnp.concatenate(parts), *pieces)


def _forward(step, reverse, weights, constants, carry, xs):
    constants = jax.tree.map(jnp.asarray, constants)  # under jit they may come as numpy's
    slots = {
        name: jnp.zeros((_length(xs), *product.shape), product.dtype)
        for name, product in _products(step, weights, constants, carry, xs).items()
    }

    def run(slots, constants, carry, xs):
        def body(carry, x_slot):
            x, slot = x_slot
            inputs: dict[str, Array] = {}

            def linear(name, value):
                inputs[name] = value.astype(weights[name].kernel.dtype)
                return _noted_product(inputs[name], weights[name], slot[name])

            carry, y = step(linear, constants, carry, x)
            return carry, (y, inputs)

        carry, (ys, inputs) = jax.lax.scan(body, carry, (xs, slots), reverse=reverse)
        return (carry, ys), inputs

    out, pullback, inputs = jax.vjp(run, slots, constants, carry, xs, has_aux=True)
    return out, (pullback, inputs, weights)


def _backward(step, reverse, residuals, d_out):
    pullback, inputs, weights = residuals
    d_products, d_constants, d_carry, d_xs = pullback(d_out)
    d_weights = {name: _weight_gradient(inputs[name], d_products[name], dense) for name, dense in weights.items()}
    return d_weights, d_constants, d_carry, d_xs


scan.defvjp(_forward, _backward)


@jax.custom_vjp
def _noted_product(x: Array, dense: Dense, slot: Array) -> Array:
    """x W + b, whose derivative is sent to `slot`, an unread array, and not to the weights."""
    return multiply(x, dense)


def _noted_product_forward(x, dense, slot):
    return multiply(x, dense), dense.kernel


def _noted_product_backward(kernel, d_product):
    d_x = jnp.matmul(d_product.astype(kernel.dtype), jnp.swapaxes(kernel, -1, -2))
    return d_x, None, d_product


_noted_product.defvjp(_noted_product_forward, _noted_product_backward)


def _products(step, weights, constants, carry, xs) -> dict[str, jax.ShapeDtypeStruct]:
    """Shape and dtype of each product of one step, by an abstract run of it."""
    products: dict[str, jax.ShapeDtypeStruct] = {}

    def linear(name, value):
        if name in products:
            raise ValueError(f"linear({name!r}) is used twice in one step; give each use a name of its own")
        product = multiply(value, weights[name])
        products[name] = jax.ShapeDtypeStruct(product.shape, product.dtype)
        return product

    first = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), xs)
    jax.eval_shape(lambda carry, x: step(linear, constants, carry, x), carry, first)
    return products


def _length(xs: Any) -> int:
    return jax.tree.leaves(xs)[0].shape[0]


def _weight_gradient(x: Array, d_product: Array, dense: Dense) -> Dense:
    """Sums over steps, and over the batch too unless each row has a matrix of its own."""
    kernel, bias = dense
    wide = d_product.dtype
    flat = d_product.astype(kernel.dtype)
    if kernel.ndim == 2:
        subscripts = "ni,no->io"
        x, flat = x.reshape(-1, x.shape[-1]), flat.reshape(-1, flat.shape[-1])
    else:
        subscripts = "tbni,tbno->bio"
        x, flat = (array.reshape(*array.shape[:2], -1, array.shape[-1]) for array in (x, flat))
    d_kernel = jnp.einsum(subscripts, x, flat, preferred_element_type=wide).astype(kernel.dtype)
    d_bias = None if bias is None else d_product.sum(tuple(range(d_product.ndim - 1))).astype(bias.dtype)
    return Dense(d_kernel, d_bias)
