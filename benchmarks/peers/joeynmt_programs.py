"""JoeyNMT 2.3.0 (Kreutzer et al. 2019) from its own classes: data, model, training loop, beam search.

`default` is as documented; `tuned` has our allocator's settings. It has no bias of the output layer and another epsilon
in LayerNorm; it is given ours, and equal losses prove the same work.
"""

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import yaml
from joeynmt.batch import Batch
from joeynmt.config import BaseConfig, parse_global_args
from joeynmt.data import load_data
from joeynmt.model import Model, build_model
from joeynmt.prediction import predict
from joeynmt.training import TrainManager
from torch import nn

from benchmarks.handover import Weights, read
from benchmarks.peers.torch_programs import take
from benchmarks.protocol import Program, answer, peak_resident_bytes

OUR_IDS = [3, 0, 1, 2]  # of unknown, padding, beginning and end, in the order that JoeyNMT demands
NAMES = r"""
    src_embed.lut.weight inputs.target.table    decoder.output_layer.bias head.bias
    (src_src|trg_trg)_att attention    src_trg_att cross_attention    output_layer output
    q_layer query    k_layer key    v_layer value
    feed_forward.layer_norm mlp_residual.norm    pwff_layer.0 inner    pwff_layer.3 outer    feed_forward mlp
    coder\.layer_norm coder.last_norm    dec_layer_norm cross_residual.norm
    (x_)?layer_norm attention_residual.norm    norm.weight norm.scale    \.weight$ .kernel
"""


def config_of(ours: Any, split: str, folder: Path) -> dict[str, Any]:
    """JoeyNMT's config with the sizes of our run."""
    config = yaml.safe_load(Path(__file__).with_name("joeynmt.yaml").read_text(encoding="utf-8"))
    model, text, rate = ours.model, ours.data, {"dropout": ours.model.dropout_rate}
    config |= {"model_dir": str(folder), "use_cuda": torch.cuda.is_available()}
    for stack in (config["model"]["encoder"], config["model"]["decoder"]):
        stack |= {"num_layers": model.num_layers, "num_heads": model.num_heads, "ff_size": model.mlp_dim}
        stack |= {"hidden_size": model.hidden_size, **rate}
        stack["embeddings"] |= {"embedding_dim": model.hidden_size, **rate}
    for side, language in (("src", text.source_language), ("trg", text.target_language)):
        files = {"voc_file": str(folder / "vocabulary"), "tokenizer_cfg": {"model_file": str(folder / "pieces.model")}}
        config["data"][side] = config["data"][side] | files | {"lang": language, "max_length": text.max_length - 1}
    splits = {"test": split} if split else {"train": "train", "dev": "val"}
    config["data"] |= {use: str(folder / name) for use, name in splits.items()}
    config["training"] |= {"learning_rate": ours.optimizer.learning_rate, "label_smoothing": ours.label_smoothing}
    config["training"] |= {"learning_rate_warmup": ours.schedule.warmup_steps, "batch_size": ours.tokens_per_batch}
    return config


def adopt(model: Model, weights: Weights) -> int:
    """Gives the model our weights, output bias and epsilon; returns the number of parameters."""
    for name in ("inputs/target/table", "head/bias"):
        rows = weights[name]
        weights[name] = np.concatenate([rows[OUR_IDS], rows[len(OUR_IDS) :]])
    model.decoder.output_layer.bias = nn.Parameter(torch.zeros(len(weights["head/bias"])))
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = 1e-5
    return take(model, weights, NAMES)


class JoeyNMT(Program):
    """The model with our weights, and its data of the case."""

    def __init__(self, case: SimpleNamespace, folder: Path):
        logging.disable(logging.WARNING)
        given, self.case, self.folder = read(folder), case, folder
        self.peak_memory = torch.cuda.max_memory_allocated if torch.cuda.is_available() else peak_resident_bytes
        self.label_smoothing = given.config.label_smoothing
        self.args: BaseConfig = parse_global_args(config_of(given.config, case.split, folder), rank=0, mode="train")
        source, target, self.train, dev, test = load_data(self.args.data, ["test"] if case.split else ["train", "dev"])
        self.held_out = test if case.split else dev
        self.model = build_model(self.args.model, source, target)
        self.num_params = adopt(self.model, given.weights)
        self.model.loss_function = "crossentropy", self.label_smoothing
        self.model.to(self.args.device)

    @torch.no_grad()
    def describe(self) -> dict[str, float]:
        """The loss in nats per token without label smoothing, from JoeyNMT's own segmentation and loss."""
        self.model.eval()
        self.model.loss_function = "crossentropy", 0.0
        ids = {"pad_index": self.model.pad_index, "eos_index": self.model.eos_index}
        nats = tokens = 0.0
        for batch in self.held_out.make_iter(64, device=self.args.device, **ids):
            nats += float(self.model(return_type="loss", **vars(batch))[0])
            tokens += batch.ntokens
        self.model.loss_function = "crossentropy", self.label_smoothing
        return {"num_params": self.num_params, "loss": nats / tokens}

    def take(self, steps: int) -> dict[str, float]:
        """Text in, text out."""
        a, hypotheses = self.args, self.folder / f"{self.case.name}.hypotheses"
        for _ in range(steps):
            lines = predict(self.model, self.held_out, a.device, a.n_gpu, args=a.test, autocast=a.autocast)[2]
            hypotheses.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        return {"sentences": steps * len(lines)}

    def serve(self) -> None:
        if self.case.split:
            return super().serve()
        a = self.args
        where = (a.model_dir, a.device, a.n_gpu, a.num_workers, a.autocast, a.seed, a.train, a.test)
        training = Stepwise(0, self.model, *where)
        training.asked = self.requests()
        training.train_and_validate(self.train, self.held_out)


class Stepwise(TrainManager):
    """JoeyNMT's own training loop, which waits before a step until the benchmark asks for it."""

    asked: Iterator[int]
    left, begun, tokens = 0, 0.0, 0

    def _train_step(self, batch: Batch) -> tuple[float, int]:
        if not self.left:
            if self.begun:  # the stretch took in its last update, and the making of this batch
                answer(seconds=time.perf_counter() - self.begun, tokens=self.tokens)
            self.left, self.tokens = next(self.asked, 0), 0
            if not self.left:
                raise KeyboardInterrupt  # which is how this loop is told to end
            self.begun = time.perf_counter()
        self.left -= 1
        self.tokens += batch.ntokens
        return super()._train_step(batch)


program = JoeyNMT
