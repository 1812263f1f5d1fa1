"""An encoder-decoder whose layers have any mixers on either side, and attention to the encoder in every decoder layer.

    python train.py --config=configs/multi30k.py:encoder_decoder \\
        --config.model.encoder_mixers=gru --config.model.decoder_mixers=attention

With attention throughout it is the Transformer (`models/transformer.py`), to the same numbers. In the encoder attention
sees both sides. What reads in one direction, as recurrences and causal convolutions do, reads in both, each with
parameters of its own, and their outputs are added; with `bidirectional=false` it reads forwards alone.

Dims: B batch, S source length, T target length, P prefix length, D model width, V outputs.
"""

from typing import NamedTuple

import jax.numpy as jnp
from flax import nnx
from ml_collections import ConfigDict

from models.attention import check_heads
from models.block import BLOCK
from models.contract import Output, Spec, Taps
from models.dropout import fold
from models.encoded import Encoded
from models.layers import Embedded, Inputs, OutputHead
from models.mixer_stack import Carry, MixerStack, States, named
from models.mixers import MIXERS
from models.options import EVERY, Option
from models.positions import POSITIONS
from models.shapes import Array
from models.taps import Tapper


class Memory(NamedTuple):
    """What decoding only reads: the encoded source and the prefix."""

    encoded: Encoded
    prefix: Carry


class EncoderDecoder(Embedded):
    """`model.encoder_mixers` and `model.decoder_mixers` name the layers' mixers, and are repeated over them.

    Positions are relative to each sequence. Raises ValueError for a pattern that is longer than its stack, and for a
    mixer that an encoder cannot have.
    """

    needs_source = True

    @classmethod
    def options(cls):
        def mixers(of: str) -> Option:
            return Option(
                "attention", f"of the {of}'s layers, in turn: such as gru,attention", tuple(MIXERS), many=True
            )

        known = EVERY | {
            "encoder_mixers": mixers("encoder"),
            "decoder_mixers": mixers("decoder"),
            "bidirectional": Option(True, "the encoder runs mixers that read one way twice, from either end"),
            "positions": Option("sinusoidal", "how order is known", choices=tuple(POSITIONS)),
        }
        for kind in MIXERS.values():
            known |= kind.options()
        return known | BLOCK

    def __init__(self, config: ConfigDict, spec: Spec, rngs: nnx.Rngs):
        check_heads(config)
        D, dtype, tied = config.hidden_size, jnp.dtype(config.dtype), config.tie_embeddings
        both = config.bidirectional
        readers = named("encoder_mixers", config.encoder_mixers, config.num_layers)
        writers = named("decoder_mixers", config.decoder_mixers, config.num_layers)
        check_encoder(readers, both)
        self.inputs = Inputs(spec, D, tied=tied, dtype=dtype, rngs=rngs)
        self.encoder = MixerStack(
            readers, config, "encoder", spec.trained_lengths[0], rngs, causal=False, both_ways=both
        )
        self.decoder = MixerStack(writers, config, "decoder", spec.trained_lengths[1], rngs, cross=True)
        self.head = OutputHead(spec, D, D, tied=tied, dtype=dtype, rngs=rngs)

    def __call__(
        self,
        source: Array,
        source_mask: Array,
        target_in: Array,
        *,
        key: Array | None = None,
        carry: Carry | None = None,
        taps: Taps | None = None,
    ) -> Output:
        taps = Tapper(taps, self.tap_names()).taps
        encoded, seen = self._encode(source, source_mask, taps, fold(key, 0))
        x_BTD = self.inputs.embed_target(target_in)
        x_BTD, carry, captured = self.decoder.read(x_BTD, None, carry, taps, encoded, fold(key, 1))
        return Output(self.logits(x_BTD), carry, seen | captured, x_BTD)

    def start(
        self,
        source: Array,
        source_mask: Array,
        max_len: int,
        prefix: Array | None = None,
        prefix_mask: Array | None = None,
    ):
        encoded, _ = self._encode(source, source_mask, None, None)
        carry = self.decoder.start_carry(source_mask.shape[0])
        if prefix is not None and prefix.shape[1]:
            _, carry, _ = self.decoder.read(self.inputs.embed_target(prefix), prefix_mask, carry, None, encoded)
        memory, state = self.decoder.open(carry, max_len)
        return Memory(encoded, memory), state

    def step(self, token_B: Array, t: Array, memory: Memory, state: States):
        x_BD = self.inputs.embed_target(token_B)
        x_BD, state = self.decoder.advance(x_BD, t, memory.prefix, state, memory.encoded)
        return self.logits(x_BD), state

    def tap_names(self):
        return (*self.encoder.tap_axes(), *self.decoder.tap_axes())

    def _encode(
        self, source: Array, source_mask: Array, taps: Taps | None, key: Array | None
    ) -> tuple[Encoded, dict[str, Array]]:
        x_BSD = self.inputs.embed_source(source)
        x_BSD, _, captured = self.encoder.read(x_BSD, source_mask, None, taps, key=key)
        return self.decoder.encode(x_BSD, source_mask, taps), captured


def check_encoder(mixers: list[str], both_ways: bool) -> None:
    """Raises ValueError for what reads in one direction and counts distances there: two of it would share positions
    that tell the sides apart."""
    for name in mixers:
        if both_ways and MIXERS[name].attends and not MIXERS[name].two_sided:
            fit = [other for other, kind in MIXERS.items() if kind.two_sided or not kind.attends]
            raise ValueError(
                f"model.encoder_mixers = {name!r} attends to earlier tokens alone; use model.bidirectional=false, or "
                f"{', '.join(fit)}"
            )
