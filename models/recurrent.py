"""Cells over time: masks, directions, layers.

Everything here is time-major, (T, B, ...), as a scan wants it. Where the mask is False the carry stays
as it was, so padding may lie on either side, or fill a row, and changes nothing; the output there
repeats the carry.

Dims: T time, B batch, D input width, H hidden width.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from ml_collections import ConfigDict

from models import cudnn_lstm
from models.cells import Carry, Cell, Gates, LSTMCell
from models.countable import is_countable
from models.dropout import dropout, fold
from models.options import EVERY, Option, count, rate, width
from models.scan import LinearFn, scan, scan_remat
from models.shapes import Array, Bool, Float, Key
from models.taps import Tapper

NO_TAPS = Tapper(None, ())


def run_cell(
    cell: Cell,
    projected: Gates,
    mask_TB: Bool[Array, "T B"] | None,
    carry: Carry,
    *,
    reverse: bool = False,
    remat: bool = False,
    tapper: Tapper = NO_TAPS,
    name: str = "",
) -> tuple[Float[Array, "T B H"], Carry]:
    """One layer in one direction, from the input's share of the gates, (T, B, H) each. Returns (hidden, last carry).

    Its taps are `name.hidden` and, where the cell has one, `name.cell`, of shape (B, T, H).
    """
    kind, names = type(cell), tuple(f"{name}.{part}" for part in cell.parts)
    added, wanted = scan_taps(tapper, names)

    def step(linear: LinearFn, _: Any, carry: Carry, x: Any):
        projected, mask_B, added = x
        after = kind.update(partial(linear, "recurrent", carry[0]), projected, carry)
        after = perturb(after, names, added)
        if mask_B is not None:
            after = hold(mask_B, after, carry)
        return after, (after[0], pick(after, names, wanted))

    weights = {"recurrent": cell.recurrent()}
    run = scan_remat if remat else scan
    carry, (hidden_TBH, captured) = run(step, reverse, weights, (), carry, (projected, mask_TB, added))
    tapper.captured.update({name: swap(value) for name, value in captured.items()})
    return hidden_TBH, carry


def scan_taps(tapper: Tapper, names: Sequence[str]) -> tuple[dict[str, Array], set[str]]:
    """Of the values `names` of a scan: what to add to them, time-major, and which to capture."""
    wanted = {name for name in names if tapper.wants(name)}
    arrays = {name: tapper.taps[name] for name in wanted}
    return {name: swap(array) for name, array in sorted(arrays.items()) if array is not None}, wanted


def perturb(carry: Carry, names: Sequence[str], added: Mapping[str, Array]) -> Carry:
    """The carry, each part plus what is added under its name."""
    return tuple(part + added[name] if name in added else part for name, part in zip(names, carry, strict=True))


def pick(carry: Carry, names: Sequence[str], wanted: set[str]) -> dict[str, Array]:
    return {name: part for name, part in zip(names, carry, strict=True) if name in wanted}


def dropout_in_time(x: Array, rate: float, key: Key[Array, ""] | None, *, variational: bool, time: int = 0) -> Array:
    """Dropout of what has a time axis; `variational` draws once for all steps (Gal & Ghahramani 2016), which leaves a
    recurrent model the same thinned network throughout a sequence. Recurrent connections are never dropped."""
    return dropout(x, rate, key, broadcast_dims=(time,) if variational else ())


class RecurrentStack(nnx.Module):
    """Layers of one kind of cell, each in one direction or in both side by side.

    The first layer may read several inputs side by side. With `bidirectional` the output and each part
    of the carry are the forward one followed by the backward one, (.., 2H).
    """

    def __init__(
        self, kind: type[Cell], config: ConfigDict, in_size: int, *, bidirectional: bool = False, rngs: nnx.Rngs
    ):
        self.out_size = config.hidden_size * (2 if bidirectional else 1)
        widths = [in_size] + [self.out_size] * (config.num_layers - 1)
        self.layers = nnx.List([kind.from_config(config, width, rngs) for width in widths])
        self.backward = nnx.List([kind.from_config(config, width, rngs) for width in widths] if bidirectional else [])
        self.dropout_rate = config.dropout_rate
        self.variational = config.variational_dropout
        self.remat = config.remat
        self.backend = cudnn_lstm.choose(config)

    @staticmethod
    def options(kind: type[Cell]) -> dict[str, Option]:
        """The keys of an architecture that is made of stacks of `kind`."""
        recurrent = {
            "num_layers": count(1, EVERY["num_layers"].comment),  # one of cells reaches as far as two, in half the time
            "embed_size": width(1, "width of the embeddings"),
            "input_dropout_rate": rate("dropout on embeddings"),
            "output_dropout_rate": rate("dropout on the input of the output layer"),
            "variational_dropout": Option(
                False, "draw dropout once for all steps of a sequence, instead of at every step"
            ),
        }
        return EVERY | recurrent | kind.options

    def zeros(self, batch: int) -> tuple[Carry, ...]:
        """The carry of each layer before the first step."""
        both = zip(self.layers, self.backward or self.layers, strict=True)
        if not self.backward:
            return tuple(cell.zeros(batch) for cell, _ in both)
        return tuple(_beside(cell.zeros(batch), back.zeros(batch)) for cell, back in both)

    def __call__(
        self,
        inputs: Sequence[Array],  # (T, B, D), or (1, B, D) for what is the same at all times
        mask_TB: Bool[Array, "T B"] | None,
        carries: tuple[Carry, ...],
        *,
        reverse: bool = False,
        key: Key[Array, ""] | None = None,
        tapper: Tapper = NO_TAPS,
        name: str = "",
    ) -> tuple[Float[Array, "T B H"], tuple[Carry, ...]]:
        """Returns (the last layer's output, every layer's last carry); `reverse` swaps the directions.

        Dropout falls between layers, with `key`. Taps are `name.0.hidden`, `name.0.backward.hidden` ...
        """
        after: list[Carry] = []
        hidden_TBH: Array  # of the layer before
        for number, cell in enumerate(self.layers):
            if number:
                dropped = dropout_in_time(
                    hidden_TBH, self.dropout_rate, fold(key, number), variational=self.variational
                )
                inputs = (dropped,)
            carry, tap = carries[number], f"{name}.{number}"
            ahead = carry if not self.backward else tuple(part[:, : cell.hidden_size] for part in carry)
            hidden_TBH, carry_ahead = self._run(cell, inputs, mask_TB, ahead, reverse, tapper, tap)
            if not self.backward:
                after.append(carry_ahead)
                continue
            back, behind = self.backward[number], tuple(part[:, cell.hidden_size :] for part in carry)
            back_TBH, carry_behind = self._run(back, inputs, mask_TB, behind, not reverse, tapper, f"{tap}.backward")
            hidden_TBH = jnp.concatenate([hidden_TBH, back_TBH], axis=-1)
            after.append(_beside(carry_ahead, carry_behind))
        return hidden_TBH, tuple(after)

    def _run(
        self,
        cell: Cell,
        inputs: Sequence[Array],
        mask_TB: Array | None,
        carry: Carry,
        reverse: bool,
        tapper: Tapper,
        name: str,
    ):
        """One layer in one direction, by the stack's back-end; with taps by a scan, as for counting: it has steps."""
        if self.backend == "cudnn" and isinstance(cell, LSTMCell) and not (tapper.taps or is_countable()):
            length = inputs[0].shape[0]
            inputs_TBD = jnp.concatenate([jnp.broadcast_to(x, (length, *x.shape[1:])) for x in inputs], axis=-1)
            return cudnn_lstm.run_lstm(cell, inputs_TBD, mask_TB, carry, reverse=reverse)
        return run_cell(
            cell, cell.project(*inputs), mask_TB, carry, reverse=reverse, remat=self.remat, tapper=tapper, name=name
        )

    def step(
        self, inputs: Sequence[Float[Array, "B D"]], carries: tuple[Carry, ...]
    ) -> tuple[Float[Array, "B H"], tuple[Carry, ...]]:
        """One step of a stack of one direction. Returns (the last layer's output, the carries)."""
        after: list[Carry] = []
        for cell, carry in zip(self.layers, carries, strict=True):
            after.append(cell.step(carry, cell.project(*inputs)))
            inputs = (after[-1][0],)
        return inputs[0], tuple(after)

    def tap_names(self, name: str) -> tuple[str, ...]:
        directions = ("", ".backward") if self.backward else ("",)
        return tuple(
            f"{name}.{number}{direction}.{part}"
            for number, cell in enumerate(self.layers)
            for direction in directions
            for part in cell.parts
        )


def hold(mask_B: Bool[Array, "B"], after: Any, before: Any) -> Any:
    """`after` in the rows where the mask is True, `before` in the others; trees of (B, ...) arrays."""
    return jax.tree.map(
        lambda new, old: jnp.where(mask_B.reshape(-1, *[1] * (new.ndim - 1)), new, old.astype(new.dtype)),
        after,
        before,
    )


def swap(x: Array) -> Array:
    """Batch-major to time-major, or back."""
    return jnp.swapaxes(x, 0, 1)


def _beside(ahead: Carry, behind: Carry) -> Carry:
    return tuple(jnp.concatenate(pair, axis=-1) for pair in zip(ahead, behind, strict=True))
