"""RNN encoder-decoders with attention; `models/seq2seq.py` has the equations.

Without input feeding the decoder runs over the whole target first and all its states attend at once.
With it, attention is part of the scan; keys, the target's share of the first layer's gates and the
output layer stay outside.

Dims: B batch, S source length, T target length, E embedding width, H hidden width, C encoder's output
width.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import nnx
from ml_collections import ConfigDict

from models.attention_scores import SCORES, Score, masked_softmax
from models.cells import Carry, GRUCell, LSTMCell, TanhCell
from models.contract import Spec, Taps
from models.dropout import fold
from models.layers import Linear
from models.options import Option, width
from models.recurrent import NO_TAPS, hold, perturb, pick, scan_taps, swap
from models.scan import Dense, LinearFn, linear_of, scan, scan_remat
from models.seq2seq import EncoderDecoder
from models.shapes import Array, Float
from models.taps import Tapper

WEIGHTS_TAP = "decoder.attention"  # (B, T, S)

State = tuple[tuple[Carry, ...], Array]  # every layer's carry, and the attentional state
Constants = tuple[tuple[Array, ...], Array]  # of the scores, and the source mask


class AttentionSeq2Seq(EncoderDecoder):
    """Encoder-decoder with attention  (Bahdanau et al. 2015; Luong et al. 2015).

    The decoder's state is every layer's carry and the attentional state a_{t-1}, (B, H), which stays
    zero without input feeding; memory is the encoder's outputs, their keys and the source mask.
    """

    @classmethod
    def options(cls):
        return super().options() | {
            "attention.score": Option("additive", "how a query is compared with a key", choices=tuple(SCORES)),
            "attention.size": width(1, "width of the additive and concat scores"),
            "attention.input_feeding": Option(True, "feed the last attentional output to the next step"),
        }

    def __init__(self, config: ConfigDict, spec: Spec, rngs: nnx.Rngs):
        kind = _score(config)
        super().__init__(config, spec, rngs)
        memory_size, hidden_size = self.encoder.out_size, config.hidden_size
        self.score = kind(hidden_size, memory_size, config.attention.size, dtype=self.dtype, rngs=rngs)
        self.combine = Linear(memory_size + hidden_size, hidden_size, dtype=self.dtype, rngs=rngs)
        self.input_feeding = config.attention.input_feeding
        self.embed_size = config.embed_size

    @classmethod
    def decoder_in_size(cls, config: ConfigDict):
        return config.embed_size + (config.hidden_size if config.attention.input_feeding else 0)

    def begin(self, source: Array, source_mask: Array, *, key: Array | None = None, tapper: Tapper = NO_TAPS):
        """Returns (memory, the decoder's first state)."""
        values_SBC, carries = self.encode(source, source_mask, key=key, tapper=tapper)
        values_BSC = swap(values_SBC).astype(self.dtype)
        memory = {"values": values_BSC, "keys": self.score.keys(values_BSC), "mask": source_mask}
        carries = self.bridge(carries)
        return memory, (carries, jnp.zeros_like(carries[-1][0]))

    def weights(self, memory: Mapping[str, Array]) -> dict[str, Dense]:
        """The linear maps of `attend` for one source."""
        scores = self.score.weights(memory["keys"])
        return {**scores, "memory": Dense(memory["values"]), "combine": self.combine.dense()}

    def constants(self, memory: Mapping[str, Array]) -> Constants:
        return self.score.constants(memory["keys"]), memory["mask"]

    def feeding_weights(self) -> dict[str, Dense]:
        """The linear maps of the decoder's cells where a_{t-1} is fed, but for the first layer's of y_t."""
        weights = {"feed": self.decoder.layers[0].inputs(self.embed_size, bias=False)}
        for number, cell in enumerate(self.decoder.layers):
            weights[f"{number}.recurrent"] = cell.recurrent()
            if number:
                weights[f"{number}.input"] = cell.inputs()
        return weights

    def feeding_step(self, tapper: Tapper = NO_TAPS):
        """The step of a scan over (projected y_t, mask, keep, added), where keep drops between layers."""
        kinds, scores = [type(cell) for cell in self.decoder.layers], type(self.score).scores
        names = [[f"decoder.{number}.{part}" for part in kind.parts] for number, kind in enumerate(kinds)]
        _, wanted = scan_taps(tapper, self.scan_tap_names())

        def step(linear: LinearFn, constants: Constants, state: State, x: Any):
            projected, mask_B, keep, added = x
            carries, attentional_BH = state
            after: list[Carry] = []
            captured: dict[str, Array] = {}
            for number, (kind, carry) in enumerate(zip(kinds, carries, strict=True)):
                if number == 0:
                    gates = linear("feed", attentional_BH, projected)
                else:
                    below_BH = after[-1][0] if keep is None else after[-1][0] * keep[number - 1]
                    gates = linear(f"{number}.input", below_BH, (None,) * kind.gates)
                carry = kind.update(partial(linear, f"{number}.recurrent", carry[0]), gates, carry)
                after.append(perturb(carry, names[number], added))
            attended_B1H, weights_B1S = attend(scores, linear, constants, after[-1][0][:, None], added.get(WEIGHTS_TAP))
            state_after = (tuple(after), attended_B1H[:, 0])
            if mask_B is not None:
                state_after = hold(mask_B, state_after, state)
            for number, carry in enumerate(state_after[0]):
                captured |= pick(carry, names[number], wanted)
            if WEIGHTS_TAP in wanted:
                captured[WEIGHTS_TAP] = weights_B1S
            return state_after, (state_after[1], captured)

        return step

    def run(
        self,
        target_in: Array,
        mask_TB: Array | None,
        memory: Mapping[str, Array],
        state: State,
        *,
        key: Array | None = None,
        tapper: Tapper = NO_TAPS,
    ):
        """Returns (attentional states (B, T, H), the last state)."""
        embedded_TBE = self.embed_target(target_in, key=key, tapper=tapper)
        if self.input_feeding:
            return self.run_feeding(embedded_TBE, mask_TB, memory, state, key=key, tapper=tapper)
        hidden_TBH, carries = self.decoder(
            (embedded_TBE,), mask_TB, state[0], key=fold(key, 3), tapper=tapper, name="decoder"
        )
        added = tapper.taps.get(WEIGHTS_TAP)
        linear, scores = linear_of(self.weights(memory)), type(self.score).scores
        readout_BTH, weights_BTS = attend(scores, linear, self.constants(memory), swap(hidden_TBH), added)
        if tapper.wants(WEIGHTS_TAP):
            tapper.captured[WEIGHTS_TAP] = weights_BTS
        return readout_BTH, (carries, state[1])

    def run_feeding(
        self,
        embedded_TBE: Array,
        mask_TB: Array | None,
        memory: Mapping[str, Array],
        state: State,
        *,
        key: Array | None = None,
        tapper: Tapper = NO_TAPS,
    ):
        added, _ = scan_taps(tapper, self.scan_tap_names())
        if WEIGHTS_TAP in added:
            added[WEIGHTS_TAP] = added[WEIGHTS_TAP][:, :, None]
        keep = None
        if key is not None and self.decoder.dropout_rate:
            ones_TBH = jnp.ones((*embedded_TBE.shape[:2], self.hidden_size))
            layers = range(1, len(self.decoder.layers))
            keep = [self.drop(ones_TBH, self.decoder.dropout_rate, fold(fold(key, 3), layer)) for layer in layers]
        xs = (self.decoder.layers[0].project(embedded_TBE), mask_TB, keep, added)
        weights = self.weights(memory) | self.feeding_weights()
        run = scan_remat if self.decoder.remat else scan
        state, (readout_TBH, captured) = run(
            self.feeding_step(tapper), False, weights, self.constants(memory), state, xs
        )
        if WEIGHTS_TAP in captured:
            captured[WEIGHTS_TAP] = captured[WEIGHTS_TAP][:, :, 0]
        tapper.captured.update({name: swap(value) for name, value in captured.items()})
        return swap(readout_TBH), state

    def __call__(
        self,
        source: Array,
        source_mask: Array,
        target_in: Array,
        *,
        key: Array | None = None,
        carry: State | None = None,
        taps: Taps | None = None,
    ):
        tapper = Tapper(taps, self.tap_names())
        memory, state = self.begin(source, source_mask, key=key, tapper=tapper)
        state = state if carry is None else carry
        readout_BTH, state = self.run(target_in, None, memory, state, key=key, tapper=tapper)
        return self.output(readout_BTH, state, tapper, key)

    def start(
        self,
        source: Array,
        source_mask: Array,
        max_len: int,
        prefix: Array | None = None,
        prefix_mask: Array | None = None,
    ):
        memory, state = self.begin(source, source_mask)
        if prefix is not None:
            _, state = self.run(prefix, None if prefix_mask is None else prefix_mask.T, memory, state)
        return memory, state

    def step(self, token_B: Array, t: Array, memory: Mapping[str, Array], state: State):
        embedded_BE = self.inputs.embed_target(token_B)
        linear, constants = linear_of(self.weights(memory) | self.feeding_weights()), self.constants(memory)
        if self.input_feeding:
            projected = self.decoder.layers[0].project(embedded_BE)
            state, (readout_BH, _) = self.feeding_step()(linear, constants, state, (projected, None, None, {}))
            return self.logits(readout_BH), state
        hidden_BH, carries = self.decoder.step((embedded_BE,), state[0])
        readout_B1H, _ = attend(type(self.score).scores, linear, constants, hidden_BH[:, None])
        return self.logits(readout_B1H[:, 0]), (carries, state[1])

    def scan_tap_names(self):
        return (*self.decoder.tap_names("decoder"), WEIGHTS_TAP)

    def tap_names(self):
        return (*super().tap_names(), WEIGHTS_TAP)


def attend(
    scores: Callable[..., Array],
    linear: LinearFn,
    constants: Constants,
    query_BTH: Float[Array, "B T H"],
    added_BTS: Float[Array, "B T S"] | None = None,
) -> tuple[Float[Array, "B T H"], Float[Array, "B T S"]]:
    """Returns (tanh(W [context; query]), attention weights); `added_BTS` perturbs the weights."""
    score_constants, mask_BS = constants
    weights_BTS = masked_softmax(scores(linear, score_constants, query_BTH), mask_BS)
    if added_BTS is not None:
        weights_BTS = weights_BTS + added_BTS
    context_BTC = linear("memory", weights_BTS)
    return jnp.tanh(linear("combine", jnp.concatenate([context_BTC, query_BTH], axis=-1))), weights_BTS


def _score(config: ConfigDict) -> type[Score]:
    name = config.attention.score
    if SCORES[name].same_width and config.bidirectional:
        raise ValueError(
            f"model.attention.score = {name!r} needs an encoder as wide as the decoder, and"
            " model.bidirectional = True makes it twice as wide; use general or additive"
        )
    return SCORES[name]


class RNNAttention(AttentionSeq2Seq):
    cell = TanhCell


class LSTMAttention(AttentionSeq2Seq):
    cell = LSTMCell


class GRUAttention(AttentionSeq2Seq):
    cell = GRUCell
