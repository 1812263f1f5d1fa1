"""Our program for a case on real text: the pipeline, model and step of `train.py`, the generator of `eval.py`.

python -m benchmarks.ours_text CASE SETTING FOLDER. Answers `describe`, `step N`, `validate`, `translate`
and `quit` (see protocol.py).
"""

import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

import data
import models
from benchmarks import protocol
from benchmarks.text_case import SPECIALS, Files, TextCase
from data import pipeline
from data.tasks.translation import Translation
from training.command import cli
from training.evaluation.generate import Beam, Generator
from training.machine import backend, mesh, provenance
from training.machine.clock import Clock
from training.run import restore
from training.step import params
from training.trainer import Trainer


def config_of(case: TextCase) -> ConfigDict:
    """A run's config with the sizes of the case, and nothing that JoeyNMT lacks (a moving average of weights)."""
    config = cli.load("configs/multi30k.py:transformer")
    config.model.update({"hidden_size": case.hidden, "num_layers": case.layers, "num_heads": case.heads})
    config.model.update({"mlp_dim": case.mlp, "dropout_rate": case.dropout, "attention_dropout_rate": case.dropout})
    config.data.update({"dir": case.data, "source_language": case.source, "target_language": case.target})
    config.data.update({"max_length": case.max_length, "lowercase": True, "num_buckets": case.buckets})
    config.data.tokenizer.vocab_size = case.vocab
    config.tokens_per_batch, config.cpu_devices = case.tokens_per_batch, case.devices
    config.label_smoothing = case.label_smoothing
    config.optimizer.update({"learning_rate": case.learning_rate, "ema_decay": 0.0, "eps": 1e-8})
    config.schedule.update({"name": "inverse_square_root", "warmup_steps": case.warmup})
    config.steps = 10**6
    config.every.update({"log": 10**6, "eval": 10**6, "save": 10**6})
    return config


class TextProgram:
    """The commands on one model. `step` and `validate` train it; `translate` reads it."""

    def __init__(self, case: TextCase, folder: Path):
        self.case, self.files = case, Files(folder)
        config = restore.read_config(Path(case.run)) if case.run else config_of(case)
        config.cpu_devices = case.devices
        backend.configure(config, folder / "run")
        if case.run:
            self.config, task, model, _ = restore.restore(Path(case.run), data_dir=case.data)
        else:
            self.config = config
            task = data.build(config.task, config.data, tokenizer_dir=folder / "tokenizer")
            model = models.build(config.model.name, config.model, task.spec, jax.random.key(config.seed))
        assert isinstance(task, Translation)
        self.task = task
        self.model = model
        self._write(params.flatten(model))
        split = case.split or "val"
        self.batches = list(pipeline.eval_batches(self.task, split, self.config))
        self.clock, self.done, self.target_tokens = Clock({}), 0, 0
        self.trainer = Trainer(model, self.task.spec, self.config, mesh.make(), self.clock)
        self.train = None if case.split else pipeline.train_batches(self.task, self.config)

    def _write(self, weights: params.Params) -> None:
        """What JoeyNMT begins with: weights, vocabulary and text."""
        named: dict[str, Any] = {name: np.asarray(array) for name, array in weights.items()}
        np.savez(self.files.weights, **named)
        if self.case.run:
            stored = Path(self.case.run) / "tokenizer" / "joint.model"
            self.files.tokenizer.parent.mkdir(exist_ok=True)
            self.files.tokenizer.write_bytes(stored.read_bytes())
        pieces = self.task.target_pieces(range(SPECIALS, self.task.spec.target_size))
        self.files.vocabulary.write_text("".join(piece + "\n" for piece in pieces), encoding="utf-8")
        for split in [self.case.split] if self.case.split else ["train", "val"]:
            lines = self.task.source_text(split), self.task.target_text(split)
            for language, side in zip((self.case.source, self.case.target), lines, strict=True):
                self.files.text(split, language).write_text("".join(line + "\n" for line in side), encoding="utf-8")

    def describe(self) -> dict[str, float]:
        weights = self.trainer.weights
        return {"num_params": params.count(weights), **self.validate()}

    def validate(self) -> dict[str, float]:
        """Nats a token of the validation split, or of the one to translate."""
        return {"loss": self.trainer.evaluate(self.batches)["loss"]}

    def step(self, steps: int) -> dict[str, float]:
        """Seconds without those of compilation, which are said apart."""
        assert self.train is not None
        compiling = self.clock.seconds.get("compile", 0.0)
        self.clock.lap()
        tokens = 0
        for _ in range(steps):
            batch = next(self.train)
            tokens += int(np.count_nonzero(batch["target_weights"]))
            self.trainer.step(self.done, batch)
            self.done += 1
        self.trainer.wait()
        seconds = self.clock.lap()
        return {
            "seconds": seconds,
            "tokens": tokens,
            "compile_seconds": self.clock.seconds.get("compile", 0.0) - compiling,
        }

    def translate(self) -> dict[str, float]:
        """Text in, text out; the hypotheses lie in a file."""
        start = time.perf_counter()
        generate = Generator(self.model, self.task.spec, Beam(self.case.beam, self.case.length_penalty))
        tokens = generate.split(pipeline.eval_batches(self.task, self.case.split, self.config))
        lines = [self.task.decode_target(tokens[number]) for number in range(len(tokens))]
        seconds = time.perf_counter() - start
        self.files.hypotheses("ours").write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        return {"seconds": seconds}


def main() -> None:
    case, _, folder = protocol.arguments(TextCase)
    program = TextProgram(case, folder)
    answers = {"describe": program.describe, "validate": program.validate, "translate": program.translate}
    for steps in protocol.requests(answers, provenance.device_memory_bytes):
        protocol.answer(**program.step(steps))


if __name__ == "__main__":
    main()
