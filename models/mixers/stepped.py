"""The cells as mixers: tanh RNN, LSTM and GRU (`models/cells.py`), as wide as the model, one token after the other.

Dims: B batch, T tokens, D model width.
"""

from typing import ClassVar

import jax.numpy as jnp
from flax import nnx
from ml_collections import ConfigDict

from models.cells import Carry, Cell, GRUCell, LSTMCell, TanhCell
from models.layers import Linear
from models.mixers.mixer import Mixer, Span
from models.recurrent import run_cell, swap
from models.shapes import Array
from models.taps import Tapper


class Stepped(Mixer):
    """y = W h + b with the hidden state h of a cell."""

    cell: ClassVar[type[Cell]]
    group: ClassVar[str]  # of the cell's keys

    def __init__(self, config: ConfigDict, depth: int, rngs: nnx.Rngs):
        sizes = {"hidden_size": config.hidden_size, "dtype": config.dtype}
        self.core = self.cell.from_config(ConfigDict(sizes | dict(config[self.group])), config.hidden_size, rngs)
        self.output = Linear(config.hidden_size, config.hidden_size, dtype=jnp.dtype(config.dtype), rngs=rngs)

    @classmethod
    def options(cls):
        # cuDNN's LSTM is left out: it shows nothing of its steps, and what is compared here are mixers.
        return {f"{cls.group}.{key}": option for key, option in cls.cell.options.items() if key != "backend"}

    def start_carry(self, rows: int) -> Carry:
        return self.core.zeros(rows)

    def __call__(self, x_BTD: Array, span: Span, carry: Carry, *, name: str, tap: Tapper, key: Array | None = None):
        projected = self.core.project(swap(x_BTD))
        mask_TB = None if span.mask_BT is None else span.mask_BT.T
        hidden_TBD, carry = run_cell(self.core, projected, mask_TB, carry, tapper=tap, name=f"{name}{self.group}")
        return self.output(swap(hidden_TBD)), carry

    def step(self, x_BD: Array, t: Array, span: Span, memory: tuple[()], state: Carry):
        state = self.core.step(state, self.core.project(x_BD))
        return self.output(state[0]), state


class RNN(Stepped):
    cell, group = TanhCell, "rnn"
    taps = {"rnn.hidden": (1,)}


class LSTM(Stepped):
    cell, group = LSTMCell, "lstm"
    taps = {"lstm.hidden": (1,), "lstm.cell": (1,)}


class GRU(Stepped):
    cell, group = GRUCell, "gru"
    taps = {"gru.hidden": (1,)}
