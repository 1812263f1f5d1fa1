"""RNN encoder-decoders: one fixed context vector, or attention.

The encoder reads the source (backwards with `reverse_source`, which is its scan in the other direction:
memory and weights stay in the source's order), and each decoder layer starts from the last state of the
encoder's layer at its level, through a linear map (and tanh, for h) where the encoder is bidirectional.
With y_t the embedded target_in and s_t the decoder's hidden state,

    fixed context:       s_t = cell(y_t, s_{t-1})                   logits = V s_t
    ... at every step:   s_t = cell([y_t; c], s_{t-1})              logits = V tanh(W [c; s_t])
    attention:           s_t = cell([y_t; a_{t-1}], s_{t-1})        logits = V a_t
                         alpha_t = softmax(score(s_t, m_j))   a_t = tanh(W [sum_j alpha_tj m_j; s_t])

where c is the encoder's last output state (Sutskever et al. 2014; Cho et al. 2014) and a_0 = 0. Without
`input_feeding` the cell does not see a_{t-1} (Luong et al. 2015, section 3.1; 3.3 with it). With it and the
additive score, the context that s_{t-1} chose enters the cell at t, as in Bahdanau et al. 2015.

Dims: B batch, S source length, T target length, P prefix length, E embedding width, H hidden width,
C encoder's output width, V outputs.
"""

from typing import Any, ClassVar

import jax.numpy as jnp
from flax import nnx
from ml_collections import ConfigDict

from models.cells import Carry, Cell, GRUCell, LSTMCell, TanhCell
from models.contract import Output, Spec, Taps
from models.dropout import fold
from models.layers import Embedded, Inputs, Linear, OutputHead
from models.options import Option
from models.recurrent import NO_TAPS, RecurrentStack, dropout_in_time, swap
from models.shapes import Array, Float
from models.taps import Tapper


class Bridge(nnx.Module):
    """Turns the encoder's last carries into the decoder's first: (B, 2H) to (B, H), or as they are."""

    def __init__(self, kind: type[Cell], config: ConfigDict, *, rngs: nnx.Rngs):
        self.maps = nnx.List(
            [
                Linear(2 * config.hidden_size, config.hidden_size, dtype=jnp.dtype(config.dtype), rngs=rngs)
                for _ in range(config.num_layers * len(kind.parts) if config.bidirectional else 0)
            ]
        )

    def __call__(self, carries: tuple[Carry, ...]) -> tuple[Carry, ...]:
        if not self.maps:
            return carries
        maps = iter(self.maps)
        mapped = []
        for hidden, *cell in carries:
            first = jnp.tanh(next(maps)(hidden)).astype(hidden.dtype)
            mapped.append((first, *(next(maps)(part).astype(part.dtype) for part in cell)))
        return tuple(mapped)


class EncoderDecoder(Embedded):
    """What both kinds share: inputs, encoder, bridge, decoder stack, output head."""

    needs_source = True
    cell: ClassVar[type[Cell]]

    @classmethod
    def options(cls):
        return RecurrentStack.options(cls.cell) | {
            "bidirectional": Option(False, "the encoder reads in both directions"),
            "reverse_source": Option(False, "the encoder reads from the end (Sutskever et al. 2014)"),
        }

    def __init__(self, config: ConfigDict, spec: Spec, rngs: nnx.Rngs):
        self.dtype = jnp.dtype(config.dtype)
        self.hidden_size = config.hidden_size
        self.input_dropout_rate = config.input_dropout_rate
        self.output_dropout_rate = config.output_dropout_rate
        self.reverse_source = config.reverse_source
        tied = config.tie_embeddings
        self.inputs = Inputs(spec, config.embed_size, tied=tied, dtype=self.dtype, rngs=rngs)
        self.encoder = RecurrentStack(
            self.cell, config, config.embed_size, bidirectional=config.bidirectional, rngs=rngs
        )
        self.bridge = Bridge(self.cell, config, rngs=rngs)
        self.decoder = RecurrentStack(self.cell, config, self.decoder_in_size(config), rngs=rngs)
        self.head = OutputHead(spec, config.hidden_size, config.embed_size, tied=tied, dtype=self.dtype, rngs=rngs)

    @classmethod
    def decoder_in_size(cls, config: ConfigDict) -> int:
        raise NotImplementedError

    def drop(self, x: Array, rate: float, key: Array | None, *, time: int = 0) -> Array:
        return dropout_in_time(x, rate, key, variational=self.decoder.variational, time=time)

    def encode(self, source: Array, source_mask: Array, *, key: Array | None = None, tapper: Tapper = NO_TAPS):
        """Returns (outputs (S, B, C), last carries)."""
        embedded_SBE = swap(tapper("encoder.inputs", self.inputs.embed_source(source)))
        embedded_SBE = self.drop(embedded_SBE, self.input_dropout_rate, fold(key, 0))
        return self.encoder(
            (embedded_SBE,),
            source_mask.T,
            self.encoder.zeros(source_mask.shape[0]),
            reverse=self.reverse_source,
            key=fold(key, 1),
            tapper=tapper,
            name="encoder",
        )

    def embed_target(
        self, target_in: Array, *, key: Array | None = None, tapper: Tapper = NO_TAPS
    ) -> Float[Array, "T B E"]:
        embedded_TBE = swap(tapper("decoder.inputs", self.inputs.embed_target(target_in)))
        return self.drop(embedded_TBE, self.input_dropout_rate, fold(key, 2))

    def output(self, readout_BTH: Float[Array, "B T H"], carry: Any, tapper: Tapper, key: Array | None) -> Output:
        readout_BTH = self.drop(readout_BTH, self.output_dropout_rate, fold(key, 4), time=1)
        return Output(self.logits(readout_BTH), carry, tapper.captured, readout_BTH)

    def tap_names(self):
        encoder, decoder = self.encoder.tap_names("encoder"), self.decoder.tap_names("decoder")
        return ("encoder.inputs", *encoder, "decoder.inputs", *decoder)


