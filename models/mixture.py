"""Two language models as one: a weighted mean of their probabilities (interpolation; Jelinek and Mercer 1980).

Dims: B batch, T target length, V outputs.
"""

from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from models.contract import Architecture, Output, Taps
from models.shapes import Array, Float


class Mixture(Architecture):
    """Outputs are log-probabilities: of (1 - weight) p + weight q, where p is the first model's."""

    decodes: ClassVar[bool] = False

    def __init__(self, first: Architecture, second: Architecture, weight: float):
        self.first, self.second = first, second
        self.weight = nnx.Param(jnp.asarray(weight, jnp.float32))

    def __call__(
        self,
        source: Array,
        source_mask: Array,
        target_in: Array,
        *,
        key: Array | None = None,
        carry: None = None,
        taps: Taps | None = None,
    ) -> Output:
        logits = [model(source, source_mask, target_in).logits for model in (self.first, self.second)]
        mixed_BTV = self.logits(jnp.concatenate(logits, axis=-1))
        return Output(mixed_BTV, None, {}, jnp.concatenate(logits, axis=-1))

    def logits(self, readout: Float[Array, "... R"]) -> Float[Array, "... V"]:
        """The mixture of both models' logits, which lie side by side."""
        first, second = (jax.nn.log_softmax(part, axis=-1) for part in jnp.split(readout, 2, axis=-1))
        weight = self.weight[...]
        return jnp.logaddexp(first + jnp.log1p(-weight), second + jnp.log(weight))
