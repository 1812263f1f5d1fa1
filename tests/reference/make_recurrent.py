"""Writes recurrent.npz: RNN, LSTM and GRU as PyTorch computes them, with gradients.

    python -m venv /tmp/torch && /tmp/torch/bin/pip install torch==2.13.0 numpy
    /tmp/torch/bin/python tests/reference/make_recurrent.py

Keys are `case/kind/name`: kind `input`, `param` (PyTorch's names), `output`, or `grad` of the loss
sum(output * cotangent) + sum(last state * last cotangent) with respect to inputs and parameters.
Sequences are packed, of unequal lengths; widths differ, biases and first states are drawn. The
version is in the file.
"""

import pathlib

import numpy as np
import torch
from torch import nn

B, T, D, H = 4, 6, 3, 5
LENGTHS = (6, 1, 4, 3)
KINDS = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


def record(arrays: dict[str, torch.Tensor], kind: str, layers: int, bidirectional: bool) -> None:
    module = KINDS[kind](D, H, num_layers=layers, bidirectional=bidirectional, batch_first=True)
    for parameter in module.parameters():
        parameter.data = 0.6 * torch.randn_like(parameter)
    states = layers * (2 if bidirectional else 1)
    inputs = {"x": torch.randn(B, T, D), "hidden": torch.randn(states, B, H)}
    if kind == "lstm":
        inputs["cell"] = torch.randn(states, B, H)
    for value in inputs.values():
        value.requires_grad_()

    packed = nn.utils.rnn.pack_padded_sequence(inputs["x"], LENGTHS, batch_first=True, enforce_sorted=False)
    first = (inputs["hidden"], inputs["cell"]) if kind == "lstm" else inputs["hidden"]
    output, last = module(packed, first)
    outputs = {"x": nn.utils.rnn.pad_packed_sequence(output, batch_first=True, total_length=T)[0]}
    outputs |= dict(zip(("hidden", "cell"), last if kind == "lstm" else (last,), strict=False))

    cotangents = {name: torch.randn_like(value) for name, value in outputs.items()}
    sum((outputs[name] * cotangents[name]).sum() for name in outputs).backward()
    case = f"{kind}_{layers}_{'both' if bidirectional else 'one'}"
    for name, value in inputs.items():
        arrays[f"{case}/input/{name}"], arrays[f"{case}/grad/{name}"] = value, value.grad
    for name, value in outputs.items():
        arrays[f"{case}/output/{name}"], arrays[f"{case}/cotangent/{name}"] = value, cotangents[name]
    for name, value in module.named_parameters():
        arrays[f"{case}/param/{name}"], arrays[f"{case}/grad/{name}"] = value, value.grad


def main() -> None:
    torch.manual_seed(0)
    arrays: dict[str, torch.Tensor] = {}
    for kind in KINDS:
        record(arrays, kind, 1, False)
        record(arrays, kind, 2, True)
    values = {name: array.detach().numpy() for name, array in arrays.items()}
    values["lengths"] = np.array(LENGTHS)
    values["torch_version"] = np.array(torch.__version__)
    np.savez_compressed(pathlib.Path(__file__).parent / "recurrent.npz", **values)


if __name__ == "__main__":
    main()
