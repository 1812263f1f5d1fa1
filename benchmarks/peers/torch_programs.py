"""PyTorch's stacks, an attention seq2seq as teaching codebases write it, and `nn.Transformer`.

Runs in the peers' environment: python -m benchmarks.peers.torch_programs CASE SETTING WEIGHTS.
`default` is what the documentation shows; `tuned` adds the allocator setting that we give ourselves.
"""

import ctypes
import sys

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks import protocol
from benchmarks.cases import ATTENTION_SIZE, Case, batch
from benchmarks.protocol import Program

Weights = dict[str, np.ndarray]


def keep_pages() -> None:
    """The settings of training/machine/backend.py for glibc's allocator."""
    if sys.platform == "linux":
        for parameter, value in {-4: 0, -1: 2**31 - 1, -2: 64 << 20, -8: 1}.items():
            ctypes.CDLL(None).mallopt(parameter, value)


def tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))


@torch.no_grad()
def take_cell(module: nn.Module, weights: Weights, name: str, suffix: str = "") -> None:
    """Gives an RNN, GRU or LSTM (cell) our weights; gates stand in the same order. Its second bias is
    redundant but for the GRU's candidate, and stays zero and is not counted there."""
    getattr(module, f"weight_ih{suffix}").copy_(tensor(weights[f"{name}/input_kernel"].T))
    getattr(module, f"weight_hh{suffix}").copy_(tensor(weights[f"{name}/recurrent_kernel"].T))
    getattr(module, f"bias_ih{suffix}").copy_(tensor(weights[f"{name}/bias"]))
    second = getattr(module, f"bias_hh{suffix}").zero_()
    if f"{name}/candidate_bias" in weights:
        candidate = tensor(weights[f"{name}/candidate_bias"])
        second[-len(candidate) :] = candidate


@torch.no_grad()
def take_linear(module: nn.Linear, weights: Weights, name: str) -> None:
    module.weight.copy_(tensor(weights[f"{name}/kernel"].T))
    if module.bias is not None:
        module.bias.copy_(tensor(weights[f"{name}/bias"]))


def redundant(module: nn.Module) -> int:
    """Second biases that add nothing to the first: all of them, but for the GRU's candidate gate."""
    found = 0
    for part in module.modules():
        for name, parameter in part.named_parameters(recurse=False):
            if name.startswith("bias_hh"):
                found += len(parameter) * 2 // 3 if isinstance(part, nn.GRU | nn.GRUCell) else len(parameter)
    return found


class Stack(nn.Module):
    def __init__(self, case: Case, weights: Weights):
        super().__init__()
        kind = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[case.model]
        self.rnn = kind(case.hidden, case.hidden, case.layers, batch_first=True)
        for layer in range(case.layers):
            take_cell(self.rnn, weights, f"stack/layers/{layer}", f"_l{layer}")

    def forward(self, data: dict[str, torch.Tensor]) -> torch.Tensor:
        return functional.mse_loss(self.rnn(data["inputs"])[0], data["targets"])


class AttentionSeq2Seq(nn.Module):
    """A bidirectional GRU encoder, and a decoder that runs a `GRUCell` and additive attention word by word."""

    def __init__(self, case: Case, weights: Weights):
        super().__init__()
        H, A = case.hidden, ATTENTION_SIZE
        self.embedding = nn.Embedding(case.vocab, H)
        self.encoder = nn.GRU(H, H, batch_first=True, bidirectional=True)
        self.bridge = nn.Linear(2 * H, H)
        self.cell = nn.GRUCell(2 * H, H)
        self.keys, self.query = nn.Linear(2 * H, A, bias=False), nn.Linear(H, A, bias=False)
        self.vector = nn.Linear(A, 1, bias=False)
        self.combine = nn.Linear(3 * H, H)
        self.output_bias = nn.Parameter(tensor(weights["head/bias"]).clone())
        with torch.no_grad():
            self.embedding.weight.copy_(tensor(weights["inputs/target/table"]))
            self.vector.weight.copy_(tensor(weights["score/vector"][None]))
        take_cell(self.encoder, weights, "encoder/layers/0", "_l0")
        take_cell(self.encoder, weights, "encoder/backward/0", "_l0_reverse")
        take_cell(self.cell, weights, "decoder/layers/0")
        for module, name in (
            (self.bridge, "bridge/maps/0"),
            (self.keys, "score/memory"),
            (self.query, "score/query"),
            (self.combine, "combine"),
        ):
            take_linear(module, weights, name)

    def forward(self, data: dict[str, torch.Tensor]) -> torch.Tensor:
        scale = self.embedding.embedding_dim**0.5
        memory, last = self.encoder(self.embedding(data["source"]) * scale)
        state = torch.tanh(self.bridge(torch.cat([last[0], last[1]], dim=-1)))
        attentional = torch.zeros_like(state)
        keys = self.keys(memory)
        embedded, logits = self.embedding(data["target_in"]) * scale, []
        for t in range(embedded.shape[1]):
            state = self.cell(torch.cat([embedded[:, t], attentional], dim=-1), state)
            scores = self.vector(torch.tanh(self.query(state)[:, None] + keys))[..., 0]
            context = torch.bmm(torch.softmax(scores, dim=-1)[:, None], memory)[:, 0]
            attentional = torch.tanh(self.combine(torch.cat([context, state], dim=-1)))
            logits.append(functional.linear(attentional, self.embedding.weight, self.output_bias))
        return functional.cross_entropy(torch.stack(logits, dim=1).flatten(0, 1), data["target_out"].flatten())


