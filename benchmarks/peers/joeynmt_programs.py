"""JoeyNMT 2.3.0 (Kreutzer et al. 2019) from its own classes: data, model, training loop, beam search.

Runs in the peers' environment: python -m benchmarks.peers.joeynmt_programs CASE SETTING FOLDER, where our program has
left weights, vocabulary and text. `default` is what its documentation shows; `tuned` adds the allocator setting that
we give ourselves.

JoeyNMT offers no bias of the output layer and another epsilon in LayerNorm. Its model is given both here, so that both
programs do the same work from the same weights, which equal losses prove.
"""

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from joeynmt.batch import Batch
from joeynmt.config import BaseConfig, parse_global_args
from joeynmt.data import load_data
from joeynmt.model import Model, build_model
from joeynmt.prediction import predict
from joeynmt.training import TrainManager
from torch import nn

from benchmarks import protocol
from benchmarks.peers.torch_programs import Weights, keep_pages, take_linear, tensor
from benchmarks.text_case import Files, TextCase

OUR_IDS = [3, 0, 1, 2]  # of unknown, padding, beginning and end, in the order that JoeyNMT demands
EPSILON = 1e-5
NEVER = 10**9


def config_of(case: TextCase, files: Files) -> dict[str, Any]:
    """JoeyNMT's config file for the case."""
    stack = {
        "type": "transformer",
        "num_layers": case.layers,
        "num_heads": case.heads,
        "hidden_size": case.hidden,
        "ff_size": case.mlp,
        "dropout": case.dropout,
        "layer_norm": "pre",
        "activation": "relu",
        "embeddings": {"embedding_dim": case.hidden, "scale": True, "dropout": case.dropout},
    }
    side = {
        "level": "bpe",
        "lowercase": True,
        "voc_file": str(files.vocabulary),
        "max_length": case.max_length - 1,
        "tokenizer_type": "sentencepiece",
        "tokenizer_cfg": {"model_file": str(files.tokenizer)},
    }
    paths = {"test": case.split} if case.split else {"train": "train", "dev": "val"}
    return {
        "name": case.name,
        "model_dir": str(files.folder),
        "normalization": "tokens",
        "use_cuda": torch.cuda.is_available(),
        "data": {
            "src": {"lang": case.source, **side},
            "trg": {"lang": case.target, **side},
            "dataset_type": "plain",
            **{split: str(files.folder / name) for split, name in paths.items()},
        },
        "model": {"tied_embeddings": True, "tied_softmax": True, "encoder": stack, "decoder": dict(stack)},
        "training": {
            "optimizer": "adam",
            "adam_betas": [0.9, 0.98],
            "clip_grad_norm": 1.0,
            "normalization": "tokens",
            "learning_rate": case.learning_rate,
            "learning_rate_warmup": case.warmup,
            "learning_rate_min": 1e-12,
            "scheduling": "warmupinversesquareroot",
            "label_smoothing": case.label_smoothing,
            "batch_type": "token",
            "batch_size": case.tokens_per_batch,
            "epochs": NEVER,
            "logging_freq": NEVER,
            "validation_freq": NEVER,
        },
        "testing": {"beam_size": case.beam, "beam_alpha": case.length_penalty, "batch_type": "sentence"},
    }


@torch.no_grad()
def take(model: Model, weights: Weights) -> None:
    """Gives the model our weights, the output bias and our LayerNorm's epsilon."""

    def rows(table: np.ndarray) -> torch.Tensor:
        return tensor(np.concatenate([table[OUR_IDS], table[len(OUR_IDS) :]]))

    def norm(module: nn.LayerNorm, name: str) -> None:
        module.weight.copy_(tensor(weights[f"{name}/scale"]))
        module.bias.copy_(tensor(weights[f"{name}/bias"]))

    def attention(module: Any, name: str, **parts: tuple[str, ...]) -> None:
        """`parts` names our fused projections, and JoeyNMT's layers in the order of their columns."""
        take_linear(module.output_layer, weights, f"{name}/output")
        for part, layers in parts.items():
            kernels = np.split(weights[f"{name}/{part}/kernel"], len(layers), axis=1)
            biases = np.split(weights[f"{name}/{part}/bias"], len(layers))
            for layer, kernel, bias in zip(layers, kernels, biases, strict=True):
                getattr(module, layer).weight.copy_(tensor(kernel.T))
                getattr(module, layer).bias.copy_(tensor(bias))

    def feed_forward(module: Any, name: str) -> None:
        norm(module.layer_norm, f"{name}/mlp_residual/norm")
        take_linear(module.pwff_layer[0], weights, f"{name}/mlp/inner")
        take_linear(module.pwff_layer[3], weights, f"{name}/mlp/outer")

    model.src_embed.lut.weight.copy_(rows(weights["inputs/target/table"]))
    model.decoder.output_layer.bias = nn.Parameter(rows(weights["head/bias"]))
    for number, layer in enumerate(model.encoder.layers):
        name = f"encoder/layers/{number}"
        norm(layer.layer_norm, f"{name}/attention_residual/norm")
        attention(layer.src_src_att, f"{name}/attention", qkv=("q_layer", "k_layer", "v_layer"))
        feed_forward(layer.feed_forward, name)
    for number, layer in enumerate(model.decoder.layers):
        name = f"decoder/layers/{number}"
        norm(layer.x_layer_norm, f"{name}/attention_residual/norm")
        norm(layer.dec_layer_norm, f"{name}/cross_residual/norm")
        attention(layer.trg_trg_att, f"{name}/attention", qkv=("q_layer", "k_layer", "v_layer"))
        attention(layer.src_trg_att, f"{name}/cross_attention", query=("q_layer",), kv=("k_layer", "v_layer"))
        feed_forward(layer.feed_forward, name)
    norm(model.encoder.layer_norm, "encoder/last_norm")
    norm(model.decoder.layer_norm, "decoder/last_norm")
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = EPSILON


