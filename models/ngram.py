"""An n-gram language model: interpolated modified Kneser-Ney smoothing (Chen and Goodman 1999), which is counted.

    python train.py --config=configs/shakespeare.py:ngram --workdir=runs/ngram --config.model.order=5

An output sees the last `order` - 1 tokens. A state is the contexts that end with the last token, one of each length, as
nodes of the trie of all n-grams (`models/ngram_counts.py`): the context of n tokens after the next one is what that
leads to from the context of n - 1, so reading a token is one search for each length.

Dims: B batch, T target length, P prefix length, N tokens of a text, C lengths of contexts (order - 1), M contexts at
once, V outputs.
"""

import math
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from models import ngram_counts
from models.contract import Architecture, Counted, Output, Spec, Taps
from models.ngram_counts import FALLBACK, Trie
from models.options import Option, Options
from models.shapes import Array, Float, Int
from models.taps import Tapper

ORDERS = 6  # at most


class NGram(Architecture):
    """Outputs are log-probabilities, and `readout` is the contexts that they are of. Carry and state are (B, C)."""

    counted: ClassVar[bool] = True
    takes_source: ClassVar[bool] = False

    token: nnx.Param
    log_prob: nnx.Param
    log_backoff: nnx.Param
    first: nnx.Param

    @classmethod
    def options(cls) -> Options:
        return {"order": Option(5, "tokens of an n-gram, including the predicted one", least=1, below=ORDERS + 1)}

    def __init__(self, config: ConfigDict, spec: Spec, rngs: nnx.Rngs):
        self.order, self.vocab_size, self.bos = config.order, spec.output_size, spec.bos
        self._keep(ngram_counts.nothing(self.vocab_size))

    def count(self, tokens_N: np.ndarray) -> Counted:
        found = ngram_counts.kneser_ney(tokens_N, self.order, self.vocab_size, self.bos)
        self._keep(found.trie)
        few, fallback = ", ".join(map(str, found.fallen_back)), ", ".join(map(str, FALLBACK))
        said = f"the text has not the counts that tell discounts of n-grams of order {few}; they are {fallback}"
        return Counted(found.nll, [said] if few else [])

    def _keep(self, trie: Trie) -> None:
        for name, array in trie._asdict().items():
            setattr(self, name, nnx.Param(jnp.asarray(array)))

    @property
    def receptive_field(self) -> int:
        """How many tokens an output sees, the last one included."""
        return self.order - 1

    def __call__(
        self,
        source: Array,
        source_mask: Array,
        target_in: Array,
        *,
        key: Array | None = None,
        carry: Array | None = None,
        taps: Taps | None = None,
    ) -> Output:
        tap = Tapper(taps, self.tap_names())
        carry_BC = self._nowhere(len(target_in)) if carry is None else carry
        contexts_BTC = self._read(target_in, carry_BC)
        last_BC = jnp.concatenate([carry_BC[:, None], contexts_BTC], axis=1)[:, -1]
        return Output(self.logits(contexts_BTC), last_BC, tap.captured, contexts_BTC)

    def start(
        self,
        source: Array,
        source_mask: Array,
        max_len: int,
        prefix: Array | None = None,
        prefix_mask: Array | None = None,
    ):
        state_BC = self._nowhere(len(source_mask))
        if prefix is None:
            return (), state_BC
        mask_BP = jnp.ones(prefix.shape, bool) if prefix_mask is None else prefix_mask

        def read(state_BC: Array, fed: tuple[Array, Array]):
            token_B, real_B = fed
            return jnp.where(real_B[:, None], self._read(token_B[:, None], state_BC)[:, 0], state_BC), None

        return (), jax.lax.scan(read, state_BC, (prefix.T, mask_BP.T))[0]

    def step(self, token_B: Array, t: Array, memory: tuple[()], state: Array):
        state_BC = self._read(token_B[:, None], state)[:, 0]
        return self.logits(state_BC), state_BC

    def logits(self, readout: Int[Array, "... C"]) -> Float[Array, "... V"]:
        """Log-probabilities after these contexts: the unigrams', and over them, from the shortest context to the
        longest, what is left to shorter ones and what followed."""
        contexts_MC = readout.reshape(math.prod(readout.shape[:-1]), self.order - 1)
        first, token, log_prob = self.first[...], self.token[...], self.log_prob[...]
        logits_MV = jnp.broadcast_to(log_prob[1 : 1 + self.vocab_size], (len(contexts_MC), self.vocab_size))
        row_M = jnp.arange(len(contexts_MC))
        for context_M in contexts_MC.T:
            begin_M, end_M = first[context_M], first[context_M + 1]

            def follow(nth: Array, logits_MV: Array, begin_M: Array = begin_M, end_M: Array = end_M) -> Array:
                node_M = begin_M + nth
                column_M = jnp.where(node_M < end_M, token[node_M], self.vocab_size)
                return logits_MV.at[row_M, column_M].set(log_prob[node_M], mode="drop")

            logits_MV += self.log_backoff[...][context_M][:, None]
            logits_MV = jax.lax.fori_loop(0, (end_M - begin_M).max(initial=0), follow, logits_MV)
        return logits_MV.reshape(*readout.shape[:-1], self.vocab_size)

    def _nowhere(self, rows: int) -> Int[Array, "B C"]:
        """The contexts before anything was read, which are none."""
        return jnp.full((rows, self.order - 1), len(self.token[...]), jnp.int32)

    def _read(self, token_BT: Int[Array, "B T"], carry_BC: Int[Array, "B C"]) -> Int[Array, "B T C"]:
        """The contexts that end with each token."""
        context_BT, contexts = jnp.zeros_like(token_BT), list[Array]()  # of no token: the root
        for length in range(self.order - 1):
            context_BT = self._after(context_BT, token_BT)
            contexts.append(context_BT)
            context_BT = jnp.concatenate([carry_BC[:, length : length + 1], context_BT[:, :-1]], axis=1)
        return jnp.stack(contexts, axis=-1) if contexts else jnp.zeros((*token_BT.shape, 0), jnp.int32)

    def _after(self, context: Int[Array, "B T"], token: Int[Array, "B T"]) -> Int[Array, "B T"]:
        """The n-grams of these contexts with these tokens; nowhere for those that were not met."""
        first, tokens = self.first[...], self.token[...]
        low, end = first[context], first[context + 1]
        high = end
        for _ in range(self.vocab_size.bit_length()):
            middle = (low + high) // 2
            right = (low < high) & (tokens[middle] < token)
            low, high = jnp.where(right, middle + 1, low), jnp.where(right, high, middle)
        return jnp.where((low < end) & (tokens[low] == token), low, len(tokens))
