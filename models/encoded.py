"""An encoder's output as a decoder's layers see it: the keys of their attention to it.

Dims: B batch, S source length, D model width.
"""

from collections.abc import Sequence
from typing import NamedTuple

from models.attention import CrossAttention, Keys, View
from models.fused_attention import Fused, Kernel
from models.padding import lengths_of, to_front
from models.shapes import Array, Bool, Float, Int
from models.tiled_attention import Tiles, worthwhile


class Encoded(NamedTuple):
    """The keys of each layer, computed once for a whole decoding."""

    keys: tuple[Keys, ...]
    mask: Bool[Array, "B S"]
    lengths: Int[Array, "B"] | None = None  # for a fused kernel: each row's real keys are its first so many

    @classmethod
    def of(
        cls,
        attentions: Sequence[CrossAttention],
        encoded_BSD: Float[Array, "B S D"],
        mask_BS: Bool[Array, "B S"],
        *,
        fused: bool,
    ) -> "Encoded":
        """With the real ones of each row in front where a fused kernel is to read them."""
        lengths_B = None
        if fused:
            encoded_BSD, mask_BS, _ = to_front(encoded_BSD, mask_BS)
            lengths_B = lengths_of(mask_BS)
        return cls(tuple(attention.keys(encoded_BSD) for attention in attentions), mask_BS, lengths_B)

    def view(self, T: int, kernel: Kernel | None, *, whole: bool) -> View:
        """What T queries see of it: all that is real. A fused kernel or tiles take a `whole` target, nothing tapped."""
        fused = tiles = None
        if whole and kernel is not None and self.lengths is not None:
            fused = Fused(kernel, self.lengths)
        elif whole and worthwhile(min(T, self.mask.shape[1])):
            tiles = Tiles(self.mask)
        return View(self.mask[:, None, :], None, fused, tiles)
