"""Positions in attention: none, sinusoidal, learned, rotary, ALiBi, relative, T5's or Shaw's.

Dims: B batch, T queries, S keys, H heads, K head width (of values V), D model width, N entries of a table.

Each kind is one class with four places to act: on the embeddings (`add`), on queries and keys (`rotate`), on the
scores (`bias`), or on what each query makes of each key (`edges`). Places come from masks, so padding on either side
takes none.
"""

from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from models.layers import glorot
from models.shapes import Array, Bool, Float, Int

FARTHEST = 128  # beyond it distances are one
BUCKETS = 32


def positions_of(mask_BS: Bool[Array, "B S"]) -> Int[Array, "B S"]:
    """Counts real tokens from the left, from 0. Padding repeats its left neighbour's position (or 0)."""
    return jnp.maximum(jnp.cumsum(mask_BS, axis=1, dtype=jnp.int32) - 1, 0)


class Edges(NamedTuple):
    """What is added to keys and values, by how far a key stands from the query."""

    key_NK: Float[Array, "N K"]
    value_NV: Float[Array, "N V"]
    entry_BTSN: Float[Array, "#B T S N"]  # 1 where the key takes entry n, else 0: sums over few entries are products


class NoPositions(nnx.Module):
    """Order is seen through the causal mask alone (Haviv et al. 2022)."""

    biased: ClassVar[bool] = False  # has a `bias` or `edges`, which no fused kernel takes
    trains_bias: ClassVar[bool] = False  # has parameters there, to which attention in tiles gives no gradients

    def __init__(
        self,
        num_positions: int,
        hidden_size: int,
        num_heads: int,
        rngs: nnx.Rngs,
        causal: bool = True,
        key_size: int = 0,
    ):
        """`num_positions` is the longest length in training. Where `causal`, no query sees a key after it. Keys are
        `key_size` wide; 0: as wide as values, hidden_size / num_heads. Raises ValueError where the kind cannot serve
        such heads."""
        self.num_positions, self.num_heads, self.causal = max(num_positions, 1), num_heads, causal
        self._begin(hidden_size, key_size, rngs)

    def _begin(self, hidden_size: int, key_size: int, rngs: nnx.Rngs) -> None:
        """Draws what is learned."""

    @property
    def trained(self) -> int | None:
        """The longest length all of whose positions were trained; None: any."""
        return None

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

    def edges(self, query_position_BT: Int[Array, "#B T"], key_position_BS: Int[Array, "#B S"]) -> Edges | None:
        """What is added to the keys and values of self-attention, for each query another."""
        return None


class Sinusoidal(NoPositions):
    """sin and cos of position / 10000^(2i/D) on even and odd dimensions (Vaswani et al. 2017, section 3.5)."""

    def add(self, x_BTD: Array, position_BT: Array):
        return x_BTD + sinusoids(position_BT, x_BTD.shape[-1]).astype(x_BTD.dtype)


class Learned(NoPositions):
    """A table with a row for each position (Gehring et al. 2017).

    Positions beyond the table, which were never trained, share its last row.
    """

    def _begin(self, hidden_size: int, key_size: int, rngs: nnx.Rngs) -> None:
        # The scale of the sinusoids' entries, so that the two kinds start alike.
        self.table_ND = nnx.Param(jax.random.normal(rngs.params(), (self.num_positions, hidden_size)) * 0.5**0.5)

    @property
    def trained(self):
        return self.table_ND.shape[0]

    def add(self, x_BTD: Array, position_BT: Array):
        table_ND = self.table_ND[...].astype(x_BTD.dtype)
        return x_BTD + jnp.take(table_ND, position_BT, axis=0, mode="clip")


