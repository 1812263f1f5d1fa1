"""Sample outputs and an attention picture of a run in progress, for its dashboard."""

from pathlib import Path

import numpy as np

from data.batch import Batch, take
from data.task import Task
from data.tasks.language import Language
from data.tasks.translation import Translation
from models.contract import Architecture
from training.evaluation.generate import Generator, Sample
from training.evaluation.pictures import attention_names, labels, picture
from training.machine import mesh
from training.mirrors.writer import Samples

ROWS = 8


def make(model: Architecture, task: Task, batch: Batch, workdir: Path) -> Samples:
    """Outputs for the first rows of a validation batch beside their targets, and an attention picture. Decoding is
    greedy if there is a source; a language model samples the second half of a window after reading the first."""
    model = mesh.of_this_process(model)  # only the first process is here
    real = np.flatnonzero(batch["index"] >= 0)[:ROWS]
    head = take(batch, real)
    rows = []
    if task.spec.free_running and model.decodes and task.spec.source != "none":
        tokens = Generator(model, task.spec)(head).tokens
        for row, ids in enumerate(tokens):
            source, target = labels(task, head, row)
            if isinstance(task, Translation):
                given, wanted = task.decode_target(ids), task.decode_target(head["target_out"][row])
                rows.append([task.decode_source(head["source"][row]), wanted, given])
            else:
                wanted = " ".join(map(str, head["target_out"][row][: len(target)]))
                rows.append([" ".join(source), wanted, " ".join(map(str, ids[: len(target)]))])
    if isinstance(task, Language) and model.decodes:
        ids_B = [row[weights > 0] for row, weights in zip(head["target_out"], head["target_weights"], strict=True)]
        halves_B = [np.split(ids, [len(ids) // 2]) for ids in ids_B]
        longest = max(len(rest) for _, rest in halves_B)
        generate = Generator(model, task.spec, Sample())
        tokens = generate.continuations([prompt for prompt, _ in halves_B], longest).tokens
        decode = task.decode_target
        rows = [[decode(a), decode(b), decode(ids)] for (a, b), ids in zip(halves_B, tokens, strict=True)]
    pictures = {}
    if attention_names(model):
        pictures["attention"] = workdir / "attention.png"
        picture(pictures["attention"], model, task, head, 0)
    return Samples(["source", "target", "output"], rows, pictures)
