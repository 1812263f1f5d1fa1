"""What a mixer is: the part of a layer that carries information along the sequence (`models/decoder.py` has the rest).

    y, carry = mixer(x, span, mixer.start_carry(rows), name="decoder.0.", tap=tap)    # a whole sequence, or a chunk
    memory, state = mixer.open(carry, max_len)                                         # decoding begins
    y, state = mixer.step(x, t, span, memory, state)                                   # token by token

In every row the real tokens stand at the front, in their order, and padding behind them: the stack moves them there
once and puts them back at the end. A decoder-only model reads source and target as one sequence, in which the source's
padding would leave a gap. A scan can pass over a gap, but a convolution, a window, a chunk and a fused kernel count on
neighbours, and each would need a way of its own around it. So what a mixer must do about padding is little: its last
tokens must not change the carry (`Span.mask_BT`), and since a mixer is causal nothing else sees them. What is
`two_sided` masks them where the span is not causal.

A mixer is one file and one line in `MIXERS` (`models/mixers/__init__.py`); `docs/howto/add_a_mixer.md` shows one.

Dims: B batch, T tokens, D model width.
"""

import math
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from ml_collections import ConfigDict

from models.options import Options
from models.positions import NoPositions
from models.shapes import Array, Bool, Float, Int, Key
from models.taps import Tapper


class Span(NamedTuple):
    """The tokens that a call reads; the same for all layers, so that it is made once."""

    before_B: Int[Array, "#B"]  # how many tokens each row has read in earlier calls
    position_BT: Int[Array, "#B T"]  # of these tokens, counted from the row's first
    length_B: Int[Array, "#B"] | None  # how many of these are real, the first ones; None: all
    mask_BT: Bool[Array, "#B T"] | None  # the same as a mask
    positions: NoPositions  # what attention does to queries, keys and scores
    causal: bool = True  # what is `two_sided` sees no token after its own

    @classmethod
    def of(cls, before_B: Array, T: int, length_B: Array | None, positions: NoPositions, causal: bool = True) -> "Span":
        at_T = jnp.arange(T, dtype=jnp.int32)
        mask_BT = None if length_B is None else at_T < length_B[:, None]
        return cls(before_B, before_B[:, None] + at_T, length_B, mask_BT, positions, causal)

    def rotate(self, x_BHTK: Float[Array, "B H T K"]) -> Float[Array, "B H T K"]:
        """Queries or keys of these tokens, with their positions."""
        return self.positions.rotate(x_BHTK, self.position_BT)


class Mixer(nnx.Module):
    """Base of every entry of `MIXERS`. Parameters are float32 `nnx.Param`s; the computation is in `config.dtype`.

    What comes out is a linear map of what was mixed, as wide as the model, and is added to the residual stream.
    """

    taps: ClassVar[Mapping[str, tuple[int, ...]]] = {}  # its taps: name -> the value's axes that are tokens
    attends: ClassVar[bool] = False  # reads `Span.positions`
    two_sided: ClassVar[bool] = False  # obeys `Span.causal`; an encoder has two of any other, one from either end

    def __init__(self, config: ConfigDict, depth: int, rngs: nnx.Rngs):
        """`config` is the architecture's; `depth` is how many layers of this kind lie below."""
        raise NotImplementedError

    @classmethod
    def options(cls) -> Options:
        """The config keys, in a group that has the mixer's name, so that several stand in one pattern:
        `{"mamba.state_size": count(16, "...")}` is read as `config.mamba.state_size`."""
        return {}

    @property
    def reach(self) -> int | None:
        """How many tokens back y sees; None: all of them."""
        return None

    def tap_axes(self) -> Mapping[str, tuple[int, ...]]:
        """Its taps, as `taps` of its class has them."""
        return self.taps

    def start_carry(self, rows: int) -> Any:
        """What the first call of a sequence is given. A tree whose leaves lead with the batch axis, as every carry."""
        raise NotImplementedError

    def __call__(
        self,
        x_BTD: Float[Array, "B T D"],
        span: Span,
        carry: Any,
        *,
        name: str,
        tap: Tapper,
        key: Key[Array, ""] | None = None,
    ) -> tuple[Float[Array, "B T D"], Any]:
        """Returns (y, carry after each row's last real token). Where there is padding y is of no account.

        `tap` knows the mixer's taps under `name`: `tap(f"{name}hidden", x)`. `key` drives dropout.
        """
        raise NotImplementedError

    def open(self, carry: Any, max_len: int) -> tuple[Any, Any]:
        """(memory, state) for at most `max_len` steps after `carry`. Memory never changes; a beam reorders the state.

        A greater `max_len` changes the length of the state's axes alone, which are filled up with zeros at their ends.
        """
        return (), carry

    def step(
        self, x_BD: Float[Array, "B D"], t: Int[Array, ""], span: Span, memory: Any, state: Any
    ) -> tuple[Float[Array, "B D"], Any]:
        """What the call gives for the one token of `span`, the `t`-th (from 0) since `open`. Returns (y, state)."""
        raise NotImplementedError

    def state_bytes(self, context: int) -> int:
        """Bytes that decoding keeps of one row, when it has read `context` tokens."""
        kept = jax.eval_shape(lambda: self.open(self.start_carry(1), context))
        return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(kept))