class Rotary(NoPositions):
    """Rotates pairs of dimensions by position / 10000^(2i/K) (Su et al. 2021, equation 34).

    Dimension i is paired with i + K/2 instead of its neighbour: the same map up to a permutation of the
    projections' columns, and contiguous in memory. Raises ValueError where K is odd.
    """

    def _begin(self, hidden_size: int, key_size: int, rngs: nnx.Rngs) -> None:
        if key_size % 2:
            raise ValueError(
                f"model.key_size = {key_size} is odd, which model.positions = rotary cannot pair; use {key_size + 1}"
            )
        if not key_size and hidden_size // self.num_heads % 2:
            fitting = [h for h in range(1, hidden_size + 1) if hidden_size % h == 0 and hidden_size // h % 2 == 0]
            raise ValueError(
                f"model.num_heads = {self.num_heads} gives heads of odd width {hidden_size // self.num_heads}, which "
                f"model.positions = rotary cannot pair; use {' or '.join(map(str, fitting)) or 'other positions'}"
            )

    def rotate(self, x_BHTK: Array, position_BT: Array):
        half = x_BHTK.shape[-1] // 2
        angle_B1Tk = (position_BT[:, :, None] * frequencies(2 * half))[:, None]
        cos, sin = jnp.cos(angle_B1Tk).astype(x_BHTK.dtype), jnp.sin(angle_B1Tk).astype(x_BHTK.dtype)
        left, right = x_BHTK[..., :half], x_BHTK[..., half:]
        return jnp.concatenate([left * cos - right * sin, right * cos + left * sin], axis=-1)


class Alibi(NoPositions):
    """Subtracts slope * distance from the scores, slopes 2^(-8i/H), i = 1..H (Press et al. 2022, section 3).

    Encoders see both sides, by |distance|.
    """

    biased = True

    def bias(self, query_position_BT: Array, key_position_BS: Array):
        slope_H = 2.0 ** (-8.0 * jnp.arange(1, self.num_heads + 1) / self.num_heads)
        distance_BTS = jnp.abs(query_position_BT[:, :, None] - key_position_BS[:, None, :])
        return -slope_H[:, None, None] * distance_BTS[:, None]


class Relative(NoPositions):
    """Adds one learned scalar for each distance and head to the scores, the same in all layers of a stack.

    Distances are told apart up to the longest in training, and at most up to FARTHEST; all beyond share the last one's
    scalar (the clipping of Shaw et al. 2018). Encoders tell the sides apart. The scalars begin at 0.
    """

    biased = True
    trains_bias = True
    most: ClassVar[int] = FARTHEST

    def _begin(self, hidden_size: int, key_size: int, rngs: nnx.Rngs) -> None:
        self.table_HN = nnx.Param(jnp.zeros((self.num_heads, self._entries()), jnp.float32))

    @property
    def farthest(self) -> int:
        """The farthest distance that is told apart from the next."""
        return min(self.most, self.num_positions - 1)

    def _entries(self) -> int:
        return self.farthest + 1 if self.causal else 2 * self.farthest + 1

    def _by_distance(self) -> Float[Array, "H N"]:
        """The scalars of distances 0 .. farthest, or -farthest .. farthest, where negative ones are of later keys."""
        return self.table_HN[...]

    def _entry(self, query_position_BT: Array, key_position_BS: Array) -> Int[Array, "#B T S"]:
        """Which of the entries by distance each query takes for each key."""
        nearest = 0 if self.causal else -self.farthest
        distance_BTS = query_position_BT[:, :, None] - key_position_BS[:, None, :]
        return jnp.clip(distance_BTS, nearest, self.farthest) - nearest

    def bias(
        self, query_position_BT: Int[Array, "#B T"], key_position_BS: Int[Array, "#B S"]
    ) -> Float[Array, "#B H T S"] | None:
        entry_BTS = self._entry(query_position_BT, key_position_BS)
        return jnp.moveaxis(jnp.take(self._by_distance(), entry_BTS, axis=1, mode="clip"), 0, 1)


class T5(Relative):
    """Adds a learned scalar for each of 32 buckets of distances and each head (Raffel et al. 2020, section 2.1).

    Half of the buckets hold one distance each, and half ever more of them, in proportion, up to 128, beyond which all
    share the last. Encoders have 16 buckets for either side.
    """

    @property
    def farthest(self):
        return FARTHEST

    @property
    def trained(self):
        """Buckets that lie beyond the longest length still have their scalars of the beginning, 0."""
        bucket_N = buckets(self._sided())
        known = int(np.searchsorted(bucket_N, bucket_N[min(self.num_positions - 1, FARTHEST)], side="right"))
        return known if known < len(bucket_N) else None

    def _entries(self):
        return BUCKETS

    def _sided(self) -> int:
        """Buckets for one side."""
        return BUCKETS if self.causal else BUCKETS // 2

    def _by_distance(self):
        bucket_N = buckets(self._sided())
        if not self.causal:
            bucket_N = np.concatenate([bucket_N[:0:-1] + self._sided(), bucket_N])
        return jnp.take(self.table_HN[...], bucket_N, axis=1)


class Shaw(Relative):
    """Adds a learned vector to each key and another to each value, by clipped distance (Shaw et al. 2018, equations 3
    and 4), k = 16 as in their section 4.1, and less where training has no such distance.

    All heads and layers of a stack share them; the paper shares them between heads or not, and has a layer's own.
    """

    most = 16

    def _begin(self, hidden_size: int, key_size: int, rngs: nnx.Rngs) -> None:
        value_size = hidden_size // self.num_heads
        self.key_NK, self.value_NV = (
            nnx.Param(glorot(rngs.params(), (self._entries(), size), jnp.float32))
            for size in (key_size or value_size, value_size)
        )

    def bias(self, query_position_BT: Int[Array, "#B T"], key_position_BS: Int[Array, "#B S"]) -> None:
        return None

    def edges(self, query_position_BT: Int[Array, "#B T"], key_position_BS: Int[Array, "#B S"]) -> Edges:
        entry_BTS = self._entry(query_position_BT, key_position_BS)
        return Edges(self.key_NK[...], self.value_NV[...], jax.nn.one_hot(entry_BTS, self._entries()))


POSITIONS: dict[str, type[NoPositions]] = {
    "none": NoPositions,
    "sinusoidal": Sinusoidal,
    "learned": Learned,
    "rotary": Rotary,
    "alibi": Alibi,
    "relative": Relative,
    "t5": T5,
    "shaw": Shaw,
}


def frequencies(width: int) -> Float[Array, "k"]:
    """1 / 10000^(2i/width) for i = 0 .. ceil(width / 2) - 1, in radians a position, float32."""
    return 10000.0 ** (-jnp.arange(0, width, 2, dtype=jnp.float32) / width)


def buckets(number: int) -> np.ndarray:
    """The bucket of each distance from 0 to FARTHEST: e + (number - e) log(distance / e) / log(FARTHEST / e), rounded
    down, from e = number / 2 on, and below it the distance itself.

    Powers of integers decide instead of logarithms, which in float32 fall short of a boundary that they should meet.
    """
    exact = number // 2
    steps = number - exact

    def bucket(distance: int) -> int:
        reached = [k for k in range(steps) if distance**steps * exact**k >= FARTHEST**k * exact**steps]
        return exact + max(reached) if distance >= exact else distance

    return np.array([bucket(distance) for distance in range(FARTHEST + 1)])


def sinusoids(position_BT: Int[Array, "B T"], width: int) -> Float[Array, "B T D"]:
    """sin at even and cos at odd dimensions, float32, for any position."""
    angle_BTk = position_BT[..., None] * frequencies(width)
    pair_BTk2 = jnp.stack([jnp.sin(angle_BTk), jnp.cos(angle_BTk)], axis=-1)
    return pair_BTk2.reshape(*position_BT.shape, -1)[..., :width]
