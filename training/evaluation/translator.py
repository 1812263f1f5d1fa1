"""Translations of a split beside their references, for BLEU and chrF: in training, in probes."""

from collections.abc import Callable, Mapping

from ml_collections import ConfigDict

from data.task import Task
from data.tasks.translation import Translation
from models.contract import Architecture
from training.evaluation.generate import Generator, at_limit, search
from training.evaluation.quality import Text
from training.machine import mesh
from training.run.restore import Restored

METRICS = ("bleu", "chrf")  # by which the best checkpoint can be chosen


class Translator:
    """Translates a split's first sentences, with any parameters: models of one architecture share programs."""

    def __init__(self, run: Restored, split: str, *, beam_size: int = 1, limit: int = 0):
        if not isinstance(run.task, Translation):
            raise ValueError(f"BLEU: answers of {run.config.task} are no text to compare")
        if not run.model.decodes:
            raise ValueError(f"BLEU: {run.config.model.name} does not decode")
        self._task = run.task
        self._decoding = search(beam_size)
        self._batches = list(run.batches(split, limit=limit))
        self._index = sorted(int(i) for batch in self._batches for i in batch["index"] if i >= 0)
        sources, references = run.task.source_text(split), run.task.target_text(split)
        self.sources = [sources[i] for i in self._index]  # as in the file; so are the references
        self._references = [references[i] for i in self._index]
        self._written = run.task.lowercase, run.task.normalization
        self.at_limit: set[int] = set()  # of the last translations, those that were cut off where decoding ends

    @property
    def cut_off(self) -> list[bool]:
        """Of each of the last translations, in the order of the split, whether it was cut off where decoding ends."""
        return [i in self.at_limit for i in self._index]

    @property
    def num_sentences(self) -> int:
        return len(self._index)

    def translate(self, model: Architecture) -> Text:
        """The model's translations beside their references, in the order of the split."""
        tokens = Generator(model, self._task.spec, self._decoding).split(self._batches)
        self.at_limit = set(at_limit(tokens, self._batches, self._task.spec))
        hypotheses = [self._task.decode_target(tokens[i]) for i in self._index]
        return Text(hypotheses, self._references, *self._written)


def while_training(
    config: ConfigDict, task: Task, model: Architecture
) -> list[Callable[[Architecture, Task, int], Mapping[str, float]]]:
    """BLEU and chrF of greedy translations of the first `decode_examples` validation sentences, every `every.decode`
    steps; [] if that is 0. Raises ValueError for a task or a model without translations."""
    if not config.every.decode:
        return []
    try:
        translator = Translator(Restored(config, task, model, 0), "val", limit=config.decode_examples)
    except ValueError as error:
        raise ValueError(f"every.decode = {config.every.decode}: {error}; use 0") from None

    def measure(model: Architecture, task: Task, step: int) -> Mapping[str, float]:
        if step % config.every.decode and step != config.steps:
            return {}
        scores = translator.translate(mesh.of_this_process(model)).scores()
        return {name: scores[name] for name in METRICS}

    return [measure]
