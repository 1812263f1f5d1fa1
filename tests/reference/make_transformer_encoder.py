"""Writes transformer_encoder.npz: whole encoder-only models as PyTorch's nn.TransformerEncoder computes them.

    python -m venv /tmp/torch && /tmp/torch/bin/pip install torch==2.13.0 numpy
    /tmp/torch/bin/python tests/reference/make_transformer_encoder.py

A tagger (pre-norm, GELU, outputs tied to the one table) and a classifier (post-norm, ReLU, a linear output on the
first token). Keys are `case/kind/name`: kind `param` (PyTorch's names), `output`, or `grad` of the loss
sum(output * cotangent) over what is no padding. The versions are in the file.
"""

import math
import pathlib

import numpy as np
import torch
from torch import nn

B, S, D, H, F, V, C = 3, 6, 8, 2, 11, 10, 4
LENGTHS = (6, 2, 4)
BOS = 1


def sinusoids(length: int) -> torch.Tensor:
    """Sine and cosine of position / 10000^(2i/D), at even and odd places."""
    angle = torch.arange(length)[:, None] / 10_000 ** (torch.arange(0, D, 2) / D)
    return torch.stack([torch.sin(angle), torch.cos(angle)], dim=2).flatten(1)


class Encoder(nn.Module):
    def __init__(self, norm: str, activation: str, classes: int):
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            D, H, F, dropout=0.0, activation=activation, batch_first=True, norm_first=norm == "pre"
        )
        last = nn.LayerNorm(D) if norm == "pre" else None
        self.encoder = nn.TransformerEncoder(layer, 2, norm=last, enable_nested_tensor=False)
        self.embed = nn.Embedding(V, D)
        self.output = nn.Linear(D, classes) if classes else None
        self.output_bias = None if classes else nn.Parameter(torch.zeros(V))

    def forward(self, source: torch.Tensor, padding: torch.Tensor) -> torch.Tensor:
        whole = torch.full((B, 1), BOS)
        x = self.embed(torch.cat([whole, source], dim=1)) * math.sqrt(D) + sinusoids(1 + S)
        padding = torch.cat([torch.zeros(B, 1, dtype=torch.bool), padding], dim=1)
        x = self.encoder(x, src_key_padding_mask=padding)
        if self.output is not None:
            return self.output(x[:, :1])
        return x[:, 1:] @ self.embed.weight.T + self.output_bias


def main() -> None:
    torch.manual_seed(0)
    arrays: dict[str, torch.Tensor] = {}
    source = torch.randint(3, V, (B, S))
    padding = torch.arange(S)[None] >= torch.tensor(LENGTHS)[:, None]
    for case, norm, activation, classes in (("aligned", "pre", "gelu", 0), ("label", "post", "relu", C)):
        model = Encoder(norm, activation, classes)
        for parameter in model.parameters():
            parameter.data = parameter.data + 0.2 * torch.randn_like(parameter)
        output = model(source, padding)
        counted = ~padding[..., None] if case == "aligned" else torch.ones(B, 1, 1)
        cotangent = torch.randn_like(output) * counted
        (output * cotangent).sum().backward()
        arrays |= {f"{case}/output": output, f"{case}/cotangent": cotangent}
        for name, parameter in model.named_parameters():
            arrays |= {f"{case}/param/{name}": parameter, f"{case}/grad/{name}": parameter.grad}
    stored = {name: value.detach().numpy() for name, value in arrays.items()}
    stored |= {"source": source.numpy(), "mask": (~padding).numpy(), "num_heads": np.array(H), "bos": np.array(BOS)}
    stored["versions"] = np.array([f"torch {torch.__version__}", f"numpy {np.__version__}"])
    np.savez_compressed(pathlib.Path(__file__).with_name("transformer_encoder.npz"), **stored)


if __name__ == "__main__":
    main()
