"""The number of parameters of every architecture in closed form, from the sizes alone: what its page would say.

Dims: E embedding width, H hidden width, C encoder's output width, D model width, F feed-forward width, N positions.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

GATES = {"rnn": 1, "lstm": 4, "gru": 3}
PARTS = {"rnn": 1, "lstm": 2, "gru": 1}  # of a carry


def inputs(config, spec, E: int) -> int:
    """Tables for tokens, a linear map for features; one table for both sides where their ids mean the same."""
    alike = spec.shared_vocabulary and spec.source_size == spec.target_size
    source = {"features": spec.source_size + 1, "tokens": spec.source_size, "none": 0}[spec.source]
    shared = spec.source == "tokens" and config.tie_embeddings and alike
    return (spec.target_size + (0 if shared else source)) * E


def head(config, spec, D: int, E: int) -> int:
    """A bias and a kernel, or the target's table and, where widths differ, a map in between."""
    if not (config.tie_embeddings and spec.output == "tokens" and spec.output_size == spec.target_size):
        return (D + 1) * spec.output_size
    return spec.output_size + (D * E if D != E else 0)


def cell(kind: str, in_size: int, H: int) -> int:
    """The GRU's candidate has a bias of its own on the recurrent side."""
    return GATES[kind] * H * (in_size + H + 1) + (H if kind == "gru" else 0)


def cells(kind: str, config, in_size: int, directions: int = 1) -> int:
    H = config.hidden_size
    widths = [in_size] + [H * directions] * config.num_layers
    return directions * sum(cell(kind, width, H) for width, _ in pairwise(widths))


def recurrent_decoder(kind: str, config, spec) -> int:
    E, H = config.embed_size, config.hidden_size
    return inputs(config, spec, E) + cells(kind, config, E) + head(config, spec, H, E)


def encoder_decoder(kind: str, config, spec, decoder_in_size: int) -> int:
    E, H, directions = config.embed_size, config.hidden_size, 2 if config.bidirectional else 1
    bridge = config.num_layers * PARTS[kind] * (2 * H + 1) * H if config.bidirectional else 0
    stacks = cells(kind, config, E, directions) + bridge + cells(kind, config, decoder_in_size)
    return inputs(config, spec, E) + stacks + head(config, spec, H, E)


def fixed_context(kind: str, config, spec) -> int:
    H, C = config.hidden_size, config.hidden_size * (2 if config.bidirectional else 1)
    if config.context == "start":
        return encoder_decoder(kind, config, spec, config.embed_size)
    return encoder_decoder(kind, config, spec, config.embed_size + C) + (C + H + 1) * H


def recurrent_attention(kind: str, config, spec) -> int:
    H, C = config.hidden_size, config.hidden_size * (2 if config.bidirectional else 1)
    additive = (H + C + 1) * config.attention.size
    scores = {"additive": additive, "concat": additive, "general": H * C, "dot": 0, "scaled_dot": 0}
    fed = H if config.attention.input_feeding else 0
    base = encoder_decoder(kind, config, spec, config.embed_size + fed)
    return base + scores[config.attention.score] + (C + H + 1) * H


def linear(in_size: int, out_size: int, use_bias: bool = True) -> int:
    return in_size * out_size + (out_size if use_bias else 0)


def attention(config) -> int:
    """Queries, keys, values and the output; heads of keys may be fewer."""
    D, H = config.hidden_size, config.num_heads
    V, groups = D // H, config.num_kv_heads or H
    K = config.key_size or V
    return linear(D, H * K + groups * (K + V), config.use_bias) + linear(D, D, config.use_bias)


def norm(config) -> int:
    return config.hidden_size * (2 if config.norm_kind == "layernorm" else 1)


def mlp(config) -> int:
    """Two maps, or three with a gate; then a second one inwards."""
    D, F = config.hidden_size, config.mlp_dim
    inwards = 2 if config.activation == "swiglu" else 1
    return inwards * linear(D, F, config.use_bias) + linear(F, D, config.use_bias)


def table(config, positions: int, sides: int) -> int:
    """A row for each position; a scalar for each head and distance, or each of 32 buckets."""
    longest = max(positions, 1)
    relative = 1 + sides * min(longest - 1, 128)
    entries = {"learned": longest * config.hidden_size, "relative": relative * config.get("num_heads", 1)}
    V = config.hidden_size // config.get("num_heads", 1)
    shaw = (1 + sides * min(longest - 1, 16)) * (V + (config.get("key_size", 0) or V))
    return (entries | {"t5": 32 * config.get("num_heads", 1), "shaw": shaw}).get(config.positions, 0)


def last_norm(config) -> int:
    return norm(config) if config.norm == "pre" else 0


def layers(config, N: int, attentions: int = 1, sides: int = 1) -> int:
    """Layers of a stack whose queries see one side or both, and what is beside them."""
    layer = attentions * attention(config) + mlp(config) + (attentions + 1) * norm(config)
    return config.num_layers * layer + table(config, N, sides) + last_norm(config)


def transformer(config, spec) -> int:
    D = config.hidden_size
    stacks = layers(config, spec.trained_lengths[0], sides=2) + layers(config, spec.trained_lengths[1], attentions=2)
    return inputs(config, spec, D) + stacks + head(config, spec, D, D)


def transformer_encoder(config, spec) -> int:
    D = config.hidden_size
    return inputs(config, spec, D) + layers(config, 1 + spec.trained_lengths[0], sides=2) + head(config, spec, D, D)


def transformer_decoder(config, spec) -> int:
    D = config.hidden_size
    return inputs(config, spec, D) + layers(config, sum(spec.trained_lengths)) + head(config, spec, D, D)


