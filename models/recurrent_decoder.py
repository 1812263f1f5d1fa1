"""Decoder-only RNN, LSTM and GRU: source and target are read as one sequence.

The state passes over the source's padding unchanged, so it leaves no gap, on either side. Without a
source this is a language model (Mikolov et al. 2010), and `carry` streams a long text in chunks.

Dims: B batch, S source length, T target length, P prefix length, N = S + T, E embedding width, H hidden
width, V outputs.
"""

from typing import ClassVar

import jax.numpy as jnp
from flax import nnx
from ml_collections import ConfigDict

from models.cells import Carry, Cell, GRUCell, LSTMCell, TanhCell
from models.contract import Output, Spec, Taps
from models.dropout import fold
from models.layers import Embedded, Inputs, OutputHead
from models.recurrent import NO_TAPS, RecurrentStack, dropout_in_time, swap
from models.shapes import Array, Bool, Float
from models.taps import Tapper


class RecurrentDecoder(Embedded):
    """A stack of cells over source and target. Its taps are of length S + T, source first.

    Where a `carry` is given the source has been read before, and only the target is read (length T).
    """

    cell: ClassVar[type[Cell]]

    @classmethod
    def options(cls):
        return RecurrentStack.options(cls.cell)

    def __init__(self, config: ConfigDict, spec: Spec, rngs: nnx.Rngs):
        dtype, tied = jnp.dtype(config.dtype), config.tie_embeddings
        self.input_dropout_rate = config.input_dropout_rate
        self.output_dropout_rate = config.output_dropout_rate
        self.inputs = Inputs(spec, config.embed_size, tied=tied, dtype=dtype, rngs=rngs)
        self.decoder = RecurrentStack(self.cell, config, config.embed_size, rngs=rngs)
        self.head = OutputHead(spec, config.hidden_size, config.embed_size, tied=tied, dtype=dtype, rngs=rngs)

    def run(
        self,
        embedded_BNE: Float[Array, "B N E"],
        mask_BN: Bool[Array, "B N"] | None,
        carries: tuple[Carry, ...],
        *,
        key: Array | None = None,
        tapper: Tapper = NO_TAPS,
    ) -> tuple[Float[Array, "N B H"], tuple[Carry, ...]]:
        embedded_NBE = swap(tapper("decoder.inputs", embedded_BNE))
        embedded_NBE = dropout_in_time(
            embedded_NBE, self.input_dropout_rate, fold(key, 0), variational=self.decoder.variational
        )
        mask_NB = None if mask_BN is None else mask_BN.T
        return self.decoder((embedded_NBE,), mask_NB, carries, key=fold(key, 1), tapper=tapper, name="decoder")

    def sequence(self, source: Array, source_mask: Array, target_in: Array, target_mask: Array | None):
        """Returns (source and target embedded side by side, their mask or None where all is real)."""
        target_BTE = self.inputs.embed_target(target_in)
        if source_mask.shape[1] == 0:
            return target_BTE, target_mask
        if target_mask is None:
            target_mask = jnp.ones(target_in.shape, bool)
        embedded_BNE = jnp.concatenate([self.inputs.embed_source(source), target_BTE], axis=1)
        return embedded_BNE, jnp.concatenate([source_mask, target_mask], axis=1)

    def __call__(
        self,
        source: Array,
        source_mask: Array,
        target_in: Array,
        *,
        key: Array | None = None,
        carry: tuple[Carry, ...] | None = None,
        taps: Taps | None = None,
    ):
        tapper = Tapper(taps, self.tap_names())
        if carry is None:
            carry = self.decoder.zeros(target_in.shape[0])
            embedded_BNE, mask_BN = self.sequence(source, source_mask, target_in, None)
        else:
            embedded_BNE, mask_BN = self.inputs.embed_target(target_in), None
        hidden_NBH, carry = self.run(embedded_BNE, mask_BN, carry, key=key, tapper=tapper)
        hidden_BTH = dropout_in_time(
            swap(hidden_NBH[-target_in.shape[1] :]),
            self.output_dropout_rate,
            fold(key, 2),
            variational=self.decoder.variational,
            time=1,
        )
        return Output(self.logits(hidden_BTH), carry, tapper.captured, hidden_BTH)

    def start(
        self,
        source: Array,
        source_mask: Array,
        max_len: int,
        prefix: Array | None = None,
        prefix_mask: Array | None = None,
    ):
        if prefix is None:
            prefix = jnp.zeros((source_mask.shape[0], 0), jnp.int32)
        embedded_BNE, mask_BN = self.sequence(source, source_mask, prefix, prefix_mask)
        _, carries = self.run(embedded_BNE, mask_BN, self.decoder.zeros(source_mask.shape[0]))
        return (), carries

    def step(self, token_B: Array, t: Array, memory: tuple[()], state: tuple[Carry, ...]):
        hidden_BH, carries = self.decoder.step((self.inputs.embed_target(token_B),), state)
        return self.logits(hidden_BH), carries

    def tap_names(self):
        return ("decoder.inputs", *self.decoder.tap_names("decoder"))


class RNNDecoder(RecurrentDecoder):
    cell = TanhCell


class LSTMDecoder(RecurrentDecoder):
    cell = LSTMCell


class GRUDecoder(RecurrentDecoder):
    cell = GRUCell
