"""The convolutional encoder-decoder (Gehring et al. 2017): gated convolutions, with attention in every decoder layer.

With e_j the embedding of source token j plus its position, g_t that of target_in, r = sqrt(1/2), and GLU the first half
of a vector times the sigmoid of the second (Dauphin et al. 2017),

    encoder:    x_0 = W e + b               x_l = r (GLU(U_l [x_{j-w} ... x_{j+w}] + c_l) + x_{l-1})     z = W' x_L + b'
    decoder:    y_0 = V g + d               h_l = GLU(K_l [y_{t-2w} ... y_t] + k_l)
                q_l = r (Q_l h_l + q'_l + g)                               a_l = softmax over j of q_l . z_j
                o_l = r (h_l + C_l sqrt(S) sum_j a_lj r (z_j + e_j) + c'_l)                    y_l = r (o_l + y_{l-1})
    output:     V' y_L + d'

Each sum of two is scaled by r, and a mean of S by sqrt(S), so that variances stay (section 3.5; at queries and values
as in the authors' code). Left out are weight normalization and the scaling of the encoder's gradients.

Dims: B batch, S source length, T target length, P prefix length, E embedding width, D width of the convolutions,
k inputs that an output sees, N = T + k - 1.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from ml_collections import ConfigDict

from models.attention_scores import masked_softmax
from models.contract import Output, Spec, Taps
from models.dropout import dropout, fold
from models.layers import Embedded, Inputs, Linear, OutputHead
from models.options import EVERY, Option, width
from models.padding import ending, lengths_of, to_front
from models.positions import POSITIONS, positions_of
from models.remat import remat
from models.shapes import Array, Bool, Float, Int
from models.taps import Tapper
from models.widened import widened

ROOT = 0.5**0.5
SCALE = 0.1  # of the entries of embeddings at the start (section 3.5): attention begins nearly even

NO_TAPS = Tapper(None, ())

evenly = nnx.initializers.variance_scaling(1.0, "fan_in", "normal")


class Memory(NamedTuple):
    """The encoded source."""

    keys_BSE: Float[Array, "B S E"]  # z
    values_BSE: Float[Array, "B S E"]  # r (z + e)
    mask_BS: Bool[Array, "B S"]


class Carry(NamedTuple):
    """What a chunk of the target leaves to the next."""

    count_B: Int[Array, "B"]  # tokens read
    layers: tuple[Float[Array, "B _ D"], ...]  # each layer's last k - 1 inputs, zeros before the first


class GatedConv(nnx.Module):
    """GLU(U [x_{n-k+1} ... x_n] + c), at every place that has so many inputs."""

    def __init__(self, size: int, kernel_size: int, dropout_rate: float, *, dtype: DTypeLike, rngs: nnx.Rngs):
        init = nnx.initializers.variance_scaling(
            4.0 * (1.0 - dropout_rate), "fan_in", "normal"
        )  # a GLU takes a quarter
        self.inputs = Linear(kernel_size * size, 2 * size, kernel_init=init, dtype=dtype, rngs=rngs)  # oldest first
        self.kernel_size = kernel_size

    def __call__(self, x_BND: Float[Array, "B N D"]) -> Float[Array, "B T D"]:
        T = x_BND.shape[1] - self.kernel_size + 1
        beside = jnp.concatenate([x_BND[:, at : at + T] for at in range(self.kernel_size)], axis=-1)
        value_BTD, gate_BTD = jnp.split(self.inputs(beside), 2, axis=-1)
        return value_BTD * jax.nn.sigmoid(gate_BTD)


class DecoderLayer(nnx.Module):
    """A causal convolution, and attention to the source."""

    def __init__(self, config: ConfigDict, conv: GatedConv, rngs: nnx.Rngs):
        E, D, dtype = config.embed_size, config.hidden_size, jnp.dtype(config.dtype)
        self.conv = conv
        self.query = Linear(D, E, kernel_init=evenly, dtype=dtype, rngs=rngs)
        self.context = Linear(E, D, kernel_init=evenly, dtype=dtype, rngs=rngs)

    def __call__(
        self,
        x_BTD: Float[Array, "B T D"],
        window_BND: Float[Array, "B N D"],
        embedded_BTE: Float[Array, "B T E"],
        memory: Memory,
        name: str = "",
        tap: Tapper = NO_TAPS,
    ) -> Float[Array, "B T D"]:
        """From y of the layer below, and the same with the k - 1 inputs before it, dropped out."""
        hidden_BTD = self.conv(window_BND)
        query_BTE = (self.query(hidden_BTD) + embedded_BTE) * ROOT
        wide = jnp.promote_types(query_BTE.dtype, jnp.float32)
        scores_BTS = widened(jnp.matmul, query_BTE, memory.keys_BSE.swapaxes(1, 2), wide)
        weights_BTS = tap(f"{name}cross_attention", masked_softmax(scores_BTS, memory.mask_BS))
        root_B11 = jnp.sqrt(lengths_of(memory.mask_BS).astype(wide))[:, None, None]
        context_BTE = (weights_BTS * root_B11).astype(query_BTE.dtype) @ memory.values_BSE
        return tap(f"{name}hidden", ((hidden_BTD + self.context(context_BTE)) * ROOT + x_BTD) * ROOT)


class Conv(Embedded):
    """Both sides read with convolutions alone: how far a token sees is what their depth and width make it.

    The decoding state is each layer's last k - 1 inputs in a ring, of which a step writes one.
    """

    needs_source = True

    @classmethod
    def options(cls):
        return EVERY | {
            "embed_size": width(1, "width of the embeddings, where attention compares"),
            "kernel_size": Option(3, "inputs that an output of one convolution sees, an odd number", least=3),
            "positions": Option("learned", "how order is known", choices=("none", "sinusoidal", "learned")),
        }

    def __init__(self, config: ConfigDict, spec: Spec, rngs: nnx.Rngs):
        """Raises ValueError for an even kernel."""
        E, D, k, tied = config.embed_size, config.hidden_size, config.kernel_size, config.tie_embeddings
        if k % 2 == 0:
            raise ValueError(
                f"model.kernel_size = {k} has no middle for the encoder; use an odd one, such as {k - 1} or {k + 1}"
            )
        dtype = jnp.dtype(config.dtype)

        def linear(in_size: int, out_size: int) -> Linear:
            return Linear(in_size, out_size, kernel_init=evenly, dtype=dtype, rngs=rngs)

        def conv() -> GatedConv:
            return GatedConv(D, k, config.dropout_rate, dtype=dtype, rngs=rngs)

        self.inputs = Inputs(spec, E, tied=tied, dtype=dtype, rngs=rngs)
        kind = POSITIONS[config.positions]
        self.source_positions = kind(spec.trained_lengths[0], E, 1, rngs)
        self.target_positions = kind(spec.trained_lengths[1], E, 1, rngs)
        self.encoder_in, self.encoder_out = linear(E, D), linear(D, E)
        self.encoder = nnx.List([conv() for _ in range(config.num_layers)])
        self.decoder_in, self.decoder_out = linear(E, D), linear(D, E)
        self.decoder = nnx.List([DecoderLayer(config, conv(), rngs) for _ in range(config.num_layers)])
        self.head = OutputHead(spec, E, E, tied=tied, dtype=dtype, rngs=rngs)
        self.before, self.hidden_size, self.dtype = k - 1, D, dtype
        self.dropout_rate, self.remat = config.dropout_rate, config.remat

    @property
    def receptive_field(self) -> int:
        """How many tokens of target_in an output sees, the last one included; the encoder sees as many of its own."""
        return 1 + self.before * len(self.decoder)

    def __call__(
        self,
        source: Array,
        source_mask: Array,
        target_in: Array,
        *,
        key: Array | None = None,
        carry: Carry | None = None,
        taps: Taps | None = None,
    ) -> Output:
        tap = Tapper(taps, self.tap_names())
        memory = self._encode(source, source_mask, tap, fold(key, 0))
        x_BTD, carry = self._read(self.inputs.embed_target(target_in), None, memory, carry, tap, fold(key, 1))
        readout_BTE = dropout(self.decoder_out(x_BTD), self.dropout_rate, fold(key, 2))
        return Output(self.logits(readout_BTE), carry, tap.captured, readout_BTE)

    def start(
        self,
        source: Array,
        source_mask: Array,
        max_len: int,
        prefix: Array | None = None,
        prefix_mask: Array | None = None,
    ):
        memory = self._encode(source, source_mask, NO_TAPS, None)
        carry = self._start_carry(len(source_mask))
        if prefix is not None and prefix.shape[1]:
            mask_BP = jnp.ones(prefix.shape, bool) if prefix_mask is None else prefix_mask
            x_BPE, mask_BP, _ = to_front(self.inputs.embed_target(prefix), mask_BP)
            _, carry = self._read(x_BPE, lengths_of(mask_BP), memory, carry, NO_TAPS)
        return (memory, carry.count_B), carry.layers

    def step(self, token_B: Array, t: Array, memory: tuple[Memory, Array], state: tuple[Array, ...]):
        encoded, count_B = memory
        place, after = (t + jnp.arange(self.before)) % self.before, []
        x_B1E = self._embed(self.inputs.embed_target(token_B[:, None]), count_B[:, None] + t, target=True)
        x_B1D = self.decoder_in(x_B1E)
        for layer, ring_BND in zip(self.decoder, state, strict=True):
            window_BkD = jnp.concatenate([ring_BND[:, place], x_B1D], axis=1)
            after.append(jax.lax.dynamic_update_slice_in_dim(ring_BND, x_B1D, t % self.before, axis=1))
            x_B1D = layer(x_B1D, window_BkD, x_B1E, encoded)
        return self.logits(self.decoder_out(x_B1D[:, 0])), tuple(after)

    def tap_names(self):
        names = ["encoder.inputs", *(f"encoder.{number}.hidden" for number in range(len(self.encoder)))]
        kinds = ("hidden", "cross_attention")  # (B, T, S), of one head
        return (*names, "decoder.inputs", *(f"decoder.{n}.{kind}" for n in range(len(self.decoder)) for kind in kinds))

    def _embed(self, x: Array, position: Array, *, target: bool) -> Array:
        return (self.target_positions if target else self.source_positions).add(x, position) * SCALE

    def _start_carry(self, rows: int) -> Carry:
        zeros_BND = jnp.zeros((rows, self.before, self.hidden_size), self.dtype)
        return Carry(jnp.zeros(rows, jnp.int32), (zeros_BND,) * len(self.decoder))

    def _encode(self, source: Array, mask_BS: Bool[Array, "B S"], tap: Tapper, key: Array | None) -> Memory:
        """What lies beyond a sentence's ends, padding or not, is zero to every convolution."""
        e_BSE = self._embed(
            tap("encoder.inputs", self.inputs.embed_source(source)), positions_of(mask_BS), target=False
        )
        e_BSE = dropout(e_BSE, self.dropout_rate, fold(key, 0))
        x_BSD, side = self.encoder_in(e_BSE), self.before // 2

        def layer(conv: GatedConv, x_BSD: Array, key: Array | None) -> Array:
            real_BSD = jnp.where(mask_BS[:, :, None], dropout(x_BSD, self.dropout_rate, key), 0)
            return (conv(jnp.pad(real_BSD, ((0, 0), (side, side), (0, 0)))) + x_BSD) * ROOT

        for number, conv in enumerate(self.encoder):
            run = partial(layer, conv, key=fold(key, number + 1))
            x_BSD = tap(f"encoder.{number}.hidden", (remat(run) if self.remat else run)(x_BSD))
        z_BSE = self.encoder_out(x_BSD)
        return Memory(z_BSE, (z_BSE + e_BSE) * ROOT, mask_BS)

    def _read(
        self,
        x_BTE: Float[Array, "B T E"],
        length_B: Int[Array, "B"] | None,
        memory: Memory,
        carry: Carry | None,
        tap: Tapper,
        key: Array | None = None,
    ) -> tuple[Float[Array, "B T D"], Carry]:
        """Of each row the first `length_B` tokens are real; None: all."""
        (B, T, _), after = x_BTE.shape, []
        count_B, inputs = carry or self._start_carry(B)
        g_BTE = self._embed(tap("decoder.inputs", x_BTE), count_B[:, None] + jnp.arange(T), target=True)
        g_BTE = dropout(g_BTE, self.dropout_rate, fold(key, 0))
        x_BTD = self.decoder_in(g_BTE)
        for number, (layer, before_BND) in enumerate(zip(self.decoder, inputs, strict=True)):
            dropped_BTD = dropout(x_BTD, self.dropout_rate, fold(key, number + 1))
            window_BND = jnp.concatenate([before_BND, dropped_BTD], axis=1)
            run = partial(layer, memory=memory, name=f"decoder.{number}.", tap=tap)
            # What is tapped must leave the layer, which nothing does that is computed anew in the backward pass.
            x_BTD = (remat(run) if self.remat and not tap.taps else run)(x_BTD, window_BND, g_BTE)
            after.append(ending(window_BND, self.before, length_B))
        return x_BTD, Carry(count_B + (T if length_B is None else length_B), tuple(after))
