"""A decoder-only stack whose layers have any mixers: source and target are one causal sequence.

    python train.py --config=configs/recall.py:decoder --config.model.num_layers=4 \
        --config.model.mixers=gru,gru,gru,attention

A layer is `norm -> mixer -> residual, norm -> MLP -> residual`. All but the mixer is shared, so a difference between
two runs is the mixers'.

Dims: B batch, S source length, T target length, N = S + T, P prefix length, D model width, V outputs.
"""

from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from ml_collections import ConfigDict

from models.block import BLOCK, Mlp, Residual, norm_of
from models.contract import Output, Spec, Taps
from models.dropout import dropout, fold
from models.layers import Embedded, Inputs, OutputHead
from models.mixers import MIXERS
from models.mixers.mixer import Mixer, Span
from models.options import EVERY, LARGEST, Option, several
from models.padding import lengths_of, put_back, to_front
from models.positions import POSITIONS
from models.shapes import Array, Bool, Float, Int, Key
from models.taps import Tapper

ADDED = ("none", "sinusoidal", "learned")  # the positions that need no attention


class Carry(NamedTuple):
    """What a chunk of a sequence leaves to the next."""

    count_B: Int[Array, "B"]  # tokens read
    layers: tuple[Any, ...]  # each mixer's


class Layer(nnx.Module):
    """A mixer and a feed-forward network."""

    def __init__(self, kind: type[Mixer], config: ConfigDict, depth: int, rngs: nnx.Rngs):
        self.mixer = kind(config, depth, rngs)
        self.mixer_residual = Residual(config)
        self.mlp = Mlp(config, rngs)
        self.mlp_residual = Residual(config)

    def __call__(
        self, x_BTD: Float[Array, "B T D"], span: Span, carry: Any, *, name: str, tap: Tapper, key: Array | None
    ) -> tuple[Float[Array, "B T D"], Any]:
        entered_BTD = self.mixer_residual.enter(x_BTD)
        y_BTD, carry = self.mixer(entered_BTD, span, carry, name=name, tap=tap, key=fold(key, 0))
        x_BTD = self.mixer_residual.leave(x_BTD, y_BTD, fold(key, 1))
        y_BTD = self.mlp(self.mlp_residual.enter(x_BTD), fold(key, 4))
        x_BTD = self.mlp_residual.leave(x_BTD, y_BTD, fold(key, 5))
        return tap(f"{name}hidden", x_BTD), carry

    def step(self, x_BD: Array, t: Array, span: Span, memory: Any, state: Any) -> tuple[Float[Array, "B D"], Any]:
        y_BD, state = self.mixer.step(self.mixer_residual.enter(x_BD), t, span, memory, state)
        x_BD = self.mixer_residual.leave(x_BD, y_BD, None)
        return self.mlp_residual.leave(x_BD, self.mlp(self.mlp_residual.enter(x_BD), None), None), state


