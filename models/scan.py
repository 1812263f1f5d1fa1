"""`lax.scan` for recurrences, with a backward pass that keeps little and forms weight gradients once.

Automatic differentiation of a scan adds input^T dproduct to every weight gradient at every step: a thin
matmul and a pass over a matrix as large as the weights. Here the backward scan only leaves the dproducts
behind, and each weight gradient is one thick matmul over all steps at the end. It also stacks whatever a
derivative reads, some ten arrays per step for a GRU. Here the forward scan keeps the carries and the products,
and the backward scan recomputes the elementwise rest.

Dims: T steps, B batch, I width in, O width out, P = O / parts; `...` any leading axes.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from models.matmul import matmul, outer
from models.shapes import Array, Float


class Dense(NamedTuple):
    """The arrays of x W + b. A kernel of (B, I, O) holds one matrix for each row of the batch."""

    kernel: Float[Array, "*B I O"]
    bias: Float[Array, "O"] | None = None


Parts = Sequence[Array | None]


class LinearFn(Protocol):
    def __call__(self, name: str, x: Array, plus: Parts | None = None, /) -> Any:
        """x W + b with the weights of that name, in float32.

        With `plus`, in as many equal parts as it has, each with its entry added: a tuple. XLA vectorises
        elementwise loops over separate arrays, and on a CPU not those over slices of one (docs/performance.md).
        """
        ...


Step = Callable[[LinearFn, Any, Any, Any], tuple[Any, Any]]


def multiply(x: Float[Array, "... I"], dense: Dense) -> Float[Array, "... O"]:
    """x W + b with x in the kernel's dtype and the sum in float32 (or wider)."""
    wide = jnp.promote_types(dense.kernel.dtype, jnp.float32)
    product_of = matmul if dense.kernel.ndim == 2 else jnp.matmul
    product = product_of(x.astype(dense.kernel.dtype), dense.kernel, preferred_element_type=wide)
    return product if dense.bias is None else product + dense.bias


def in_parts(product: Float[Array, "... O"], plus: Parts) -> tuple[Float[Array, "... P"], ...]:
    parts = jnp.split(product, len(plus), axis=-1)
    return tuple(part if more is None else part + more for part, more in zip(parts, plus, strict=True))


def linear_of(weights: Mapping[str, Dense]) -> LinearFn:
    def linear(name: str, x: Array, plus: Parts | None = None):
        product = multiply(x, weights[name])
        return product if plus is None else in_parts(product, plus)

    return linear


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def scan(step: Step, reverse: bool, weights: Mapping[str, Dense], constants: Any, carry: Any, xs: Any) -> tuple:
    """Runs `carry, y = step(linear, constants, carry, x)` over the leading axis of `xs`.

    `linear(name, value)` multiplies by `weights[name]`, once per step for each name. `step` closes over
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

    def run(carry: Any, part: Any):
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


def _forward(step: Step, reverse: bool, weights: Mapping[str, Dense], constants: Any, carry: Any, xs: Any):
    stacked = Stacked()

    def body(carry: Any, x: Any):
        inputs: dict[str, Array] = {}
        products: dict[str, tuple[Array, ...]] = {}

        def linear(name: str, value: Array, plus: Parts | None = None):
            if name in products:
                raise ValueError(f"linear({name!r}) is used twice in one step; give each use a name of its own")
            inputs[name], product = value, multiply(value, weights[name])
            products[name] = (product,) if plus is None else in_parts(product, plus)
            return product if plus is None else products[name]

        after, y = step(linear, constants, carry, x)
        return after, stacked.pack((y, (carry, inputs, products)))

    last, packed = jax.lax.scan(body, carry, xs, reverse=reverse)
    ys, kept = stacked.unpack(packed)
    return (last, ys), (weights, constants, xs, *kept)


def _backward(step: Step, reverse: bool, residuals: Any, d_out: Any):
    weights, constants, xs, carries, inputs, products = residuals
    d_last, d_ys = d_out
    constants, x_parts = Differentiable(constants), Differentiable(xs)
    transposed = {name: jnp.swapaxes(dense.kernel, -1, -2) for name, dense in weights.items()}
    stacked = Stacked()

    def body(d_state: Any, at: Any):
        d_after, d_constants = d_state
        x_reals, x_others, carry, known, d_y = at

        def again(slots: Any, constant_reals: list[Array], carry: Any, x_reals: list[Array]):
            def linear(name: str, value: Array, plus: Parts | None = None):
                parts = _known_product(value, plus, slots[name], transposed[name], known[name])
                return parts[0] if plus is None else parts

            return step(linear, constants.join(constant_reals), carry, x_parts.join(x_reals, x_others))

        slots = jax.tree.map(jnp.zeros_like, known)
        _, pullback = jax.vjp(again, slots, constants.reals, carry, x_reals)
        d_products, d_constant, d_carry, d_x = pullback((d_after, d_y))
        d_constants = jax.tree.map(jnp.add, d_constants, d_constant)
        return (d_carry, d_constants), stacked.pack((d_products, d_x))

    zeros = jax.tree.map(jnp.zeros_like, constants.reals)
    at = (x_parts.reals, x_parts.others, carries, products, d_ys)
    (d_carry, d_constants), packed = jax.lax.scan(body, (d_last, zeros), at, reverse=not reverse)
    d_products, d_xs = stacked.unpack(packed)
    d_weights = {name: _weight_gradient(inputs[name], d_products[name], dense) for name, dense in weights.items()}
    return d_weights, constants.gradient(d_constants), d_carry, x_parts.gradient(d_xs)


scan.defvjp(_forward, _backward)


class Stacked:
    """What the body of a scan puts out, where an array that comes up in several places is stacked once."""

    def pack(self, tree: Any) -> list[Array]:
        """In the body: the tree's different arrays."""
        leaves, self._structure = jax.tree.flatten(tree)
        once = list({id(leaf): leaf for leaf in leaves}.values())
        self._places = [next(n for n, kept in enumerate(once) if kept is leaf) for leaf in leaves]
        return once

    def unpack(self, arrays: Sequence[Array]) -> Any:
        """After the scan: the tree."""
        return jax.tree.unflatten(self._structure, [arrays[place] for place in self._places])


