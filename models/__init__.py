"""The architectures by name, and the one way to configure one and to build one."""

from collections.abc import Collection, Mapping
from typing import Any

import jax
from flax import nnx
from ml_collections import ConfigDict

from models import choices, options
from models.contract import LAYOUTS, Architecture, Spec
from models.decoder import (
    ConvDecoder,
    Decoder,
    DeltaNetDecoder,
    LinearAttentionDecoder,
    LRUDecoder,
    MambaDecoder,
    MinGRUDecoder,
    MinLSTMDecoder,
    MLSTMDecoder,
)
from models.encoder_decoder import EncoderDecoder
from models.ngram import NGram
from models.recurrent_decoder import GRUDecoder, LSTMDecoder, RNNDecoder
from models.seq2seq import GRU, LSTM, RNN
from models.seq2seq_attention import GRUAttention, LSTMAttention, RNNAttention
from models.seq2seq_conv import Conv
from models.shapes import Array, Key
from models.transformer import Transformer
from models.transformer_decoder import TransformerDecoder
from models.transformer_encoder import TransformerEncoder

MODELS: dict[str, type[Architecture]] = {
    "rnn": RNN,
    "lstm": LSTM,
    "gru": GRU,
    "rnn_attention": RNNAttention,
    "lstm_attention": LSTMAttention,
    "gru_attention": GRUAttention,
    "conv": Conv,
    "rnn_decoder": RNNDecoder,
    "lstm_decoder": LSTMDecoder,
    "gru_decoder": GRUDecoder,
    "transformer": Transformer,
    "transformer_decoder": TransformerDecoder,
    "transformer_encoder": TransformerEncoder,
    "encoder_decoder": EncoderDecoder,
    "decoder": Decoder,
    "conv_decoder": ConvDecoder,
    "min_gru_decoder": MinGRUDecoder,
    "min_lstm_decoder": MinLSTMDecoder,
    "lru_decoder": LRUDecoder,
    "linear_attention_decoder": LinearAttentionDecoder,
    "delta_net_decoder": DeltaNetDecoder,
    "mamba_decoder": MambaDecoder,
    "mlstm_decoder": MLSTMDecoder,
    "ngram": NGram,
}


def configured(name: str, values: Mapping[str, Any] | None = None) -> ConfigDict:
    """The whole config of architecture `name`: `values`, nested or by dotted key, and its own defaults for the rest.
    Keys of `EVERY` that it has no use for are left out, as tasks set them for any architecture.

    Raises ValueError, in one line, for an unknown name or key.
    """
    choices.check("model", name, MODELS)
    given, known = options.flat(values or {}), MODELS[name].options()
    for key, value in given.items():
        if key not in (*known, *options.EVERY, "name"):
            raise ValueError(f"model.{key} = {value!r} is not a key; {has_no_key(name, key)}")
    return ConfigDict(options.nested({"name": name} | options.complete(known, given)))


def has_no_key(name: str, key: str) -> str:
    """The message for a key that architecture `name` lacks: which architectures have it, and what to use instead."""
    others = who_has(key)
    whose = f" ({', '.join(others)} have)" if others else ""
    return f"{name} has no {key}{whose}; choose from {', '.join(f'model.{own}' for own in MODELS[name].options())}"


def who_has(key: str) -> list[str]:
    """The architectures that can be configured with `key`."""
    return [name for name, kind in MODELS.items() if key in kind.options()]


def described(name: str) -> dict[str, str]:
    """The meaning of each key of architecture `name`, and its allowed values."""
    known = MODELS[name].options()
    said = {
        key: "; ".join(filter(None, (option.comment, option.followed, option.allowed))) for key, option in known.items()
    }
    return {"name": "set by the argument", **said}


def widths(name: str) -> dict[str, int]:
    """The keys of architecture `name` that are widths, and how many times model.hidden_size each is."""
    known = MODELS[name].options()
    return {key: option.width or 1 for key, option in known.items() if option.width or key == "hidden_size"}


def follow_width(name: str, config: ConfigDict, before: int, given: Collection[str]) -> None:
    """After an override of hidden_size, which was `before`: the widths of a model's config that followed it follow it
    still, unless they are `given` (as "model.mlp_dim")."""
    values = options.flat(config)
    if not type(before) is type(values.get("hidden_size")) is int:
        return  # no width, which is refused where values are checked
    following = {key: times for key, times in widths(name).items() if values.get(key) == times * before}
    left = {key: times * config.hidden_size for key, times in following.items() if f"model.{key}" not in given}
    config.update_from_flattened_dict(left)


def set_width(config: ConfigDict, width: int) -> None:
    """Gives every layer of a model's config one width, and the feed-forward layers their multiple of it."""
    config.update_from_flattened_dict({key: times * width for key, times in widths(config.name).items()})


def build(name: str, config: ConfigDict, spec: Spec, key: Key[Array, ""]) -> Architecture:
    """Draws the parameters of architecture `name` from `key`.

    `config` has the keys of `configured(name)`, by attribute. Raises ValueError, in one line, for an unknown name, a
    value out of range, or an architecture that the task cannot feed.
    """
    choices.check("model", name, MODELS)
    architecture = MODELS[name]
    if unfit := _unfit(architecture, spec):
        fit = ", ".join(other for other, kind in MODELS.items() if not _unfit(kind, spec))
        raise ValueError(f"model = {name!r} {unfit}; use one of {fit}")
    check_values(config)
    # Not as one program: that compiles for seconds, and the small ones of each shape serve every other model too.
    rngs = _Rngs(params=key)
    rngs.params = _Keys(key, tag="params")
    return architecture(config, spec, rngs)


def _unfit(architecture: type[Architecture], spec: Spec) -> str:
    """What keeps the task from feeding such an architecture; empty: nothing."""
    if architecture.needs_source and spec.source == "none":
        return "needs a source and the task has none"
    if spec.layout not in architecture.layouts:
        return f"cannot give {LAYOUTS[spec.layout]}, which the task asks for"
    if not architecture.takes_source and spec.source != "none":
        return "is of running text and the task has a source"
    if not architecture.causal and spec.free_running:
        return "sees later inputs, and the task feeds it its answers"
    return ""


class _Rngs(nnx.Rngs):
    params: nnx.RngStream


class _Keys(nnx.RngStream):
    """nnx's stream of keys, counted in Python: under a trace nnx asks its count for a sharding, and the message that
    there is none takes a third of the time that tracing a model takes."""

    drawn = 0

    def __call__(self) -> Array:
        self.drawn += 1
        return jax.random.fold_in(self.key[...], self.drawn - 1)


def portable(config: ConfigDict) -> ConfigDict:
    """A copy of a model's config that can be built on any machine: kernels that one has and another may not are left
    to be chosen, which changes results by rounding alone."""
    config = config.copy_and_resolve_references()
    for field, anywhere in (("fused_attention", "auto"), ("backend", "scan")):
        if field in config:
            config[field] = anywhere
    return config


def check_values(config: ConfigDict) -> None:
    """Raises ValueError for values out of the range that the architecture's options state."""
    given = options.flat(config)
    for key, option in MODELS[config.name].options().items():
        option.check(f"model.{key}", given[key])
