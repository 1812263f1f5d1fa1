"""PyTorch's stacks, its attention alone, an attention seq2seq as teaching codebases write it, and `nn.Transformer`.

`default` is what the documentation shows; `tuned` has the allocator's settings that we give ourselves.
"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks.handover import Weights, read, renamed
from benchmarks.protocol import Program

NAMES = r"""
    \.(weight|bias)_(ih|hh)_l(\d+)_reverse .backward.\3.\1_\2    \.(weight|bias)_(ih|hh)_l(\d+) .layers.\3.\1_\2
    ^decoder\.(weight|bias)_(ih|hh) decoder.layers.0.\1_\2
    weight_ih input_kernel    weight_hh recurrent_kernel    bias_ih bias
    body.(en|de)coder \1coder    self_attn attention    multihead_attn cross_attention
    in_proj_ in_proj.    out_proj output    linear1 mlp.inner    linear2 mlp.outer    norm1 attention_residual.norm
    (decoder\..*)norm2 \1cross_residual.norm    norm[23] mlp_residual.norm    coder\.norm coder.last_norm
    body.norm decoder.last_norm    body decoder
    embedding.weight inputs.target.table    output_bias head.bias    bridge bridge.maps.0
    score_ score.    vector.weight vector    norm.weight norm.scale    \.weight$ .kernel
"""


@torch.no_grad()
def take(model: nn.Module, weights: Weights, names: str = NAMES) -> int:
    """Gives every parameter our values; returns how many they are. A cell's second bias adds nothing to the first but
    for the GRU's candidate gate: the rest of it stays zero and is not counted."""
    num_params = 0
    for peers_name, parameter in model.named_parameters():
        place, _, kind = (name := renamed(peers_name, names)).rpartition("/")
        if kind == "bias_hh":
            candidate = weights.get(f"{place}/candidate_bias", np.zeros(0, np.float32))
            array = np.pad(candidate, (len(parameter) - len(candidate), 0))
            num_params -= len(array) - len(candidate)
        elif place.endswith("in_proj"):
            parts = (place.replace("in_proj", part) for part in ("query", "key", "value"))
            array = np.concatenate([weights[f"{part}/{kind}"] for part in parts], axis=-1)
        else:
            array = weights[name]
        parameter.copy_(torch.tensor(array if kind == "table" else array.T).reshape(parameter.shape))
        num_params += parameter.numel()
    return num_params


class Stack(nn.Module):
    def __init__(self, c: SimpleNamespace, vocab: int):
        super().__init__()
        kind = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[c.name]
        self.stack = kind(c.hidden_size, c.hidden_size, c.num_layers, batch_first=True)

    def forward(self, batch: dict[str, torch.Tensor], smoothing: float) -> torch.Tensor:
        return functional.mse_loss(self.stack(batch["inputs"])[0], batch["targets"])


class AttentionSeq2Seq(nn.Module):
    """A bidirectional GRU encoder, and a decoder that runs a `GRUCell` and additive attention word by word."""

    def __init__(self, c: SimpleNamespace, vocab: int):
        super().__init__()
        H, A = c.hidden_size, c.attention.size
        self.embedding, self.output_bias = nn.Embedding(vocab, H), nn.Parameter(torch.zeros(vocab))
        self.encoder = nn.GRU(H, H, batch_first=True, bidirectional=True)
        self.bridge, self.combine, self.decoder = nn.Linear(2 * H, H), nn.Linear(3 * H, H), nn.GRUCell(2 * H, H)
        self.score_memory, self.score_query = nn.Linear(2 * H, A, bias=False), nn.Linear(H, A, bias=False)
        self.score_vector = nn.Linear(A, 1, bias=False)

    def forward(self, batch: dict[str, torch.Tensor], smoothing: float) -> torch.Tensor:
        scale = self.embedding.embedding_dim**0.5
        memory, last = self.encoder(self.embedding(batch["source"]) * scale)
        state = torch.tanh(self.bridge(torch.cat([last[0], last[1]], dim=-1)))
        attentional = torch.zeros_like(state)
        keys = self.score_memory(memory)
        embedded, logits = self.embedding(batch["target_in"]) * scale, []
        for t in range(embedded.shape[1]):
            state = self.decoder(torch.cat([embedded[:, t], attentional], dim=-1), state)
            scores = self.score_vector(torch.tanh(self.score_query(state)[:, None] + keys))[..., 0]
            context = torch.bmm(torch.softmax(scores, dim=-1)[:, None], memory)[:, 0]
            attentional = torch.tanh(self.combine(torch.cat([context, state], dim=-1)))
            logits.append(functional.linear(attentional, self.embedding.weight, self.output_bias))
        return cross_entropy(torch.stack(logits, dim=1), batch, smoothing)


