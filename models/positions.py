"""Positions in attention: none, sinusoidal, learned, rotary or ALiBi.

Dims: B batch, T queries, S keys, H heads, K head width, D model width, N rows of a table.

Each kind is one class with three places to act: on the embeddings (`add`), on queries and keys
(`rotate`), or on the scores (`bias`). Places come from masks, so padding on either side takes none.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from models.shapes import Array, Bool, Float, Int


def positions_of(mask_BS: Bool[Array, "B S"]) -> Int[Array, "B S"]:
    """Counts real tokens from the left, from 0. Padding repeats its left neighbour's position (or 0)."""
    return jnp.maximum(jnp.cumsum(mask_BS, axis=1, dtype=jnp.int32) - 1, 0)


class NoPositions(nnx.Module):
    """Order is seen through the causal mask alone (Haviv et al. 2022)."""

    def __init__(self, num_positions: int, hidden_size: int, num_heads: int, rngs: nnx.Rngs):
        """`num_positions` is the longest length in training."""

    def add(self, x_BTD: Float[Array, "B T D"], position_BT: Int[Array, "#B T"]) -> Float[Array, "B T D"]:
        """Acts on the scaled embeddings."""
        return x_BTD

    def rotate(self, x_BHTK: Float[Array, "B H T K"], position_BT: Int[Array, "#B T"]) -> Float[Array, "B H T K"]:
        """Acts on the queries and on the keys of self-attention."""
        return x_BHTK

    def bias(
        self, query_position_BT: Int[Array, "#B T"], key_position_BS: Int[Array, "#B S"]
    ) -> Float[Array, "#B H T S"] | None:
        """The bias added to the scores of self-attention, in float32."""
        return None


class Sinusoidal(NoPositions):
    """sin and cos of position / 10000^(2i/D) on even and odd dimensions (Vaswani et al. 2017, section 3.5)."""

    def add(self, x_BTD, position_BT):
        return x_BTD + sinusoids(position_BT, x_BTD.shape[-1]).astype(x_BTD.dtype)


class Learned(NoPositions):
    """A table with a row for each position (Gehring et al. 2017).

    Positions beyond the table, which were never trained, share its last row.
    """

    def __init__(self, num_positions, hidden_size, num_heads, rngs):
        # The scale of the sinusoids' entries, so that the two kinds start alike.
        self.table_ND = nnx.Param(jax.random.normal(rngs.params(), (max(num_positions, 1), hidden_size)) * 0.5**0.5)

    def add(self, x_BTD, position_BT):
        table_ND = self.table_ND[...].astype(x_BTD.dtype)
        return x_BTD + jnp.take(table_ND, position_BT, axis=0, mode="clip")


class Rotary(NoPositions):
    """Rotates pairs of dimensions by position / 10000^(2i/K) (Su et al. 2021, equation 34).

    Dimension i is paired with i + K/2 instead of its neighbour: the same map up to a permutation of the
    projections' columns, and contiguous in memory. Raises ValueError where K is odd.
    """

    def __init__(self, num_positions, hidden_size, num_heads, rngs):
        if hidden_size // num_heads % 2:
            fitting = [h for h in range(1, hidden_size + 1) if hidden_size % h == 0 and hidden_size // h % 2 == 0]
            raise ValueError(
                f"model.num_heads = {num_heads} gives heads of odd width {hidden_size // num_heads}, which "
                f"model.positions = rotary cannot pair; use {' or '.join(map(str, fitting)) or 'other positions'}"
            )

    def rotate(self, x_BHTK, position_BT):
        half = x_BHTK.shape[-1] // 2
        angle_B1Tk = (position_BT[:, :, None] * frequencies(2 * half))[:, None]
        cos, sin = jnp.cos(angle_B1Tk).astype(x_BHTK.dtype), jnp.sin(angle_B1Tk).astype(x_BHTK.dtype)
        left, right = x_BHTK[..., :half], x_BHTK[..., half:]
        return jnp.concatenate([left * cos - right * sin, right * cos + left * sin], axis=-1)


class Alibi(NoPositions):
    """Subtracts slope * distance from the scores, slopes 2^(-8i/H), i = 1..H (Press et al. 2022, section 3).

    Encoders see both sides, by |distance|.
    """

    def __init__(self, num_positions, hidden_size, num_heads, rngs):
        self.num_heads = num_heads

    def bias(self, query_position_BT, key_position_BS):
        slope_H = 2.0 ** (-8.0 * jnp.arange(1, self.num_heads + 1) / self.num_heads)
        distance_BTS = jnp.abs(query_position_BT[:, :, None] - key_position_BS[:, None, :])
        return -slope_H[:, None, None] * distance_BTS[:, None]


POSITIONS: dict[str, type[NoPositions]] = {
    "none": NoPositions,
    "sinusoidal": Sinusoidal,
    "learned": Learned,
    "rotary": Rotary,
    "alibi": Alibi,
}


def frequencies(width: int) -> Float[Array, "k"]:
    """1 / 10000^(2i/width) for i = 0 .. ceil(width / 2) - 1, in radians a position, float32."""
    return 10000.0 ** (-jnp.arange(0, width, 2, dtype=jnp.float32) / width)


def sinusoids(position_BT: Int[Array, "B T"], width: int) -> Float[Array, "B T D"]:
    """sin at even and cos at odd dimensions, float32, for any position."""
    angle_BTk = position_BT[..., None] * frequencies(width)
    pair_BTk2 = jnp.stack([jnp.sin(angle_BTk), jnp.cos(angle_BTk)], axis=-1)
    return pair_BTk2.reshape(*position_BT.shape, -1)[..., :width]
