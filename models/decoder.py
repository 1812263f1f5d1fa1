"""A decoder-only stack whose layers have any mixers: source and target are one causal sequence.

    python train.py --config=configs/recall.py:decoder --config.model.num_layers=4 \\
        --config.model.mixers=gru,gru,gru,attention

Dims: B batch, S source length, T target length, N = S + T, P prefix length, D model width, V outputs.
"""

from typing import ClassVar

import jax.numpy as jnp
from flax import nnx
from ml_collections import ConfigDict

from models.block import BLOCK
from models.contract import Output, Spec, Taps
from models.dropout import fold
from models.layers import Embedded, Inputs, OutputHead
from models.mixer_stack import ADDED, Carry, MixerStack, States, named
from models.mixers import MIXERS
from models.options import EVERY, Option
from models.positions import POSITIONS
from models.shapes import Array
from models.taps import Tapper


class Decoder(MixerStack, Embedded):
    """`model.mixers` names the layers' mixers, and is repeated over them.

    Taps have the length of the whole sequence, or of the target where there is a carry.
    """

    pattern: ClassVar[tuple[str, ...]] = ()  # of an architecture that leaves no choice

    @classmethod
    def options(cls):
        kinds = [MIXERS[name] for name in cls.pattern or MIXERS]
        attends = any(kind.attends for kind in kinds)
        mixers = Option("attention", "of the layers in turn, such as gru,gru,gru,attention", tuple(MIXERS), many=True)
        positions = Option("rotary", "how order is known", choices=tuple(POSITIONS))
        added = Option("none", "what is added to the embeddings for their order", choices=ADDED)
        known = EVERY | ({} if cls.pattern else {"mixers": mixers}) | {"positions": positions if attends else added}
        for kind in kinds:
            known |= kind.options()
        return known | BLOCK

    def __init__(self, config: ConfigDict, spec: Spec, rngs: nnx.Rngs):
        D, dtype, tied = config.hidden_size, jnp.dtype(config.dtype), config.tie_embeddings
        self.inputs = Inputs(spec, D, tied=tied, dtype=dtype, rngs=rngs)
        longest = sum(spec.trained_lengths)
        MixerStack.__init__(self, self.names(config), config, "decoder", longest, rngs)
        self.head = OutputHead(spec, D, D, tied=tied, dtype=dtype, rngs=rngs)

    @classmethod
    def names(cls, config: ConfigDict) -> list[str]:
        """The mixer of each layer."""
        return named("mixers", ",".join(cls.pattern) or config.mixers, config.num_layers)

    @property
    def receptive_field(self) -> int | None:
        """How many tokens an output sees, the last one included; None: all."""
        reach = [layer.mixer.reach for layer in self.layers]
        return None if None in reach else 1 + sum(map(int, filter(None, reach)))

    def __call__(
        self,
        source: Array,
        source_mask: Array,
        target_in: Array,
        *,
        key: Array | None = None,
        carry: Carry | None = None,
        taps: Taps | None = None,
    ):
        taps = Tapper(taps, self.tap_names()).taps
        x_BND, mask_BN = self.inputs.embed_target(target_in), None
        if carry is None:
            x_BND, mask_BN = self._append(source, source_mask, x_BND, None)
        x_BND, carry, captured = self.read(x_BND, mask_BN, carry, taps, key=fold(key, 0))
        readout_BTD = x_BND[:, x_BND.shape[1] - target_in.shape[1] :]
        return Output(self.logits(readout_BTD), carry, captured, readout_BTD)

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
        x_BND, mask_BN = self._append(source, source_mask, self.inputs.embed_target(prefix), prefix_mask)
        carry = self.start_carry(source_mask.shape[0])
        if x_BND.shape[1]:
            _, carry, _ = self.read(x_BND, mask_BN, carry)
        return self.open(carry, max_len)

    def step(self, token_B: Array, t: Array, memory: Carry, state: States):
        x_BD, state = self.advance(self.inputs.embed_target(token_B), t, memory, state)
        return self.logits(x_BD), state

    def tap_names(self):
        return tuple(self.tap_axes())

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


class ConvDecoder(Decoder):
    """Convolutions throughout (Bai et al. 2018)."""

    pattern = ("conv",)


class MinGRUDecoder(Decoder):
    """minGRU throughout (Feng et al. 2024)."""

    pattern = ("min_gru",)


class MinLSTMDecoder(Decoder):
    """minLSTM throughout (Feng et al. 2024)."""

    pattern = ("min_lstm",)


class LRUDecoder(Decoder):
    """Linear recurrent units throughout (Orvieto et al. 2023)."""

    pattern = ("lru",)


class LinearAttentionDecoder(Decoder):
    """Linear attention throughout (Katharopoulos et al. 2020)."""

    pattern = ("linear_attention",)


class DeltaNetDecoder(Decoder):
    """The delta rule throughout, gated or not (Yang et al. 2024, 2025)."""

    pattern = ("delta_net",)


class MambaDecoder(Decoder):
    """Selective state spaces throughout (Gu & Dao 2023)."""

    pattern = ("mamba",)


class MLSTMDecoder(Decoder):
    """mLSTM throughout (Beck et al. 2024)."""

    pattern = ("mlstm",)