class Transformer(nn.Module):
    """`nn.Transformer` with pre-norm between tied embeddings with sinusoids."""

    def __init__(self, case: Case, weights: Weights):
        super().__init__()
        self.case = case
        self.embedding = nn.Embedding(case.vocab, case.hidden)
        self.dropout = nn.Dropout(case.dropout)
        self.body = nn.Transformer(
            case.hidden, case.heads, case.layers, case.layers, case.mlp, case.dropout, batch_first=True, norm_first=True
        )
        self.output_bias = nn.Parameter(tensor(weights["head/bias"]).clone())
        self.register_buffer("sinusoids", self.positions(case.length, case.hidden))
        with torch.no_grad():
            self.embedding.weight.copy_(tensor(weights["inputs/target/table"]))
            for side, stack in (("encoder", self.body.encoder), ("decoder", self.body.decoder)):
                self.take_norm(stack.norm, weights, f"{side}/last_norm")
                for number, layer in enumerate(stack.layers):
                    self.take_layer(layer, weights, f"{side}/layers/{number}")

    @staticmethod
    def positions(length: int, size: int) -> torch.Tensor:
        angles = torch.arange(length)[:, None] * 10000 ** (-torch.arange(0, size, 2) / size)
        return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)

    @staticmethod
    def take_norm(norm: nn.LayerNorm, weights: Weights, name: str) -> None:
        norm.weight.copy_(tensor(weights[f"{name}/scale"]))
        norm.bias.copy_(tensor(weights[f"{name}/bias"]))

    def take_layer(self, layer: nn.Module, weights: Weights, name: str) -> None:
        norms = [f"{name}/attention_residual/norm", f"{name}/mlp_residual/norm"]
        attentions: list[tuple[nn.Module, str, tuple[str, ...]]] = [(layer.self_attn, f"{name}/attention", ("qkv",))]
        if hasattr(layer, "multihead_attn"):
            attentions.append((layer.multihead_attn, f"{name}/cross_attention", ("query", "kv")))
            norms.insert(1, f"{name}/cross_residual/norm")
        for number, norm in enumerate(norms, start=1):
            self.take_norm(getattr(layer, f"norm{number}"), weights, norm)
        for attention, place, parts in attentions:
            kernels = [weights[f"{place}/{part}/kernel"] for part in parts]
            attention.in_proj_weight.copy_(tensor(np.concatenate(kernels, axis=1).T))
            attention.in_proj_bias.copy_(tensor(np.concatenate([weights[f"{place}/{part}/bias"] for part in parts])))
            take_linear(attention.out_proj, weights, f"{place}/output")
        take_linear(layer.linear1, weights, f"{name}/mlp/inner")
        take_linear(layer.linear2, weights, f"{name}/mlp/outer")

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        return self.dropout(self.embedding(ids) * self.case.hidden**0.5 + self.sinusoids)

    def forward(self, data: dict[str, torch.Tensor]) -> torch.Tensor:
        causal = nn.Transformer.generate_square_subsequent_mask(self.case.length, device=self.sinusoids.device)
        states = self.body(
            self.embed(data["source"]), self.embed(data["target_in"]), tgt_mask=causal, tgt_is_causal=True
        )
        logits = functional.linear(states, self.embedding.weight, self.output_bias)
        return functional.cross_entropy(
            logits.flatten(0, 1), data["target_out"].flatten(), label_smoothing=self.case.label_smoothing
        )


def build(case: Case, weights: Weights) -> Program:
    """The program, from our weights."""
    kind = Stack if case.is_stack else Transformer if case.model == "transformer" else AttentionSeq2Seq
    gpu = torch.cuda.is_available()
    device = "cuda" if gpu else "cpu"
    model = kind(case, weights).to(device)
    for part in model.modules():
        if isinstance(part, nn.MultiheadAttention):
            part.dropout = case.attention_dropout_rate
    data = {name: tensor(array).to(device) for name, array in batch(case).items()}
    data = {name: x.long() if x.dtype == torch.int32 else x for name, x in data.items()}
    if case.compiled:
        torch.set_float32_matmul_precision("high")  # TF32, as ours and cuDNN's cells have it
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True if case.compiled else None)
    run = torch.compile(model) if case.compiled else model

    def loss_of(module: nn.Module) -> torch.Tensor:
        with torch.autocast(device, torch.bfloat16, enabled=case.dtype == "bfloat16"):
            return module(data)

    with torch.no_grad():
        # Not eval(): that would take other kernels than training does.
        dropouts = [(m, m.p) for m in model.modules() if isinstance(m, nn.Dropout)]
        for part, _ in dropouts:
            part.p = 0.0
        attentions = [(m, m.dropout) for m in model.modules() if isinstance(m, nn.MultiheadAttention)]
        for part, _ in attentions:
            part.dropout = 0.0
        before = float(loss_of(model))
        for part, rate in dropouts:
            part.p = rate
        for part, rate in attentions:
            part.dropout = rate

    def step() -> None:
        optimizer.zero_grad()
        loss_of(run).backward()
        optimizer.step()

    num_params = sum(p.numel() for p in model.parameters()) - redundant(model)
    if gpu:
        return Program(num_params, lambda: before, step, torch.cuda.synchronize, torch.cuda.max_memory_allocated)
    return Program(num_params, lambda: before, step, lambda: None)


def main() -> None:
    case, setting, weights_file = protocol.arguments(Case)
    if setting == "tuned":
        keep_pages()
    with np.load(weights_file) as weights:
        program = build(case, dict(weights))
    protocol.serve(program)


if __name__ == "__main__":
    main()
