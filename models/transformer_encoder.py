"""The encoder-only Transformer, as BERT (Devlin et al. 2019): every output sees the whole source.

Dims: B batch, S source length, T target length, D model width, V outputs.
"""

import jax.numpy as jnp
from flax import nnx
from ml_collections import ConfigDict

from models.contract import Output, Spec, Taps
from models.dropout import fold
from models.layers import Embedded, Inputs, OutputHead
from models.shapes import Array, Bool, Float, Int, Key, Num
from models.taps import Tapper
from models.transformer_layers import TRANSFORMER, Stack, check_config


class TransformerEncoder(Embedded):
    """One stack reads a token that stands for the whole (BOS, as BERT's [CLS]) and then the source.

    Where the task's answers are aligned with the source, the logits are those of the source's positions; where it asks
    for one label, those of the first token. It reads no target_in. Its parameters have the names of the
    encoder of `transformer`, so one can start from the other. Raises ValueError for what `check_config` refuses.
    """

    causal = False
    decodes = False
    needs_source = True
    layouts = ("aligned", "label")
    ahead = 1

    @classmethod
    def options(cls):
        return TRANSFORMER

    def __init__(self, config: ConfigDict, spec: Spec, rngs: nnx.Rngs):
        check_config(config)
        dtype, tied = jnp.dtype(config.dtype), config.tie_embeddings
        self.inputs = Inputs(spec, config.hidden_size, tied=tied, dtype=dtype, rngs=rngs)
        self.encoder = Stack(config, "encoder", self.ahead + spec.trained_lengths[0], causal=False, rngs=rngs)
        self.head = OutputHead(spec, config.hidden_size, config.hidden_size, tied=tied, dtype=dtype, rngs=rngs)
        self.whole = spec.bos
        self.aligned = spec.layout == "aligned"

    def __call__(
        self,
        source: Num[Array, "B S"] | Float[Array, "B S W"],
        source_mask: Bool[Array, "B S"],
        target_in: Int[Array, "B T"],
        *,
        key: Key[Array, ""] | None = None,
        carry: None = None,
        taps: Taps | None = None,
    ) -> Output:
        """As the contract says. Taps have the length of the source and the token before it."""
        tap, (rows, T) = Tapper(taps, self.tap_names()), target_in.shape
        if self.aligned and source_mask.shape[1] != T:
            raise ValueError(f"answers of shape {target_in.shape} are not aligned with a source of {source_mask.shape}")
        whole_B1D = self.inputs.embed_target(jnp.full((rows, 1), self.whole, jnp.int32))
        x_BSD = jnp.concatenate([whole_B1D, self.inputs.embed_source(source)], axis=1)
        mask_BS = jnp.concatenate([jnp.ones((rows, 1), bool), source_mask], axis=1)
        x_BSD, _ = self.encoder(x_BSD, mask_BS, tap, key=fold(key, 0))
        readout_BTD = x_BSD[:, 1:] if self.aligned else jnp.broadcast_to(x_BSD[:, :1], (rows, T, x_BSD.shape[2]))
        return Output(self.logits(readout_BTD), None, tap.captured, readout_BTD)

    def tap_names(self) -> tuple[str, ...]:
        return self.encoder.tap_names()
