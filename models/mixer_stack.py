"""A stack whose layers have any mixers: all of a decoder-only model, or one side of an encoder-decoder.

A layer is `norm -> mixer -> residual, norm -> MLP -> residual`, and where an encoder's output is read
`norm -> attention to it -> residual` between the two. All but the mixer is shared, so a difference between two runs is
the mixers'.

Dims: B batch, T tokens, D model width.
"""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import nnx
from ml_collections import ConfigDict

from models.attention import CrossAttention, Keys, View
from models.block import Mlp, Residual, norm_of
from models.contract import Taps
from models.dropout import dropout, fold
from models.encoded import Encoded
from models.fused_attention import choose
from models.mixers import MIXERS
from models.mixers.both_ways import BothWays, moved
from models.mixers.mixer import Mixer, Span
from models.options import LARGEST, several
from models.padding import lengths_of, put_back, to_front
from models.positions import POSITIONS
from models.remat import remat
from models.shapes import Array, Bool, Float, Int, Key
from models.taps import Tapper

ADDED = ("none", "sinusoidal", "learned")  # the positions that need no attention
NO_TAPS = Tapper(None, ())


States = tuple[Any, ...]
"""What each mixer carries, or what it decodes with."""


class Carry(NamedTuple):
    """What a chunk of a sequence leaves to the next."""

    count_B: Int[Array, "B"]  # tokens read
    layers: States


class Layer(nnx.Module):
    """A mixer, attention to an encoder where `cross`, and a feed-forward network."""

    def __init__(self, mixer: Mixer, config: ConfigDict, cross: bool, rngs: nnx.Rngs):
        self.mixer = mixer
        self.mixer_residual = Residual(config)
        self.cross_attention = CrossAttention.from_config(config, rngs) if cross else None
        self.cross_residual = Residual(config) if cross else None
        self.mlp = Mlp(config, rngs)
        self.mlp_residual = Residual(config)

    def __call__(
        self,
        x_BTD: Float[Array, "B T D"],
        span: Span,
        carry: Any,
        *,
        name: str,
        tap: Tapper,
        encoded: tuple[Keys, View] | None,
        key: Array | None,
    ) -> tuple[Float[Array, "B T D"], Any]:
        entered_BTD = self.mixer_residual.enter(x_BTD)
        y_BTD, carry = self.mixer(entered_BTD, span, carry, name=name, tap=tap, key=fold(key, 0))
        x_BTD = self.mixer_residual.leave(x_BTD, y_BTD, fold(key, 1))
        return tap(f"{name}hidden", self._rest(x_BTD, encoded, name, tap, key)), carry

    def step(
        self, x_BD: Array, t: Array, span: Span, memory: Any, state: Any, encoded: tuple[Keys, View] | None
    ) -> tuple[Float[Array, "B D"], Any]:
        y_BD, state = self.mixer.step(self.mixer_residual.enter(x_BD), t, span, memory, state)
        x_BD = self.mixer_residual.leave(x_BD, y_BD, None)
        return self._rest(x_BD[:, None], encoded, "", NO_TAPS, None)[:, 0], state

    def _rest(
        self, x_BTD: Array, encoded: tuple[Keys, View] | None, name: str, tap: Tapper, key: Array | None
    ) -> Float[Array, "B T D"]:
        if self.cross_attention is not None and self.cross_residual is not None and encoded is not None:
            entered_BTD = self.cross_residual.enter(x_BTD)
            y_BTD = self.cross_attention(entered_BTD, *encoded, f"{name}cross_", tap, fold(key, 2))
            x_BTD = self.cross_residual.leave(x_BTD, y_BTD, fold(key, 3))
        y_BTD = self.mlp(self.mlp_residual.enter(x_BTD), fold(key, 4))
        return self.mlp_residual.leave(x_BTD, y_BTD, fold(key, 5))