class FixedContext(EncoderDecoder):
    """Encoder-decoder whose decoder knows the source by one vector  (Sutskever et al. 2014; Cho et al. 2014)."""

    @classmethod
    def options(cls):
        context = Option("start", "when the decoder is given the fixed vector", choices=("start", "every_step"))
        return super().options() | {"context": context}

    def __init__(self, config: ConfigDict, spec: Spec, rngs: nnx.Rngs):
        super().__init__(config, spec, rngs)
        every = config.context == "every_step"
        size = self.encoder.out_size + config.hidden_size
        self.readout = Linear(size, config.hidden_size, dtype=self.dtype, rngs=rngs) if every else None

    @classmethod
    def decoder_in_size(cls, config: ConfigDict):
        return config.embed_size + (encoder_size(config) if config.context == "every_step" else 0)

    def begin(self, source: Array, source_mask: Array, *, key: Array | None = None, tapper: Tapper = NO_TAPS):
        """Returns (memory, the decoder's first carries). Memory is (c,), or empty where it is not needed."""
        _, carries = self.encode(source, source_mask, key=key, tapper=tapper)
        return () if self.readout is None else (carries[-1][0],), self.bridge(carries)

    def read(self, hidden: Float[Array, "... H"], memory: tuple[Array, ...]) -> Float[Array, "... H"]:
        """What the output layer reads beside its input state."""
        if self.readout is None:
            return hidden
        context = jnp.broadcast_to(memory[0], (*hidden.shape[:-1], memory[0].shape[-1]))
        return jnp.tanh(self.readout(jnp.concatenate([context, hidden], axis=-1)))

    def run(
        self,
        target_in: Array,
        mask_TB: Array | None,
        memory: tuple[Array, ...],
        carries: tuple[Carry, ...],
        *,
        key: Array | None = None,
        tapper: Tapper = NO_TAPS,
    ):
        embedded_TBE = self.embed_target(target_in, key=key, tapper=tapper)
        contexts = tuple(context_BC[None] for context_BC in memory)
        return self.decoder(
            (embedded_TBE, *contexts), mask_TB, carries, key=fold(key, 3), tapper=tapper, name="decoder"
        )

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
        memory, carries = self.begin(source, source_mask, key=key, tapper=tapper)
        hidden_TBH, carries = self.run(
            target_in, None, memory, carries if carry is None else carry, key=key, tapper=tapper
        )
        return self.output(swap(self.read(hidden_TBH, memory)), carries, tapper, key)

    def start(
        self,
        source: Array,
        source_mask: Array,
        max_len: int,
        prefix: Array | None = None,
        prefix_mask: Array | None = None,
    ):
        memory, carries = self.begin(source, source_mask)
        if prefix is not None:
            mask_PB = None if prefix_mask is None else prefix_mask.T
            _, carries = self.run(prefix, mask_PB, memory, carries)
        return memory, carries

    def step(self, token_B: Array, t: Array, memory: tuple[Array, ...], state: tuple[Carry, ...]):
        hidden_BH, carries = self.decoder.step((self.inputs.embed_target(token_B), *memory), state)
        return self.logits(self.read(hidden_BH, memory)), carries


class RNN(FixedContext):
    cell = TanhCell


class LSTM(FixedContext):
    cell = LSTMCell


class GRU(FixedContext):
    cell = GRUCell


def encoder_size(config: ConfigDict) -> int:
    return config.hidden_size * (2 if config.bidirectional else 1)