class Differentiable:
    """A tree taken apart into what has derivatives (`reals`) and what has none: masks, indices."""

    def __init__(self, tree: Any):
        leaves, self._structure = jax.tree.flatten(tree)
        leaves = [jnp.asarray(leaf) for leaf in leaves]  # under jit they may come as numpy's
        self._real = [jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in leaves]
        self.reals = [leaf for leaf, real in zip(leaves, self._real, strict=True) if real]
        self.others = [leaf for leaf, real in zip(leaves, self._real, strict=True) if not real]

    def join(self, reals: Sequence[Any], others: Sequence[Any] | None = None) -> Any:
        """The tree, with other arrays in its places."""
        rest = {True: iter(reals), False: iter(self.others if others is None else others)}
        return jax.tree.unflatten(self._structure, [next(rest[real]) for real in self._real])

    def gradient(self, reals: Sequence[Array]) -> Any:
        """The tree of gradients, None where there is no derivative."""
        return self.join(reals, [None] * len(self.others))


@jax.custom_vjp
def _known_product(
    x: Array, plus: Parts | None, slots: tuple[Array, ...], transposed: Array, known: tuple[Array, ...]
) -> tuple[Array, ...]:
    """x W + b in parts, each plus its own, known already; W's derivative goes to `slots`, which nothing reads."""
    return known


def _known_product_forward(
    x: Array, plus: Parts | None, slots: tuple[Array, ...], transposed: Array, known: tuple[Array, ...]
):
    return known, (x, plus, transposed)


def _known_product_backward(kept: tuple[Array, Parts | None, Array], d_parts: tuple[Array, ...]):
    x, plus, transposed = kept
    d_product = d_parts[0] if len(d_parts) == 1 else jnp.concatenate(d_parts, axis=-1)
    wide = d_product.dtype
    d_x = jnp.matmul(d_product.astype(transposed.dtype), transposed, preferred_element_type=wide).astype(x.dtype)
    d_plus = None
    if plus is not None:
        d_plus = tuple(None if p is None else d.astype(p.dtype) for p, d in zip(plus, d_parts, strict=True))
    return d_x, d_plus, d_parts, None, None


_known_product.defvjp(_known_product_forward, _known_product_backward)


def _length(xs: Any) -> int:
    return jax.tree.leaves(xs)[0].shape[0]


def _weight_gradient(x: Array, d_parts: tuple[Array, ...], dense: Dense) -> Dense:
    """Sums over steps, and over the batch too unless each row has a matrix of its own."""
    kernel, bias = dense
    wide = d_parts[0].dtype
    x = x.astype(kernel.dtype)
    columns = []
    for d_part in d_parts:
        thin = d_part.astype(kernel.dtype)
        if kernel.ndim == 2:
            columns.append(outer(x, thin, batch_axis=1, preferred_element_type=wide))
        else:
            matrices = (array.reshape(*array.shape[:2], -1, array.shape[-1]) for array in (x, thin))
            columns.append(jnp.einsum("tbni,tbno->bio", *matrices, preferred_element_type=wide))
    d_kernel = jnp.concatenate(columns, axis=-1).astype(kernel.dtype)
    if bias is None:
        return Dense(d_kernel, None)
    d_bias = jnp.concatenate([d_part.sum(tuple(range(d_part.ndim - 1))) for d_part in d_parts])
    return Dense(d_kernel, d_bias.astype(bias.dtype))
