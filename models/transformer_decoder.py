"""The decoder-only Transformer: source and target are one causal sequence (Liu et al. 2018, Radford et al. 2018).

Dims: B batch, S source length, T target length, P prefix length, D model width, V outputs.
"""

import jax.numpy as jnp
from flax import nnx
from ml_collections import ConfigDict

from models.attention import Keys
from models.contract import Output, Spec, Taps
from models.dropout import fold
from models.layers import Embedded, Inputs, OutputHead
from models.shapes import Array, Bool, Float, Int, Key, Num
from models.taps import Tapper
from models.transformer_layers import TRANSFORMER, Past, Stack, check_config


class TransformerDecoder(Embedded):
    """One stack reads the source and then the target, and gives the logits of the target's part.

    Positions count real tokens through both, so a padded source leaves no gap. A source may be tokens,
    features or none (S = 0). Taps have the length of the whole sequence. Raises ValueError for what
    `check_config` refuses.
    """

    @classmethod
    def options(cls):
        return TRANSFORMER

    def __init__(self, config: ConfigDict, spec: Spec, rngs: nnx.Rngs):
        check_config(config)
        dtype, tied = jnp.dtype(config.dtype), config.tie_embeddings
        longest = sum(spec.trained_lengths)
        self.inputs = Inputs(spec, config.hidden_size, tied=tied, dtype=dtype, rngs=rngs)
        self.decoder = Stack(config, "decoder", longest, causal=True, rngs=rngs)
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
        """As the contract says; `carry` holds the keys of the source and of earlier chunks.

        The source has been read where there is a carry, and is not read again.
        """
        tap = Tapper(taps, self.tap_names())
        x_BTD, mask_BT = self.inputs.embed_target(target_in), None
        if carry is None:
            x_BTD, mask_BT = self._append(source, source_mask, x_BTD, None)
        x_BTD, own = self.decoder(x_BTD, mask_BT, tap, past=carry, key=fold(key, 0))
        carry = own if carry is None else carry.extend(own)
        readout_BTD = x_BTD[:, x_BTD.shape[1] - target_in.shape[1] :]
        return Output(self.logits(readout_BTD), carry, tap.captured, readout_BTD)

    def start(
        self,
        source: Num[Array, "B S"] | Float[Array, "B S W"],
        source_mask: Bool[Array, "B S"],
        max_len: int,
        prefix: Int[Array, "B P"] | None = None,
        prefix_mask: Bool[Array, "B P"] | None = None,
    ) -> tuple[Past | None, tuple[Keys, ...]]:
        """Source and prefix are read into memory; the state has room for what is decoded."""
        if prefix is None:
            prefix = jnp.zeros((source.shape[0], 0), jnp.int32)
        x_BTD, mask_BT = self._append(source, source_mask, self.inputs.embed_target(prefix), prefix_mask)
        past = None
        if x_BTD.shape[1]:
            _, past = self.decoder(x_BTD, mask_BT, Tapper(None, ()))
        return past, self.decoder.caches(source.shape[0], max_len)

    def step(
        self, token_B: Int[Array, "B"], t: Int[Array, ""], memory: Past | None, state: tuple[Keys, ...]
    ) -> tuple[Float[Array, "B V"], tuple[Keys, ...]]:
        x_B1D, state = self.decoder.step(self.inputs.embed_target(token_B[:, None]), t, memory, state)
        return self.logits(x_B1D[:, 0]), state

    def tap_names(self) -> tuple[str, ...]:
        return self.decoder.tap_names()

    def _append(
        self, source: Array, source_mask: Array, x_BTD: Array, mask_BT: Array | None
    ) -> tuple[Array, Array | None]:
        """Source and target in one sequence, and its mask, or None where all of it is real."""
        if not source_mask.shape[1]:
            return x_BTD, mask_BT
        if mask_BT is None:
            mask_BT = jnp.ones(x_BTD.shape[:2], bool)
        x_BTD = jnp.concatenate([self.inputs.embed_source(source), x_BTD], axis=1)
        return x_BTD, jnp.concatenate([source_mask, mask_BT], axis=1)