class Decoder(Embedded):
    """`model.mixers` names the layers' mixers, and is repeated over them.

    Taps have the length of the whole sequence, or of the target where there is a carry.
    """

    pattern: ClassVar[tuple[str, ...]] = ()  # of an architecture that leaves no choice

    @classmethod
    def options(cls):
        kinds = [MIXERS[name] for name in cls.pattern or MIXERS]
        attends = any(kind.attends for kind in kinds)
        mixers = Option("attention", "of the layers, in turn: such as gru,gru,gru,attention", tuple(MIXERS), many=True)
        positions = Option("rotary", "how order is known", choices=tuple(POSITIONS))
        added = Option("none", "what is added to the embeddings for their order", choices=ADDED)
        known = EVERY | ({} if cls.pattern else {"mixers": mixers}) | {"positions": positions if attends else added}
        for kind in kinds:
            known |= kind.options()
        return known | BLOCK

    def __init__(self, config: ConfigDict, spec: Spec, rngs: nnx.Rngs):
        D, dtype, tied = config.hidden_size, jnp.dtype(config.dtype), config.tie_embeddings
        names = self.names(config)
        self.inputs = Inputs(spec, D, tied=tied, dtype=dtype, rngs=rngs)
        acts = config.positions in ADDED or any(MIXERS[name].attends for name in names)
        kind, longest = config.positions if acts else "none", spec.max_source_length + spec.max_target_length
        self.positions = POSITIONS[kind](longest, D, config.get("num_heads", 1), rngs)
        below: Counter[str] = Counter()
        layers = []
        for name in names:
            layers.append(Layer(MIXERS[name], config, below[name], rngs))
            if (reach := layers[-1].mixer.reach or 0) > LARGEST:
                given = " and ".join(f"model.{name}.{key} = {value}" for key, value in config[name].items())
                raise ValueError(
                    f"{given} make layer {len(layers)} see {reach:,} tokens back; lower them to {LARGEST:,} or fewer"
                )
            below[name] += 1
        self.layers = nnx.List(layers)
        self.last_norm = norm_of(config) if config.norm == "pre" else None
        self.head = OutputHead(spec, D, D, tied=tied, dtype=dtype, rngs=rngs)
        self.dropout_rate = config.dropout_rate
        self.remat = config.remat

    @classmethod
    def names(cls, config: ConfigDict) -> list[str]:
        """The mixer of each layer. Raises ValueError for a pattern that is longer than the stack."""
        pattern = cls.pattern or tuple(several(config.mixers))
        if len(pattern) > config.num_layers:
            raise ValueError(
                f"model.mixers = {','.join(pattern)!r} names {len(pattern)} layers and model.num_layers = "
                f"{config.num_layers}; use {len(pattern)} or more"
            )
        return [pattern[number % len(pattern)] for number in range(config.num_layers)]

    @property
    def receptive_field(self) -> int | None:
        """How many tokens an output sees, the last one included; None: all."""
        reach = [layer.mixer.reach for layer in self.layers]
        return None if None in reach else 1 + sum(map(int, filter(None, reach)))

    def __call__(
        self,
        source: Array,
        source_mask: Array,
        target_in: Array,
        *,
        key: Array | None = None,
        carry: Any = None,
        taps: Taps | None = None,
    ):
        x_BND, mask_BN = self.inputs.embed_target(target_in), None
        if carry is None:
            x_BND, mask_BN = self._append(source, source_mask, x_BND, None)
        x_BND, carry, captured = self._read(x_BND, mask_BN, carry, taps, fold(key, 0))
        readout_BTD = x_BND[:, x_BND.shape[1] - target_in.shape[1] :]
        return Output(self.logits(readout_BTD), carry, captured, readout_BTD)

    def start(
        self,
        source: Array,
        source_mask: Array,
        max_len: int,
        prefix: Array | None = None,
        prefix_mask: Array | None = None,
    ):
        if prefix is None:
            prefix = jnp.zeros((source_mask.shape[0], 0), jnp.int32)
        x_BND, mask_BN = self._append(source, source_mask, self.inputs.embed_target(prefix), prefix_mask)
        carry = self._start_carry(source_mask.shape[0])
        if x_BND.shape[1]:
            _, carry, _ = self._read(x_BND, mask_BN, carry)
        pairs = [layer.mixer.open(own, max_len) for layer, own in zip(self.layers, carry.layers, strict=True)]
        memories, states = zip(*pairs, strict=True)
        return Carry(carry.count_B, memories), states

    def step(self, token_B: Array, t: Array, memory: Any, state: Any):
        span, after = Span.of(memory.count_B + t, 1, None, self.positions), []
        x_BD = self.positions.add(self.inputs.embed_target(token_B[:, None]), span.position_BT)[:, 0]
        for layer, own, before in zip(self.layers, memory.layers, state, strict=True):
            x_BD, now = layer.step(x_BD, t, span, own, before)
            after.append(now)
        if self.last_norm is not None:
            x_BD = self.last_norm(x_BD)
        return self.logits(x_BD), tuple(after)

    def tap_names(self):
        return tuple(self._taps())

    def _taps(self) -> dict[str, tuple[int, ...]]:
        """Each tap's axes that are tokens."""
        found: dict[str, tuple[int, ...]] = {"decoder.inputs": (1,)}
        for number, layer in enumerate(self.layers):
            own = {"hidden": (1,)} | dict(layer.mixer.taps)
            found |= {f"decoder.{number}.{name}": axes for name, axes in own.items()}
        return found

    def _start_carry(self, rows: int) -> Carry:
        return Carry(jnp.zeros(rows, jnp.int32), tuple(layer.mixer.start_carry(rows) for layer in self.layers))

    def _append(
        self, source: Array, source_mask: Array, x_BTD: Array, mask_BT: Array | None
    ) -> tuple[Array, Array | None]:
        """Source and target in one sequence, and its mask, or None where all of it is real."""
        if not source_mask.shape[1]:
            return x_BTD, mask_BT
        if mask_BT is None:
            mask_BT = jnp.ones(x_BTD.shape[:2], bool)
        x_BTD = jnp.concatenate([self.inputs.embed_source(source), x_BTD], axis=1)
        return x_BTD, jnp.concatenate([source_mask, mask_BT], axis=1)

    def _read(
        self,
        x_BND: Float[Array, "B N D"],
        mask_BN: Bool[Array, "B N"] | None,
        carry: Carry | None,
        taps: Taps | None = None,
        key: Key[Array, ""] | None = None,
    ) -> tuple[Float[Array, "B N D"], Carry, dict[str, Array]]:
        """(hidden states, carry, what was captured) of a sequence, or of its next chunk."""
        B, N, _ = x_BND.shape
        before_B = (
            jnp.zeros(1, jnp.int32) if carry is None else carry.count_B
        )  # one row serves all where it is the same
        axes, order_BN, length_B = self._taps(), None, None
        if mask_BN is not None:
            x_BND, mask_BN, order_BN = to_front(x_BND, mask_BN)
            length_B = lengths_of(mask_BN)
            taps = moved(taps or {}, axes, order_BN)
        tap, span = Tapper(taps, tuple(axes)), Span.of(before_B, N, length_B, self.positions)
        x_BND = self.positions.add(tap("decoder.inputs", x_BND), span.position_BT)
        x_BND = dropout(x_BND, self.dropout_rate, fold(key, 0))
        after = []
        for number, (layer, own) in enumerate(zip(self.layers, (carry or self._start_carry(B)).layers, strict=True)):
            run = partial(layer, span=span, carry=own, name=f"decoder.{number}.", tap=tap, key=fold(key, number + 1))
            # What is tapped must leave the layer, which nothing does that is computed anew in the backward pass.
            x_BND, own = (jax.checkpoint(run) if self.remat and not tap.taps else run)(x_BND)
            after.append(own)
        if self.last_norm is not None:
            x_BND = self.last_norm(x_BND)
        captured = tap.captured
        if order_BN is not None:
            x_BND, captured = put_back(x_BND, order_BN), moved(captured, axes, jnp.argsort(order_BN, axis=1))
        count_B = jnp.broadcast_to(before_B + (N if length_B is None else length_B), B)
        return x_BND, Carry(count_B, tuple(after)), captured


