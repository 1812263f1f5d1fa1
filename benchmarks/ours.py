"""Our program for any config: the pipeline, model and step of `train.py`, the search of `eval.py`.

Its settings: `default` trains, or translates a split; `ahead` trains while a thread compiles what comes, as `train.py`
does; `one_batch` steps on the first batch again and again, `decode` decodes it; `pipeline` makes the batches and trains
on none.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

import jax
import numpy as np

import data
import models
from benchmarks.contender import Contender, config_of
from benchmarks.handover import leave
from benchmarks.protocol import Program
from data import pipeline
from data.batch import Batch
from data.tasks.translation import Translation
from models import flops
from training.evaluation.generate import Beam, Generator
from training.machine import backend, mesh, provenance
from training.machine.clock import Clock
from training.run import restore
from training.step import params
from training.step.train_step import Recipe
from training.trainer import Trainer


class Ours(Program):
    def __init__(self, case: Contender, folder: Path):
        self.case, self.folder, self.peak_memory = case, folder, provenance.device_memory_bytes
        config = self.config = config_of(case)
        backend.configure(folder / "run", config.keep_pages, config.cpu_devices, config.deterministic)
        tokenizer = Path(case.run or folder) / "tokenizer"
        self.task = data.build(config.task, config.data, tokenizer_dir=tokenizer)
        if case.run:
            self.model = restore.restore(Path(case.run), data_dir=config.data.dir).model
        else:
            self.model = models.build(config.model.name, config.model, self.task.spec, jax.random.key(config.seed))
        batching = self.batching = pipeline.Batching.of(config)
        self.plan = None if case.split else pipeline.train_plan(self.task, batching)
        self.clock, self.done = Clock({}), 0
        several, recipe = self.plan is not None and len(self.plan.shapes) > 1, Recipe.of(config)
        self.trainer = Trainer(self.model, self.task.spec, recipe, mesh.make(), self.clock, several_shapes=several)
        self.one_batch = case.setting in ("one_batch", "decode")  # whose rows are of the longest shape
        if self.one_batch:
            self.held_out: list[Batch] = [next(pipeline.train_batches(self.task, batching))]
        else:
            limit = 0 if case.split else config.eval_examples
            self.held_out = list(pipeline.eval_batches(self.task, case.split or "val", batching, limit=limit))
        leave(folder, config.to_json(), params.flatten(self.model), self.held_out[0])
        if isinstance(self.task, Translation):
            self.leave_text(self.task, tokenizer / "joint.model")

    def leave_text(self, task: Translation, tokenizer: Path) -> None:
        config, split = self.config.data, self.case.split
        (self.folder / "pieces.model").write_bytes(tokenizer.read_bytes())
        self.write("vocabulary", task.target_pieces(range(4, task.spec.target_size)))  # no specials
        for name in [split] if split else ["train", "val"]:
            self.write(f"{name}.{config.source_language}", task.source_text(name))
            self.write(f"{name}.{config.target_language}", task.target_text(name))
        if split:
            self.write("references", task.target_text(split))

    def write(self, name: str, lines: Iterable[str]) -> None:
        (self.folder / name).write_text("".join(line + "\n" for line in lines), encoding="utf-8")

    def describe(self) -> dict[str, float]:
        said = {"num_params": params.count(self.trainer.weights)}
        if self.one_batch:
            passes = 3 if self.case.setting == "one_batch" else 0  # forward, and twice as much backward
            said["flops"] = passes * self.config.batch_size * flops.forward(self.model, self.task.spec)
            said["tokens"] = self.held_out[0]["target_out"].size
        return said | {"loss": self.trainer.evaluate(self.held_out)["loss"]}

    def serve(self) -> None:
        if self.case.setting != "ahead" or self.plan is None:
            return super().serve()
        coming = pipeline.one_of_each_shape(self.task, self.batching, self.plan, start=0)
        with self.trainer.compiling_ahead(coming, self.held_out, unneeded=lambda: False, say=lambda line: None):
            super().serve()

    def take(self, steps: int) -> dict[str, float]:
        """Seconds exclude compilation, which a running pipeline reports apart."""
        if self.case.split:
            return self.translate(steps)
        if self.case.setting == "decode":  # as many tokens as the targets have
            generate = Generator(self.model, dataclasses.replace(self.task.spec, eos=None))
            for _ in range(steps):
                generate(self.held_out[0])
            return {}
        before = self.clock.seconds.get("compile", 0.0)
        batches: Iterator[Batch] = itertools.repeat(self.held_out[0])
        if self.case.setting != "one_batch":
            batches = pipeline.train_batches(self.task, self.batching, start=self.done, plan=self.plan)
        batch, tokens = next(batches), 0
        self.clock.lap()
        for _ in range(steps):
            if self.case.setting != "pipeline":
                self.trainer.step(self.done, batch)
            tokens += int(np.count_nonzero(batch["target_weights"]))
            batch, self.done = next(batches), self.done + 1
        self.trainer.wait()
        seconds, compiling = self.clock.lap(), self.clock.seconds.get("compile", 0.0) - before
        return {"seconds": seconds, "tokens": tokens, "compile_seconds": compiling}

    def translate(self, steps: int) -> dict[str, float]:
        """Text in, text out."""
        assert isinstance(self.task, Translation)
        for _ in range(steps):
            generate = Generator(self.model, self.task.spec, Beam(beam_size=5, length_penalty=0.6))
            tokens = generate.split(pipeline.eval_batches(self.task, self.case.split, self.batching))
            self.write(f"{self.case.name}.hypotheses", [self.task.decode_target(tokens[n]) for n in range(len(tokens))])
        return {"sentences": steps * len(tokens)}


program = Ours
