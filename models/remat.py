"""Activations computed anew in the backward pass instead of kept (Chen et al. 2016)."""

from collections.abc import Callable
from typing import Any, TypeVar, TypeVarTuple

import jax
import jax.numpy as jnp

In = TypeVarTuple("In")
Out = TypeVar("Out")


def remat(run: Callable[[*In], Out]) -> Callable[[*In], Out]:
    """`run`, of which the backward pass keeps the arguments alone and computes the rest anew. Returns the same values;
    has derivatives in reverse mode only. `run` may close over traced arrays, and takes and returns trees of arrays.

    That is `jax.checkpoint`, but on a CPU it has no effect: XLA drops the barriers that keep the second forward pass
    apart from the first, finds them equal and keeps the values. Here the second reads its arguments through the
    gradient, so it is another computation, and one that cannot start before the gradient is there.
    """

    def outer(*args: *In) -> Out:
        if jax.default_backend() != "cpu":
            return jax.checkpoint(run)(*args)
        converted, closed = jax.closure_convert(run, *args)

        @jax.custom_vjp
        def inner(closed: Any, args: Any) -> Any:
            return converted(*args, *closed)

        def forward(closed: Any, args: Any) -> tuple[Any, Any]:
            return inner(closed, args), (closed, args)

        def backward(kept: Any, gradient: Any) -> Any:
            closed, args = kept
            zero = 0 * jax.tree.leaves(gradient)[0].ravel()[0]  # which XLA cannot know: 0 times infinity is none
            later = jax.tree.map(
                lambda x: x + zero.astype(x.dtype) if jnp.issubdtype(x.dtype, jnp.inexact) else x, args
            )
            return jax.vjp(inner.fun, closed, later)[1](gradient)

        inner.defvjp(forward, backward)
        return inner(closed, args)

    return outer
