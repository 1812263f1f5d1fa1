"""Multiplications and additions of a program, counted in its jaxpr: every product, times the steps of its scan.

The compiler's own count sees the body of a loop once. This one knows the formulas of the products and how often each
is done, whatever the architecture: 2 b m n k for a product of (b, m, k) and (b, k, n). What is elementwise is left out.

Dims: S source length, T target length.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.core import ShapedArray
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var

from models.contract import Architecture, Spec
from models.countable import countable


def count(function: Callable, *args: Any) -> int:
    """FLOPs of the products in function(*args); arguments may be shapes. Raises ValueError for a loop without end."""
    with countable():
        return _of(jax.make_jaxpr(function)(*args).jaxpr)


def forward(model: Architecture, spec: Spec) -> int:
    """FLOPs of one teacher-forced pass over one example of the longest shape; the model may be shapes alone."""
    source, mask, target = example(spec)
    graph, state = nnx.split(model)
    return count(lambda state: nnx.merge(graph, state)(source, mask, target).logits, state)


def state_bytes(model: Architecture, spec: Spec) -> int:
    """Bytes that one sequence's decoding keeps, when it has reached the longest shape: state, or keys and values."""
    source, mask, target = example(spec)
    graph, state = nnx.split(model)
    kept = jax.eval_shape(lambda state: nnx.merge(graph, state).start(source, mask, target.shape[1]), state)
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(kept))


def example(spec: Spec) -> tuple[jax.Array, jax.Array, jax.Array]:
    """One row of (source (1, S) or (1, S, W), mask, target_in (1, T)) of the longest shape."""
    S, T = spec.max_source_length, spec.max_target_length
    source = jnp.zeros((1, S, spec.source_size), jnp.float32) if spec.source == "features" else jnp.zeros((1, S), int)
    return source, jnp.ones((1, S), bool), jnp.zeros((1, T), int)


def _of(jaxpr: Jaxpr) -> int:
    return sum(_of_equation(equation) for equation in jaxpr.eqns)


def _of_equation(equation: JaxprEqn) -> int:
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        return _product(equation)
    if name == "conv_general_dilated":
        return _convolution(equation)
    if name == "scan":
        return params["length"] * _of(params["jaxpr"].jaxpr)
    if name == "cond":
        return max(_of(branch.jaxpr) for branch in params["branches"])
    inside = sum(_of(jaxpr) for jaxpr in _jaxprs(params))
    if name == "while" and inside:
        raise ValueError("flops: a while loop has no known number of steps; count a program that scans")
    return inside


def _jaxprs(params: dict[str, Any]) -> Iterator[Jaxpr]:
    for value in params.values():
        if isinstance(value, ClosedJaxpr):
            yield value.jaxpr
        elif isinstance(value, Jaxpr):
            yield value


def _shape(value: Var | Literal) -> tuple[int, ...]:
    assert isinstance(value.aval, ShapedArray)
    return value.aval.shape


def _product(equation: JaxprEqn) -> int:
    """2 x every output x what is summed over."""
    (contracted, _), _ = equation.params["dimension_numbers"]
    left = _shape(equation.invars[0])
    return 2 * math.prod(_shape(equation.outvars[0])) * math.prod(left[axis] for axis in contracted)


def _convolution(equation: JaxprEqn) -> int:
    """2 x every output x the window x the input channels that each output sees."""
    kernel = _shape(equation.invars[1])
    out_features = kernel[equation.params["dimension_numbers"].rhs_spec[0]]
    return 2 * math.prod(_shape(equation.outvars[0])) * math.prod(kernel) // out_features