def moved(values: Mapping[str, Array | None], axes: Mapping[str, tuple[int, ...]], place_BN: Int[Array, "B N"]) -> dict:
    """Tapped values with the tokens at these places, along each of their axes that are tokens."""
    return {
        name: value if value is None else _pick(value, axes.get(name, ()), place_BN) for name, value in values.items()
    }


def _pick(x: Array, axes: tuple[int, ...], place_BN: Array) -> Array:
    for axis in axes:
        shape = [1] * x.ndim
        shape[0], shape[axis] = place_BN.shape
        x = jnp.take_along_axis(x, place_BN.reshape(shape), axis)
    return x


class ConvDecoder(Decoder):
    """Convolutions throughout (Bai et al. 2018)."""

    pattern = ("conv",)


class MinGRUDecoder(Decoder):
    """minGRU throughout (Feng et al. 2024)."""

    pattern = ("min_gru",)


class MinLSTMDecoder(Decoder):
    """minLSTM throughout (Feng et al. 2024)."""

    pattern = ("min_lstm",)


class LRUDecoder(Decoder):
    """Linear recurrent units throughout (Orvieto et al. 2023)."""

    pattern = ("lru",)


class LinearAttentionDecoder(Decoder):
    """Linear attention throughout (Katharopoulos et al. 2020)."""

    pattern = ("linear_attention",)


class DeltaNetDecoder(Decoder):
    """The delta rule throughout, gated or not (Yang et al. 2024, 2025)."""

    pattern = ("delta_net",)


class MambaDecoder(Decoder):
    """Selective state spaces throughout (Gu & Dao 2023)."""

    pattern = ("mamba",)


class MLSTMDecoder(Decoder):
    """mLSTM throughout (Beck et al. 2024)."""

    pattern = ("mlstm",)
