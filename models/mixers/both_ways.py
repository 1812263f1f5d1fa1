"""A mixer that reads in one direction, made to see both sides: two of them, one from either end.

Dims: B batch, T tokens, D model width.
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from flax import nnx
from ml_collections import ConfigDict

from models.dropout import fold
from models.mixers.mixer import Mixer, Span
from models.padding import pick
from models.shapes import Array, Int
from models.taps import Tapper

BACKWARD = "backward."


class BothWays(Mixer):
    """The sum of what both make, each with parameters of its own (Schuster & Paliwal 1997). It cannot decode.

    Taps of the one that reads backwards have `backward.` before their names, and lie where their tokens do.
    """

    def __init__(self, kind: type[Mixer], config: ConfigDict, depth: int, rngs: nnx.Rngs):
        self.forward, self.backward = kind(config, depth, rngs), kind(config, depth, rngs)

    def tap_axes(self):
        return {**self.forward.tap_axes(), **{BACKWARD + name: axes for name, axes in self.backward.tap_axes().items()}}

    @property
    def reach(self):
        return self.forward.reach

    def start_carry(self, rows: int) -> tuple[()]:
        return ()

    def __call__(self, x_BTD: Array, span: Span, carry: tuple[()], *, name: str, tap: Tapper, key: Array | None = None):
        (B, T, _), back = x_BTD.shape, name + BACKWARD
        y_BTD, _ = self.forward(x_BTD, span, self.forward.start_carry(B), name=name, tap=tap, key=fold(key, 0))
        place_BT = jnp.broadcast_to(reversal(T, span.length_B), (B, T))
        axes = {back + tapped: of for tapped, of in self.backward.tap_axes().items()}
        own = Tapper(moved({key: tap.taps[key] for key in axes if tap.wants(key)}, axes, place_BT), tuple(axes))
        x_BTD, first = pick(x_BTD, place_BT), self.backward.start_carry(B)
        z_BTD, _ = self.backward(x_BTD, span, first, name=back, tap=own, key=fold(key, 1))
        tap.captured.update(moved(own.captured, axes, place_BT))
        return y_BTD + pick(z_BTD, place_BT), ()


def reversal(T: int, length_B: Int[Array, "#B"] | None) -> Int[Array, "#B T"]:
    """The places that turn the first `length_B` of T tokens round, None: all of them, and leave the padding behind."""
    at_T = jnp.arange(T, dtype=jnp.int32)
    length_B1 = jnp.full((1, 1), T) if length_B is None else length_B[:, None]
    return jnp.where(at_T < length_B1, length_B1 - 1 - at_T, at_T)


def moved(values: Mapping[str, Any], axes: Mapping[str, tuple[int, ...]], place_BN: Int[Array, "B N"]) -> dict:
    """Tapped values with the tokens at these places, along each of their axes that are tokens."""
    return {
        name: value if value is None else _pick(value, axes.get(name, ()), place_BN) for name, value in values.items()
    }


def _pick(x: Array, axes: tuple[int, ...], place_BN: Array) -> Array:
    for axis in axes:
        shape = [1] * x.ndim
        shape[0], shape[axis] = place_BN.shape
        x = jnp.take_along_axis(x, place_BN.reshape(shape), axis)
    return x