class MixerStack(nnx.Module):
    """Embeddings in, hidden states out: positions, dropout, layers, and a last norm with pre-norm.

    Its taps have `name` before theirs. Where it is not `causal`, what reads in one direction reads in both
    (`both_ways`), or in its own.
    """

    def __init__(
        self,
        mixers: Sequence[str],
        config: ConfigDict,
        name: str,
        num_positions: int,
        rngs: nnx.Rngs,
        *,
        causal: bool = True,
        both_ways: bool = False,
        cross: bool = False,
    ):
        kinds = [MIXERS[mixer] for mixer in mixers]
        acts = config.positions in ADDED or any(kind.attends for kind in kinds)
        positions = POSITIONS[config.positions if acts else "none"]
        heads, key_size = config.get("num_heads", 1), config.get("key_size", 0)
        self.positions = positions(num_positions, config.hidden_size, heads, rngs, causal=causal, key_size=key_size)
        below: Counter[type[Mixer]] = Counter()
        layers = []
        for mixer, kind in zip(mixers, kinds, strict=True):
            make = partial(BothWays, kind) if both_ways and not kind.two_sided else kind
            layers.append(Layer(make(config, below[kind], rngs), config, cross, rngs))
            if (reach := layers[-1].mixer.reach or 0) > LARGEST:
                given = " and ".join(f"model.{mixer}.{key} = {value}" for key, value in config[mixer].items())
                raise ValueError(
                    f"{given} make layer {len(layers)} see {reach:,} tokens back; lower them to {LARGEST:,} or fewer"
                )
            below[kind] += 1
        self.layers = nnx.List(layers)
        self.last_norm = norm_of(config) if config.norm == "pre" else None
        self.dropout_rate, self.remat = config.dropout_rate, config.remat
        self.name, self.causal = name, causal
        self.kernel = choose(config) if cross else None

    def read(
        self,
        x_BTD: Float[Array, "B T D"],
        mask_BT: Bool[Array, "B T"] | None,
        carry: Carry | None,
        taps: Taps | None = None,
        encoded: Encoded | None = None,
        key: Key[Array, ""] | None = None,
    ) -> tuple[Float[Array, "B T D"], Carry, dict[str, Array]]:
        """(hidden states, carry, what was captured) of a sequence, or of its next chunk. Of `taps` it takes its own.

        Without `mask_BT` every token is real.
        """
        B, T, _ = x_BTD.shape
        # One row serves all where it is the same.
        before_B = jnp.zeros(1, jnp.int32) if carry is None else carry.count_B
        axes, order_BT, length_B = self.tap_axes(), None, None
        taps = {name: value for name, value in (taps or {}).items() if name in axes}
        if mask_BT is not None:
            x_BTD, mask_BT, order_BT = to_front(x_BTD, mask_BT)
            length_B = lengths_of(mask_BT)
            taps = moved(taps, axes, order_BT)
        tap, span = Tapper(taps, tuple(axes)), Span.of(before_B, T, length_B, self.positions, self.causal)
        x_BTD = self.positions.add(tap(f"{self.name}.inputs", x_BTD), span.position_BT)
        x_BTD = dropout(x_BTD, self.dropout_rate, fold(key, 0))
        across, after = self._across(encoded, T, whole=not taps), []
        for number, (layer, own) in enumerate(zip(self.layers, (carry or self.start_carry(B)).layers, strict=True)):
            run = partial(
                layer,
                span=span,
                carry=own,
                name=f"{self.name}.{number}.",
                tap=tap,
                encoded=across[number],
                key=fold(key, number + 1),
            )
            # What is tapped must leave the layer, which nothing does that is computed anew in the backward pass.
            x_BTD, own = (remat(run) if self.remat and not tap.taps else run)(x_BTD)
            after.append(own)
        if self.last_norm is not None:
            x_BTD = self.last_norm(x_BTD)
        captured = tap.captured
        if order_BT is not None:
            x_BTD, captured = put_back(x_BTD, order_BT), moved(captured, axes, jnp.argsort(order_BT, axis=1))
        count_B = jnp.broadcast_to(before_B + (T if length_B is None else length_B), B)
        return x_BTD, Carry(count_B, tuple(after)), captured

    def start_carry(self, rows: int) -> Carry:
        return Carry(jnp.zeros(rows, jnp.int32), tuple(layer.mixer.start_carry(rows) for layer in self.layers))

    def open(self, carry: Carry, max_len: int) -> tuple[Carry, States]:
        """(memory, state) for at most `max_len` tokens more."""
        pairs = [layer.mixer.open(own, max_len) for layer, own in zip(self.layers, carry.layers, strict=True)]
        memories, states = zip(*pairs, strict=True)
        return Carry(carry.count_B, memories), states

    def advance(
        self, x_BD: Float[Array, "B D"], t: Int[Array, ""], memory: Carry, state: States, encoded: Encoded | None = None
    ) -> tuple[Float[Array, "B D"], States]:
        """What `read` gives for the `t`-th token (from 0) since `open`. Returns (hidden states, state)."""
        span, after = Span.of(memory.count_B + t, 1, None, self.positions), []
        x_BD = self.positions.add(x_BD[:, None], span.position_BT)[:, 0]
        across = self._across(encoded, 1, whole=False)
        for layer, keys, own, before in zip(self.layers, across, memory.layers, state, strict=True):
            x_BD, now = layer.step(x_BD, t, span, own, before, keys)
            after.append(now)
        return x_BD if self.last_norm is None else self.last_norm(x_BD), tuple(after)

    def encode(
        self, encoded_BSD: Float[Array, "B S D"], mask_BS: Bool[Array, "B S"], taps: Taps | None = None
    ) -> Encoded:
        """An encoder's output as the keys of this stack's cross-attention."""
        attentions = [layer.cross_attention for layer in self.layers if layer.cross_attention is not None]
        tapped = any(name in self.tap_axes() for name in taps or ())
        return Encoded.of(attentions, encoded_BSD, mask_BS, fused=self.kernel is not None and not tapped)

    def tap_axes(self) -> dict[str, tuple[int, ...]]:
        """The axes of each tap that are this stack's tokens."""
        found: dict[str, tuple[int, ...]] = {f"{self.name}.inputs": (1,)}
        for number, layer in enumerate(self.layers):
            own = {"hidden": (1,)} | dict(layer.mixer.tap_axes())
            if layer.cross_attention is not None:
                own |= {"cross_attention": (2,), "cross_heads": ()}
            found |= {f"{self.name}.{number}.{tap}": axes for tap, axes in own.items()}
        return found

    def _across(self, encoded: Encoded | None, T: int, *, whole: bool) -> list[tuple[Keys, View] | None]:
        """What each layer's cross-attention reads."""
        if encoded is None:
            return [None] * len(self.layers)
        view = encoded.view(T, self.kernel, whole=whole)
        return [(keys, view) for keys in encoded.keys]


def named(key: str, value: str, num_layers: int) -> list[str]:
    """The mixer of each layer: the pattern, over and over. Raises ValueError for one that is longer than the stack."""
    pattern = several(value)
    if len(pattern) > num_layers:
        raise ValueError(
            f"model.{key} = {','.join(pattern)!r} names {len(pattern)} layers and model.num_layers = "
            f"{num_layers}; use {len(pattern)} or more"
        )
    return [pattern[number % len(pattern)] for number in range(num_layers)]


def unread(config: ConfigDict) -> set[str]:
    """Keys of a model's config that no layer reads, since its patterns name no mixer that has them."""
    patterns = [config[key] for key in ("mixers", "encoder_mixers", "decoder_mixers") if key in config]
    kinds = [MIXERS[name] for pattern in patterns for name in several(pattern) if name in MIXERS]
    if not kinds:
        return set()
    across = [MIXERS["attention"]] if "decoder_mixers" in config else []  # attention to the encoder
    read = {key for kind in kinds + across for key in kind.options()}
    if config.positions in ADDED or any(kind.attends for kind in kinds):
        read.add("positions")
    return {"positions", *(key for kind in MIXERS.values() for key in kind.options())} - read
