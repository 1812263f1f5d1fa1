"""Linear attention: a feature map instead of softmax makes attention a recurrence (Katharopoulos et al. 2020).

Dims: B batch, T tokens, C tokens of a chunk (t queries, s keys), D model width, H heads, K head width, V = K + 1.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from ml_collections import ConfigDict

from models.attention import check_divides
from models.layers import Linear
from models.mixers.linear_scan import heads_of, in_chunks, joined, wide
from models.mixers.mixer import Mixer, Span
from models.options import Option, count
from models.shapes import Array, Float
from models.taps import Tapper

FEATURES = {"elu": lambda x: jax.nn.elu(x) + 1, "relu": jax.nn.relu, "exp": jnp.exp}
LEAST = 1e-6  # added to the sum of weights


class LinearAttention(Mixer):
    """y = W o + b with o_t = phi(q_t) S_t / (phi(q_t) z_t), S_t = S_{t-1} + phi(k_t) v_t^T, z_t = z_{t-1} + phi(k_t)
    (equations 16 to 20), in every head.

    The sum of weights is a last column of values that are one, so that S and z are one array. Within a chunk the
    products of queries and keys are formed, as in attention; what came before is S.
    """

    taps = {"linear_attention.hidden": (1,)}

    def __init__(self, config: ConfigDict, depth: int, rngs: nnx.Rngs):
        D, own, dtype = config.hidden_size, config.linear_attention, jnp.dtype(config.dtype)
        check_divides("linear_attention.num_heads", own.num_heads, "hidden_size", D)
        self.heads, self.width, self.chunk = own.num_heads, D // own.num_heads, own.chunk
        self.features = FEATURES[own.feature_map]
        self.core = Linear(D, 3 * D, dtype=dtype, rngs=rngs)  # queries, keys, values
        self.output = Linear(D, D, dtype=dtype, rngs=rngs)

    @classmethod
    def options(cls):
        return {
            "linear_attention.num_heads": count(4, "heads, each with a state of its width squared"),
            "linear_attention.feature_map": Option("elu", "map of queries and keys; elu: elu(x) + 1", tuple(FEATURES)),
            "linear_attention.chunk": count(64, "tokens that training computes at once"),
        }

    def start_carry(self, rows: int) -> Array:
        return jnp.zeros((rows, self.heads, self.width, self.width + 1), jnp.float32)

    def __call__(self, x_BTD: Array, span: Span, carry: Array, *, name: str, tap: Tapper, key: Array | None = None):
        def chunk(state_BHKV: Array, at: tuple[Array, ...], real_BC: Array):
            query_BCHK, key_BCHK, value_BCHV = at
            key_BCHK = jnp.where(real_BC[:, :, None, None], key_BCHK, 0)
            weights_BHts = jnp.einsum("BtHK,BsHK->BHts", query_BCHK, key_BCHK) * jnp.tri(real_BC.shape[1])
            mixed_BCHV = jnp.einsum("BHts,BsHV->BtHV", weights_BHts, value_BCHV)
            mixed_BCHV += jnp.einsum("BtHK,BHKV->BtHV", query_BCHK, state_BHKV)
            return state_BHKV + jnp.einsum("BsHK,BsHV->BHKV", key_BCHK, value_BCHV), mixed_BCHV

        mixed_BTHV, carry = in_chunks(chunk, carry, self._projected(x_BTD), span.mask_BT, self.chunk)
        return self.output(tap(f"{name}linear_attention.hidden", mean(mixed_BTHV).astype(x_BTD.dtype))), carry

    def step(self, x_BD: Array, t: Array, span: Span, memory: tuple[()], state: Array):
        query_BHK, key_BHK, value_BHV = self._projected(x_BD)
        state = state + key_BHK[..., None] * value_BHV[..., None, :]
        mixed_BHV = jnp.einsum("BHK,BHKV->BHV", query_BHK, state)
        return self.output(mean(mixed_BHV).astype(x_BD.dtype)), state

    def _projected(self, x: Float[Array, "... D"]) -> tuple[Array, Array, Array]:
        query, key, value = (heads_of(part, self.heads) for part in wide(*jnp.split(self.core(x), 3, axis=-1)))
        ones = jnp.ones_like(value[..., :1])
        return self.features(query), self.features(key), jnp.concatenate([value, ones], axis=-1)


def mean(mixed: Float[Array, "... H V"]) -> Float[Array, "... D"]:
    """Sums of values divided by the sum of their weights, head beside head."""
    return joined(mixed[..., :-1] / (mixed[..., -1:] + LEAST))
