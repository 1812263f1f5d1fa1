"""The scores of attention between a query and the positions of a memory, by Bahdanau and by Luong.

A score splits into what depends on the memory alone, `keys(memory)`, computed once for a source, and
what depends on the query. The second part is written over `linear(name, x)` and the `weights` it names,
so that it runs for all queries at once or inside a scan (`models/scan.py`) alike. `plain(q, m)` is one score as its
paper writes it, for a reader and for the tests, which hold the two equal (tests/models/test_plain.py).

Dims: B batch, T queries, S memory slots, D query width, E memory width, A score width.
"""

from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from models.layers import Linear, glorot
from models.scan import Dense, LinearFn
from models.shapes import Array, Bool, Float


class Score(nnx.Module):
    """Base: `score(linear, constants, query)` with `weights(keys)` and `constants(keys)`."""

    same_width: ClassVar[bool] = False  # query and memory must be equally wide

    def __init__(self, query_size: int, memory_size: int, size: int, *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs):
        raise NotImplementedError

    def keys(self, memory_BSE: Float[Array, "B S E"]) -> Array:
        """What the memory contributes, an array that leads with the batch axis."""
        raise NotImplementedError

    def weights(self, keys: Array) -> Mapping[str, Dense]:
        """What `linear` multiplies queries with."""
        raise NotImplementedError

    def constants(self, keys: Array) -> tuple[Array, ...]:
        """What else the scores read."""
        return ()

    @staticmethod
    def scores(
        linear: LinearFn, constants: tuple[Array, ...], query_BTD: Float[Array, "B T D"]
    ) -> Float[Array, "B T S"]:
        raise NotImplementedError

    def plain(self, q: Float[Array, "D"], m: Float[Array, "E"]) -> Float[Array, ""]:
        """The score of one query and one slot of the memory, as the paper writes it."""
        raise NotImplementedError


class AdditiveScore(Score):
    """v . tanh(W q + U m)  (Bahdanau et al. 2015, appendix A.1.2)."""

    def __init__(self, query_size: int, memory_size: int, size: int, *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs):
        self.query = Linear(query_size, size, use_bias=False, dtype=dtype, rngs=rngs)
        self.memory = Linear(memory_size, size, use_bias=False, dtype=dtype, rngs=rngs)
        self.vector = nnx.Param(glorot(rngs.params(), (size, 1), jnp.float32)[:, 0])

    def plain(self, q: Array, m: Array):
        """Bahdanau et al. 2015, appendix A.1.2."""
        W, U, v = self.query.kernel[...], self.memory.kernel[...], self.vector[...]
        return v @ jnp.tanh(q @ W + m @ U)

    def keys(self, memory_BSE: Array):
        return self.memory(memory_BSE)

    def weights(self, keys: Array):
        return {"query": self.query.dense()}

    def constants(self, keys: Array):
        # One vector a row of the batch: in a scan its gradient then adds up row by row, on the row's own device.
        return keys, jnp.broadcast_to(self.vector[...], (keys.shape[0], self.vector.shape[0]))

    @staticmethod
    def scores(linear: LinearFn, constants: tuple[Array, ...], query_BTD: Array):
        keys_BSA, vector_BA = constants
        hidden_BTSA = jnp.tanh(linear("query", query_BTD)[:, :, None] + keys_BSA[:, None])
        return jnp.einsum("btsa,ba->bts", hidden_BTSA, vector_BA)


class ConcatScore(AdditiveScore):
    """v . tanh(W [q; m])  (Luong et al. 2015, section 3.1): the additive score, but W is drawn as one."""

    def __init__(self, query_size: int, memory_size: int, size: int, *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs):
        super().__init__(query_size, memory_size, size, dtype=dtype, rngs=rngs)
        joint = glorot(rngs.params(), (query_size + memory_size, size), jnp.float32)
        self.query.kernel[...], self.memory.kernel[...] = joint[:query_size], joint[query_size:]

    def plain(self, q: Array, m: Array):
        """Luong et al. 2015, section 3.1."""
        W, v = jnp.concatenate([self.query.kernel[...], self.memory.kernel[...]]), self.vector[...]
        return v @ jnp.tanh(jnp.concatenate([q, m]) @ W)


class DotScore(Score):
    """q . m  (Luong et al. 2015, section 3.1)."""

    same_width = True

    def __init__(self, query_size: int, memory_size: int, size: int, *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs):
        pass

    def plain(self, q: Array, m: Array):
        """Luong et al. 2015, section 3.1."""
        return q @ m

    def keys(self, memory_BSE: Array):
        return memory_BSE

    def weights(self, keys: Array):
        return {"keys": Dense(jnp.swapaxes(keys, 1, 2))}

    @staticmethod
    def scores(linear: LinearFn, constants: tuple[Array, ...], query_BTD: Array):
        return linear("keys", query_BTD)


class ScaledDotScore(DotScore):
    """q . m / sqrt(D)  (Vaswani et al. 2017, equation 1, on Luong's dot score)."""

    def plain(self, q: Array, m: Array):
        """Vaswani et al. 2017, section 3.2.1."""
        return q @ m / jnp.sqrt(len(q))

    @staticmethod
    def scores(linear: LinearFn, constants: tuple[Array, ...], query_BTD: Array):
        return linear("keys", query_BTD) / query_BTD.shape[-1] ** 0.5


class GeneralScore(DotScore):
    """q . W m  (Luong et al. 2015, section 3.1)."""

    same_width = False

    def __init__(self, query_size: int, memory_size: int, size: int, *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs):
        self.memory = Linear(memory_size, query_size, use_bias=False, dtype=dtype, rngs=rngs)

    def plain(self, q: Array, m: Array):
        """Luong et al. 2015, section 3.1."""
        W = self.memory.kernel[...]
        return q @ (m @ W)

    def keys(self, memory_BSE: Array):
        return self.memory(memory_BSE)


SCORES: dict[str, type[Score]] = {
    "additive": AdditiveScore,
    "dot": DotScore,
    "general": GeneralScore,
    "concat": ConcatScore,
    "scaled_dot": ScaledDotScore,
}


def masked_softmax(scores_BTS: Float[Array, "B T S"], mask_BS: Bool[Array, "B S"]) -> Float[Array, "B T S"]:
    """Softmax over the slots whose mask is True; 0 at the others, and everywhere where none is."""
    mask_B1S = mask_BS[:, None]
    scores_BTS = jnp.where(mask_B1S, scores_BTS, jnp.finfo(scores_BTS.dtype).min)
    return jax.nn.softmax(scores_BTS, axis=-1) * mask_B1S
