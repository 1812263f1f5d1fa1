"""The architectures by name, and the one way to build one."""

from typing import Any

from flax import nnx

from models import choices
from models.contract import Architecture, Spec
from models.recurrent_decoder import GRUDecoder, LSTMDecoder, RNNDecoder
from models.seq2seq import GRU, LSTM, RNN
from models.seq2seq_attention import GRUAttention, LSTMAttention, RNNAttention
from models.shapes import Array, Key
from models.transformer import Transformer
from models.transformer_decoder import TransformerDecoder

MODELS: dict[str, type[Architecture]] = {
    "rnn": RNN,
    "lstm": LSTM,
    "gru": GRU,
    "rnn_attention": RNNAttention,
    "lstm_attention": LSTMAttention,
    "gru_attention": GRUAttention,
    "rnn_decoder": RNNDecoder,
    "lstm_decoder": LSTMDecoder,
    "gru_decoder": GRUDecoder,
    "transformer": Transformer,
    "transformer_decoder": TransformerDecoder,
}

DTYPES = ("float32", "bfloat16")


def build(name: str, config: Any, spec: Spec, key: Key[Array, ""]) -> Architecture:
    """Draws the parameters of architecture `name` from `key`.

    `config` has the keys of `configs.common.model(name)`, by attribute. Raises ValueError, in one line,
    for an unknown name, a value out of range, or an architecture that the task cannot feed.
    """
    choices.check("model", name, MODELS)
    architecture = MODELS[name]
    if architecture.needs_source and spec.source == "none":
        fit = ", ".join(other for other, kind in MODELS.items() if not kind.needs_source)
        raise ValueError(f"model = {name!r} needs a source and the task has none; use one of {fit}")
    if not architecture.causal and spec.free_running:
        fit = ", ".join(other for other, kind in MODELS.items() if kind.causal)
        raise ValueError(f"model = {name!r} sees later inputs, and the task feeds it its answers; use one of {fit}")
    check_values(config)
    # As one program, which the compilation cache keeps: drawn one by one, parameters compile some thirty small ones.
    return nnx.jit(lambda key: architecture(config, spec, nnx.Rngs(params=key)))(key)


def portable(config: Any) -> Any:
    """A copy of a model's config that can be built on any machine: kernels that one has and another may not are left
    to be chosen, which changes results by rounding alone."""
    config = config.copy_and_resolve_references()
    for field, anywhere in (("fused_attention", "auto"), ("backend", "scan")):
        if field in config:
            config[field] = anywhere
    return config


def check_values(config: Any) -> None:
    """Raises ValueError for sizes, rates and dtypes out of range, whatever the architecture."""
    for field, value in config.items():
        if field.endswith("_size") or field.endswith("_dim") or field in ("num_layers", "num_heads"):
            if value < 1:
                raise ValueError(f"model.{field} = {value} is not a positive number; use 1 or more")
        elif field.endswith("_rate") and not 0.0 <= value < 1.0:
            bound = "0.0" if value < 0.0 else "a value below 1, such as 0.9"
            raise ValueError(f"model.{field} = {value} is not in [0, 1); use {bound}")
    choices.check("model.dtype", config.dtype, DTYPES)
