"""Parameters as a flat dict: `{"encoder/layers/0/kernel": array}`.

One flat dict is what the step differentiates, the optimizer updates, a checkpoint stores and a log
line groups by its first name. `Skeleton` puts the arrays back into the module, under a trace or not.
"""

import hashlib
from collections.abc import Mapping
from typing import Generic, TypeVar

import jax
import numpy as np
from flax import nnx

Params = dict[str, jax.Array]
Module = TypeVar("Module", bound=nnx.Module)


class Skeleton(Generic[Module]):
    """A model without its arrays: `skeleton(params)` is the model with `params` in place.

    Models that compute the same have equal skeletons, so that what was compiled for one serves the other.
    """

    def __init__(self, model: Module):
        self._graph, state = nnx.split(model)
        self._variables = {
            "/".join(map(str, path)): (path, variable.replace(None)) for path, variable in nnx.to_flat_state(state)
        }

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Skeleton) and self._graph == other._graph

    def __hash__(self) -> int:
        return hash(tuple(self._variables))

    def __call__(self, params: Mapping[str, jax.Array]) -> Module:
        flat = [(path, variable.replace(params[name])) for name, (path, variable) in self._variables.items()]
        return nnx.merge(self._graph, nnx.from_flat_state(flat))


def flatten(model: nnx.Module) -> Params:
    """The parameters of `model`, by path."""
    _, state = nnx.split(model)
    return {"/".join(map(str, path)): variable[...] for path, variable in nnx.to_flat_state(state)}


def count(params: Mapping[str, jax.Array], *, embeddings: bool = True) -> int:
    """Number of parameters; without `embeddings`, tables with a row per token or position are left out."""
    return sum(p.size for name, p in params.items() if embeddings or not name.split("/")[-1].startswith("table"))


def sha256(params: Mapping[str, jax.Array]) -> str:
    """A digest of names, shapes, dtypes and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(params):
        array = np.asarray(params[name])
        digest.update(f"{name} {array.shape} {array.dtype}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
