"""The Transformer encoder-decoder (Vaswani et al. 2017).

Dims: B batch, S source length, T target length, P prefix length, D model width, V outputs.
"""

from typing import NamedTuple

import jax.numpy as jnp
from flax import nnx
from ml_collections import ConfigDict

from models.attention import Keys
from models.contract import Output, Spec, Taps
from models.dropout import fold
from models.encoded import Encoded
from models.layers import Embedded, Inputs, OutputHead
from models.shapes import Array, Bool, Float, Int, Key, Num
from models.taps import Tapper
from models.transformer_layers import TRANSFORMER, Past, Stack, check_config


class Memory(NamedTuple):
    """What decoding only reads: the encoded source and the prefix."""

    encoded: Encoded
    prefix: Past | None


class Transformer(Embedded):
    """A bidirectional encoder, and a causal decoder that attends to its output.

    Embeddings are scaled by sqrt(D) (section 3.4) and tied as `models.layers.Inputs` says. Positions are
    relative to each sequence; those that act on queries, keys or scores leave cross-attention as it is,
    since its two sides have no common origin. Raises ValueError for what `check_config` refuses.
    """

    needs_source = True

    @classmethod
    def options(cls):
        return TRANSFORMER

    def __init__(self, config: ConfigDict, spec: Spec, rngs: nnx.Rngs):
        check_config(config)
        dtype, tied = jnp.dtype(config.dtype), config.tie_embeddings
        self.inputs = Inputs(spec, config.hidden_size, tied=tied, dtype=dtype, rngs=rngs)
        self.encoder = Stack(config, "encoder", spec.trained_lengths[0], causal=False, rngs=rngs)
        self.decoder = Stack(config, "decoder", spec.trained_lengths[1], causal=True, cross=True, rngs=rngs)
        self.head = OutputHead(spec, config.hidden_size, config.hidden_size, tied=tied, dtype=dtype, rngs=rngs)

    def __call__(
        self,
        source: Num[Array, "B S"] | Float[Array, "B S W"],
        source_mask: Bool[Array, "B S"],
        target_in: Int[Array, "B T"],
        *,
        key: Key[Array, ""] | None = None,
        carry: Past | None = None,
        taps: Taps | None = None,
    ) -> Output:
        """As the contract says; `carry` holds the keys of earlier chunks, so it grows with the target."""
        tap = Tapper(taps, self.tap_names())
        encoded = self._encode(source, source_mask, tap, fold(key, 0))
        x_BTD = self.inputs.embed_target(target_in)
        x_BTD, own = self.decoder(x_BTD, None, tap, past=carry, encoded=encoded, key=fold(key, 1))
        carry = own if carry is None else carry.extend(own)
        return Output(self.logits(x_BTD), carry, tap.captured, x_BTD)

    def start(
        self,
        source: Num[Array, "B S"] | Float[Array, "B S W"],
        source_mask: Bool[Array, "B S"],
        max_len: int,
        prefix: Int[Array, "B P"] | None = None,
        prefix_mask: Bool[Array, "B P"] | None = None,
    ) -> tuple[Memory, tuple[Keys, ...]]:
        tap = Tapper(None, ())
        encoded = self._encode(source, source_mask, tap, None)
        past = None
        if prefix is not None and prefix.shape[1]:
            _, past = self.decoder(self.inputs.embed_target(prefix), prefix_mask, tap, encoded=encoded)
        return Memory(encoded, past), self.decoder.caches(source.shape[0], max_len)

    def step(
        self, token_B: Int[Array, "B"], t: Int[Array, ""], memory: Memory, state: tuple[Keys, ...]
    ) -> tuple[Float[Array, "B V"], tuple[Keys, ...]]:
        x_B1D = self.inputs.embed_target(token_B[:, None])
        x_B1D, state = self.decoder.step(x_B1D, t, memory.prefix, state, memory.encoded)
        return self.logits(x_B1D[:, 0]), state

    def tap_names(self) -> tuple[str, ...]:
        return self.encoder.tap_names() + self.decoder.tap_names()

    def _encode(self, source: Array, source_mask: Array, tap: Tapper, key: Array | None) -> Encoded:
        encoded_BSD, _ = self.encoder(self.inputs.embed_source(source), source_mask, tap, key=key)
        return self.decoder.encode(encoded_BSD, source_mask, tap)
