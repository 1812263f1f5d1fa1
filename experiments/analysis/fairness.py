"""Comparisons that are fair by construction: one budget of parameters for every architecture."""

import functools
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

import data
import models
from data.spec import Spec
from models.options import flat
from training.command import cli
from training.step import params


def budget(budgets: Mapping[str, int], cell: Iterable[str]) -> int | None:
    """Of a cell of the grid: what `budgets` has under one of its axes' values, or under "" for all; None: not sized."""
    return next((budgets[value] for value in cell if value in budgets), budgets.get(""))


def non_embedding_params(model: ConfigDict, spec: Spec) -> int:
    """Parameters without tables that have a row a token or a position; nothing is drawn."""

    def drawn() -> params.Params:
        return params.flatten(models.build(model.name, model, spec, jax.random.key(0)))

    return params.count(jax.eval_shape(drawn), embeddings=False)


def fit(where: str, overrides: Mapping[str, Any], budget: int, *, multiple: int = 1) -> dict[str, Any]:
    """The widths of the largest model of FILE:ARGUMENT with `overrides` that has at most `budget` parameters without
    embeddings, as further overrides.

    First the width of everything is solved for, in steps of `multiple` and of what the heads need, with feed-forward
    layers four times as wide; then these grow into what is left. Raises ValueError where not even the narrowest fits.
    """
    return dict(_fit(where, json.dumps(dict(overrides)), budget, multiple))


@functools.cache
def _fit(where: str, overrides: str, budget: int, multiple: int) -> dict[str, Any]:
    config = _sized(where, overrides, 0, None)
    name = config.model.name
    heads = math.lcm(*(value for key, value in flat(config.model).items() if key.endswith("num_heads")))
    step = multiple * heads // math.gcd(multiple, heads)
    if config.model.get("positions") == "rotary":
        step = max(step, 2 * heads)
    at = functools.partial(_size_at, where, overrides)
    steps = _largest(_root([at(n * step) - budget for n in (1, 2, 3)]), lambda n: at(n * step) <= budget)
    if not steps:
        raise ValueError(f"{where}: a budget of {budget:,} parameters is too small; {at(step):,} is the least")
    width, mlp_dim = steps * step, None
    if "mlp_dim" in config.model:
        one, two = at(width, 1), at(width, 2)
        mlp_dim = _largest(1 + (budget - one) // (two - one), lambda n: at(width, n) <= budget)
    sized = flat(_sized(where, overrides, width, mlp_dim).model)
    return {f"model.{key}": sized[key] for key in sized if key in models.widths(name)}


def _sized(where: str, overrides: str, width: int, mlp_dim: int | None) -> ConfigDict:
    """The config with layers of this width (0: as they are) and, if it is given, this `mlp_dim`."""
    config = cli.load(where)
    config.update_from_flattened_dict(json.loads(overrides))
    if width:
        models.set_width(config.model, width)
    if mlp_dim is not None:
        config.model.mlp_dim = mlp_dim
    return config


@functools.cache
def _size_at(where: str, overrides: str, width: int, mlp_dim: int | None = None) -> int:
    """Its parameters without embeddings; a trace each, so budgets share them."""
    config = _sized(where, overrides, width, mlp_dim)
    return non_embedding_params(config.model, data.build(config.task, config.data).spec)


def _root(values: Sequence[int]) -> int:
    """Where the quadratic through (1, v1), (2, v2), (3, v3) turns positive, rounded down: parameters grow with the
    square of the width."""
    roots = np.roots(np.polyfit([1, 2, 3], values, 2))
    return max(0, math.floor(max(roots.real)))


def _largest(guess: int, fits: Callable[[int], bool]) -> int:
    """The largest n that fits, where all below it do; 0 where not even 1 does."""
    n = guess
    while fits(n + 1):
        n += 1
    while n and not fits(n):
        n -= 1
    return n