class Transformer(nn.Module):
    """`nn.Transformer`, or a causal `nn.TransformerEncoder` over source and target; pre-norm, tied, sinusoids."""

    def __init__(self, c: SimpleNamespace, vocab: int):
        super().__init__()
        H, layers = c.hidden_size, c.num_layers
        self.embedding, self.output_bias = nn.Embedding(vocab, H), nn.Parameter(torch.zeros(vocab))
        how: dict[str, Any] = {"batch_first": True, "norm_first": True}
        if c.name == "transformer":
            self.body = nn.Transformer(H, c.num_heads, layers, layers, c.mlp_dim, c.dropout_rate, **how)
        else:
            layer = nn.TransformerEncoderLayer(H, c.num_heads, c.mlp_dim, c.dropout_rate, **how)
            self.body = nn.TransformerEncoder(layer, layers, nn.LayerNorm(H), enable_nested_tensor=False)
        self.dropout = nn.Dropout(c.dropout_rate)
        for part in self.body.modules():
            if isinstance(part, nn.MultiheadAttention):
                part.dropout = c.attention_dropout_rate

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        size, position = self.embedding.embedding_dim, torch.arange(ids.shape[1], device=ids.device)
        angles = position[:, None] * 10000 ** (-torch.arange(0, size, 2, device=ids.device) / size)
        sinusoids = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)
        return self.dropout(self.embedding(ids) * size**0.5 + sinusoids)

    def forward(self, batch: dict[str, torch.Tensor], smoothing: float) -> torch.Tensor:
        source, target, both = batch["source"], batch["target_in"], isinstance(self.body, nn.Transformer)
        read = self.embed(target if both else torch.cat([source, target], dim=1))
        causal = nn.Transformer.generate_square_subsequent_mask(read.shape[1], device=read.device)
        if both:
            states = self.body(self.embed(source), read, tgt_mask=causal, tgt_is_causal=True)
        else:
            states = self.body(read, causal, is_causal=True)[:, source.shape[1] :]
        return cross_entropy(functional.linear(states, self.embedding.weight, self.output_bias), batch, smoothing)


def core(batch: dict[str, torch.Tensor]) -> Program:
    """Causal attention between its projections, and its gradients."""
    read = [batch[name].requires_grad_() for name in ("query", "key", "value")]

    def loss() -> torch.Tensor:
        return functional.mse_loss(functional.scaled_dot_product_attention(*read, is_causal=True), batch["target"])

    return Program({"num_params": 0, "loss": float(loss())}, lambda: torch.autograd.grad(loss(), read), lambda: None)


def cross_entropy(logits: torch.Tensor, batch: dict[str, torch.Tensor], smoothing: float) -> torch.Tensor:
    return functional.cross_entropy(logits.flatten(0, 1), batch["target_out"].flatten(), label_smoothing=smoothing)


def program(case: SimpleNamespace, folder: Path) -> Program:
    """A training step, from our weights."""
    given, compiled, gpu = read(folder), case.setting == "compiled", torch.cuda.is_available()
    config, device, said = given.config.model, "cuda" if gpu else "cpu", dict[str, float]()
    batch: dict[str, torch.Tensor] = {name: torch.from_numpy(array).to(device) for name, array in given.batch.items()}
    batch = {name: x.long() if x.dtype == torch.int32 else x for name, x in batch.items()}
    if "query" in batch:
        return core(batch)

    kinds = {"transformer": Transformer, "transformer_decoder": Transformer, "gru_attention": AttentionSeq2Seq}

    def build(**changed: Any) -> nn.Module:
        values = SimpleNamespace(**{**vars(config), **changed})
        model: nn.Module = kinds.get(config.name, Stack)(values, given.vocab)
        said["num_params"] = take(model, given.weights)
        return model.to(device)

    def loss_of(model: nn.Module, smoothing: float) -> torch.Tensor:
        with torch.autocast(device, torch.bfloat16, enabled=config.dtype == "bfloat16"):
            return model(batch, smoothing)

    with torch.no_grad():  # not by eval(), which takes other kernels than training does
        said["loss"] = float(loss_of(build(dropout_rate=0.0, attention_dropout_rate=0.0), 0.0))
    model = build()
    if compiled:
        torch.set_float32_matmul_precision("high")  # TF32, as ours and cuDNN's cells have it
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True if compiled else None)
    run = torch.compile(model) if compiled else model

    def step() -> None:
        optimizer.zero_grad()
        loss_of(run, given.config.label_smoothing).backward()
        optimizer.step()

    wait, memory = (torch.cuda.synchronize, torch.cuda.max_memory_allocated) if gpu else (lambda: None, None)
    return Program(said, step, wait, memory)
