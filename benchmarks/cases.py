"""What is measured: sizes, the work of a step in FLOPs, and one batch of data for every program.

This file is read by our programs and by the peers', in their own environments: the standard library and
numpy alone.
"""

import dataclasses
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Case:
    """One training step, the same for every program: forward, backward, Adam."""

    name: str
    model: str  # rnn, gru, lstm: a stack; gru_attention, transformer: an encoder-decoder; ..._decoder: a language model
    batch: int
    length: int  # of source and target
    hidden: int
    layers: int
    mlp: int = 0
    heads: int = 0
    vocab: int = 0
    dropout: float = 0.0
    label_smoothing: float = 0.0
    devices: int = 2  # that we split the CPU into
    dtype: str = "float32"  # of the computation
    attention_dropout: float | None = None  # of attention weights, where it is not `dropout`
    backend: str = ""  # of an LSTM, or the fused_attention of a Transformer, where it is not the config's default
    keep_pages: bool = True  # in our program; small arrays are allocated faster without
    compiled: bool = False  # torch.compile, for torch's program

    @property
    def is_stack(self) -> bool:
        return self.model in ("rnn", "gru", "lstm")

    @property
    def is_decoder(self) -> bool:
        return self.model.endswith("_decoder")

    @property
    def attention_dropout_rate(self) -> float:
        return self.dropout if self.attention_dropout is None else self.attention_dropout

    @property
    def tokens(self) -> int:
        return self.batch * self.length

    @property
    def torch(self) -> str:
        """What torch calls it."""
        return {"rnn": "nn.RNN", "gru": "nn.GRU", "lstm": "nn.LSTM", "transformer": "nn.Transformer"}.get(
            self.model, "nn.GRUCell in a loop"
        )


def _stacks(model: str) -> list[Case]:
    return [
        Case(f"{model}_128", model, batch=64, length=128, hidden=256, layers=2),
        Case(f"{model}_512", model, batch=64, length=512, hidden=256, layers=2),
        Case(f"{model}_batch16", model, batch=16, length=128, hidden=256, layers=2, keep_pages=False),
        Case(f"{model}_tiny", model, batch=64, length=64, hidden=64, layers=2, keep_pages=False),
    ]


TEXT: dict[str, Any] = {"batch": 64, "length": 32, "hidden": 256, "vocab": 8000}
CASES: dict[str, Case] = {
    case.name: case
    for case in (
        *_stacks("rnn"),
        *_stacks("gru"),
        *_stacks("lstm"),
        Case("attention", "gru_attention", layers=1, **TEXT),
        Case("transformer", "transformer", layers=3, mlp=1024, heads=8, dropout=0.1, label_smoothing=0.1, **TEXT),
    )
}
GATES = {"rnn": 1, "gru": 3, "lstm": 4}


def batch(case: Case) -> dict[str, np.ndarray]:
    """`inputs` and `targets` (B, T, D) of a stack; `source`, `target_in`, `target_out` (B, T) of the others, all
    of the full length: no program gains by skipping padding. A language model's source is empty."""
    random = np.random.default_rng(0)
    shape = (case.batch, case.length)
    if case.is_stack:
        return {name: random.standard_normal((*shape, case.hidden), np.float32) for name in ("inputs", "targets")}
    tokens = {
        name: random.integers(3, case.vocab, shape).astype(np.int32) for name in ("source", "target_in", "target_out")
    }
    return tokens | {"source": tokens["source"][:, :0]} if case.is_decoder else tokens


def flops(case: Case) -> float:
    """Of the matmuls of a step, a multiply-add counted as two; the backward pass takes twice the forward. Causal
    attention counts as if it saw all keys."""
    tokens, H = case.tokens, case.hidden
    gates = GATES.get(case.model.removesuffix("_decoder"))
    if gates:
        forward = case.layers * 2 * tokens * 2 * H * gates * H
    elif case.model == "gru_attention":
        gru = 3 * H
        encoder = 2 * 2 * tokens * (H + H) * gru
        decoder = 2 * tokens * (3 * H) * gru + 2 * tokens * (3 * H) * H  # [y; a] and s; then W [c; s]
        size = ATTENTION_SIZE
        scores = 2 * tokens * (2 * H * size + H * size) + 2 * tokens * case.length * (size + 2 * H)
        forward = encoder + 2 * case.batch * 2 * H * H + decoder + scores
    else:
        attention = 2 * tokens * (4 * H * H + 2 * case.length * H)
        mlp = 2 * tokens * 2 * H * case.mlp
        decoder = case.layers * (attention + mlp)
        forward = decoder if case.is_decoder else decoder + case.layers * (2 * attention + mlp)
    if case.vocab:
        forward += 2 * tokens * H * case.vocab
    return 3 * forward


ATTENTION_SIZE = 128  # of the additive score
