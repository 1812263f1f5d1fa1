"""Writes transformer.npz: attention and Transformer layers as PyTorch computes them, with gradients.

    python -m venv /tmp/torch && /tmp/torch/bin/pip install torch==2.13.0 numpy
    /tmp/torch/bin/python tests/reference/make_transformer.py

Keys are `case/kind/name`: kind `input`, `param` (PyTorch's names), `output`, or `grad` of the loss
sum(output * cotangent) with respect to inputs and parameters. Lengths are unequal, widths and feed-forward
widths differ, and biases and normalisation scales are drawn. The versions are in the file.
"""

import pathlib

import numpy as np
import torch
from torch import nn

B, T, S, D, H, F = 3, 5, 7, 8, 2, 11
TARGET_LENGTHS, SOURCE_LENGTHS = (5, 2, 4), (3, 7, 1)


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float32)


def padding(lengths: tuple[int, ...], longest: int) -> torch.Tensor:
    """True on padding, as PyTorch wants it."""
    return torch.arange(longest)[None] >= torch.tensor(lengths)[:, None]


def record(arrays: dict, case: str, module: nn.Module, inputs: dict, run) -> None:
    for parameter in module.parameters():
        parameter.data = parameter.data + 0.2 * torch.randn_like(parameter)
    inputs = {name: value.requires_grad_() for name, value in inputs.items()}
    outputs = run(**inputs)
    cotangent = draw(*outputs["output"].shape)
    (outputs["output"] * cotangent).sum().backward()
    arrays[f"{case}/input/cotangent"] = cotangent
    for name, value in outputs.items():
        arrays[f"{case}/output/{name}"] = value
    for name, value in inputs.items():
        arrays[f"{case}/input/{name}"] = value
        arrays[f"{case}/grad/{name}"] = value.grad
    for name, parameter in module.named_parameters():
        arrays[f"{case}/param/{name}"] = parameter
        arrays[f"{case}/grad/{name}"] = parameter.grad


def main() -> None:
    torch.manual_seed(0)
    arrays: dict[str, torch.Tensor] = {}
    target_pad, source_pad = padding(TARGET_LENGTHS, T), padding(SOURCE_LENGTHS, S)
    causal = torch.triu(torch.ones(T, T, dtype=torch.bool), diagonal=1)

    attention = nn.MultiheadAttention(D, H, batch_first=True)

    def attend(query, memory):
        output, weights = attention(query, memory, memory, key_padding_mask=source_pad, average_attn_weights=False)
        return {"output": output, "weights": weights}

    record(arrays, "attention", attention, {"query": draw(B, T, D), "memory": draw(B, S, D)}, attend)

    for norm in ("pre", "post"):
        for activation in ("relu", "gelu"):
            options = {"dropout": 0.0, "activation": activation, "batch_first": True, "norm_first": norm == "pre"}
            encoder = nn.TransformerEncoderLayer(D, H, F, **options)
            record(
                arrays,
                f"encoder_{norm}_{activation}",
                encoder,
                {"source": draw(B, S, D)},
                lambda source, layer=encoder: {"output": layer(source, src_key_padding_mask=source_pad)},
            )
            decoder = nn.TransformerDecoderLayer(D, H, F, **options)
            record(
                arrays,
                f"decoder_{norm}_{activation}",
                decoder,
                {"target": draw(B, T, D), "memory": draw(B, S, D)},
                lambda target, memory, layer=decoder: {
                    "output": layer(
                        target,
                        memory,
                        tgt_mask=causal,
                        tgt_key_padding_mask=target_pad,
                        memory_key_padding_mask=source_pad,
                    )
                },
            )

    stored = {name: value.detach().numpy() for name, value in arrays.items()}
    stored["source_mask"], stored["target_mask"] = (~source_pad).numpy(), (~target_pad).numpy()
    stored["num_heads"] = np.array(H)
    stored["versions"] = np.array([f"torch {torch.__version__}", f"numpy {np.__version__}"])
    np.savez_compressed(pathlib.Path(__file__).with_name("transformer.npz"), **stored)


if __name__ == "__main__":
    main()