def conv(config, spec) -> int:
    """In and out of each side; a convolution makes two of its width, and attention leads to the embeddings and back."""
    E, D, L = config.embed_size, config.hidden_size, config.num_layers
    across = linear(E, D) + linear(D, E)
    convolutions = 2 * L * linear(config.kernel_size * D, 2 * D)
    lengths = (max(length, 1) for length in spec.trained_lengths)
    learned = sum(lengths) * E if config.positions == "learned" else 0
    return inputs(config, spec, E) + learned + (2 + L) * across + convolutions + head(config, spec, E, E)


def stepped(kind: str, config) -> int:
    D = config.hidden_size
    return cell(kind, D, D) + linear(D, D)


def minimal(own, gates: int, D: int) -> int:
    """Gates and a candidate, as wide as the state."""
    size = own.expansion * D
    return linear(D, (gates + 1) * size) + linear(size, D)


def lru(config) -> int:
    """Three numbers for each complex one of the state, two matrices of complex numbers, a bias and a skip."""
    D, N = config.hidden_size, config.lru.expansion * config.hidden_size
    return 3 * N + 2 * D * 2 * N + 2 * D


def delta_net(config) -> int:
    D, own = config.hidden_size, config.delta_net
    conv = 3 * D * (own.kernel_size + 1)
    gated = linear(D, own.num_heads) + own.num_heads + D * D if own.gated else 0
    return 3 * D * D + conv + linear(D, own.num_heads) + gated + D // own.num_heads + linear(D, D)


def mamba(config) -> int:
    D, own = config.hidden_size, config.mamba
    E, N, R = own.expansion * D, own.state_size, own.rank or -(-D // 16)
    return 2 * D * E + E * (own.kernel_size + 1) + E * (R + 2 * N) + linear(R, E) + E * N + E + linear(E, D)


def mlstm(config) -> int:
    D = config.hidden_size
    return linear(D, 3 * D) + linear(D, 2 * config.mlstm.num_heads) + 2 * linear(D, D)


MIXER_SIZES: dict[str, Callable[[Any], int]] = {
    "attention": attention,
    "local_attention": attention,
    "strided_attention": attention,
    "hierarchical_attention": attention,
    "rnn": lambda config: stepped("rnn", config),
    "lstm": lambda config: stepped("lstm", config),
    "gru": lambda config: stepped("gru", config),
    "conv": lambda config: (
        linear(config.conv.kernel_size * config.hidden_size, config.hidden_size)
        + linear(config.hidden_size, config.hidden_size)
    ),
    "min_gru": lambda config: minimal(config.min_gru, 1, config.hidden_size),
    "min_lstm": lambda config: minimal(config.min_lstm, 2, config.hidden_size),
    "lru": lru,
    "linear_attention": lambda config: 4 * linear(config.hidden_size, config.hidden_size),
    "delta_net": delta_net,
    "mamba": mamba,
    "mlstm": mlstm,
}


def mixer_stack(config, pattern: str, N: int, sides: int = 1, cross: bool = False) -> int:
    """Where both sides are seen, what is not attention is two, if so configured."""
    names = [pattern.split(",")[number % len(pattern.split(","))] for number in range(config.num_layers)]
    twice = 2 if sides == 2 and config.bidirectional else 1
    mixers = sum(MIXER_SIZES[name](config) * (1 if name == "attention" else twice) for name in names)
    crossing = attention(config) + norm(config) if cross else 0
    blocks = mixers + len(names) * (mlp(config) + 2 * norm(config) + crossing)
    acts = config.positions == "learned" or any(name.endswith("attention") for name in names)  # on scores, if at all
    return blocks + (table(config, N, sides) if acts else 0) + last_norm(config)


def decoder(config, spec) -> int:
    D, N = config.hidden_size, sum(spec.trained_lengths)
    stack = mixer_stack(config, config.get("mixers", config.name.removesuffix("_decoder")), N)
    return inputs(config, spec, D) + stack + head(config, spec, D, D)


def two_mixer_stacks(config, spec) -> int:
    D = config.hidden_size
    encoder = mixer_stack(config, config.encoder_mixers, spec.trained_lengths[0], sides=2)
    decoder = mixer_stack(config, config.decoder_mixers, spec.trained_lengths[1], cross=True)
    return inputs(config, spec, D) + encoder + decoder + head(config, spec, D, D)


SIZES: dict[str, Callable[[Any, Any], int]] = {
    "rnn": lambda config, spec: fixed_context("rnn", config, spec),
    "lstm": lambda config, spec: fixed_context("lstm", config, spec),
    "gru": lambda config, spec: fixed_context("gru", config, spec),
    "rnn_attention": lambda config, spec: recurrent_attention("rnn", config, spec),
    "lstm_attention": lambda config, spec: recurrent_attention("lstm", config, spec),
    "gru_attention": lambda config, spec: recurrent_attention("gru", config, spec),
    "conv": conv,
    "rnn_decoder": lambda config, spec: recurrent_decoder("rnn", config, spec),
    "lstm_decoder": lambda config, spec: recurrent_decoder("lstm", config, spec),
    "gru_decoder": lambda config, spec: recurrent_decoder("gru", config, spec),
    "transformer": transformer,
    "transformer_decoder": transformer_decoder,
    "transformer_encoder": transformer_encoder,
    "encoder_decoder": two_mixer_stacks,
    "decoder": decoder,
    "conv_decoder": decoder,
    "min_gru_decoder": decoder,
    "min_lstm_decoder": decoder,
    "lru_decoder": decoder,
    "linear_attention_decoder": decoder,
    "delta_net_decoder": decoder,
    "mamba_decoder": decoder,
    "mlstm_decoder": decoder,
}