class TextProgram:
    """The model with our weights, and JoeyNMT's data of the case."""

    def __init__(self, case: TextCase, folder: Path, name: str):
        self.case, self.files, self.name = case, Files(folder), name
        self.args: BaseConfig = parse_global_args(config_of(case, self.files), rank=0, mode="train")
        wanted = ["test"] if case.split else ["train", "dev"]
        source, target, self.train, dev, test = load_data(self.args.data, wanted)
        self.held_out = test if case.split else dev
        self.model = build_model(self.args.model, source, target)
        with np.load(self.files.weights) as weights:
            take(self.model, dict(weights))
        self.model.to(self.args.device)

    def describe(self) -> dict[str, float]:
        return {"num_params": sum(p.numel() for p in self.model.parameters()), **self.validate()}

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Nats a token without label smoothing, from JoeyNMT's own segmentation and loss."""
        self.model.eval()
        self.model.loss_function = "crossentropy", 0.0
        batches = self.held_out.make_iter(
            64, pad_index=self.model.pad_index, eos_index=self.model.eos_index, device=self.args.device
        )
        nats = tokens = 0.0
        for batch in batches:
            nats += float(self.model(return_type="loss", **vars(batch))[0])
            tokens += batch.ntokens
        self.model.loss_function = "crossentropy", self.case.label_smoothing
        return {"loss": nats / tokens}

    def translate(self) -> dict[str, float]:
        start = time.perf_counter()
        lines = predict(
            self.model,
            self.held_out,
            self.args.device,
            self.args.n_gpu,
            args=self.args.test,
            autocast=self.args.autocast,
        )[2]
        seconds = time.perf_counter() - start
        self.files.hypotheses(self.name).write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        return {"seconds": seconds}


class Stepwise(TrainManager):
    """JoeyNMT's own training loop, which waits before a step until the benchmark asks for it."""

    def serve(self, program: TextProgram, asked: Iterator[int]) -> None:
        """Trains until the benchmark asks for nothing more."""
        self.asked, self.left, self.begun, self.tokens = asked, 0, 0.0, 0
        self.train_and_validate(program.train, program.held_out)

    def _train_step(self, batch: Batch) -> tuple[float, int]:
        if not self.left:
            if self.begun:  # the stretch took in its last update, and the making of this batch
                protocol.answer(seconds=time.perf_counter() - self.begun, tokens=self.tokens)
            self.left, self.tokens = next(self.asked, 0), 0
            if not self.left:
                raise KeyboardInterrupt  # which is how this loop is told to end
            self.begun = time.perf_counter()
        self.left -= 1
        self.tokens += batch.ntokens
        return super()._train_step(batch)


def peak_memory() -> int:
    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else protocol.peak_resident_bytes()


def main() -> None:
    case, setting, folder = protocol.arguments(TextCase)
    logging.disable(logging.WARNING)
    if setting == "tuned":
        keep_pages()
    program = TextProgram(case, folder, f"joeynmt {setting}")
    answers = {"describe": program.describe, "validate": program.validate, "translate": program.translate}
    asked = protocol.requests(answers, peak_memory)
    if case.split:
        next(asked, None)
        return
    args = program.args
    manager = Stepwise(
        0,
        program.model,
        args.model_dir,
        args.device,
        args.n_gpu,
        args.num_workers,
        args.autocast,
        args.seed,
        args.train,
        args.test,
    )
    manager.serve(program, asked)


if __name__ == "__main__":
    main()
