"""Quality of translations: corpus BLEU and chrF of a split, by sacreBLEU (Papineni et al. 2002; Post 2018)."""

from collections.abc import Iterator

from data.tasks.translation import Translation
from experiments.probes.measurement import Measurement
from models.contract import Architecture
from training.evaluation.generate import Generator, search
from training.evaluation.quality import Text
from training.run.restore import Restored


def measure(run: Restored, *, split: str = "val", beam_size: int = 1, limit: int = 0) -> Iterator[Measurement]:
    """`bleu_lowercase`, `bleu` (cased) and `chrf` of the split's first `limit` sentences (0: all), in per cent; `part`
    is the split.

    A beam of 1 is greedy decoding; a wider one has the length penalty of eval.py, 0.6. Raises ValueError for a task
    without text to compare, or a model that does not decode.
    """
    translator = Translator(run, split, beam_size=beam_size, limit=limit)
    scores = translator.translate(run.model).scores()
    for name in ("bleu_lowercase", "bleu", "chrf"):
        yield Measurement(name, scores[name], part=split, answers=translator.num_sentences)


class Translator:
    """Translates a split's first sentences, with whatever parameters: models of one architecture share programs."""

    def __init__(self, run: Restored, split: str, *, beam_size: int = 1, limit: int = 0):
        if not isinstance(run.task, Translation):
            raise ValueError(f"bleu: answers of {run.config.task} are no text to compare; use another probe")
        if not run.model.decodes:
            raise ValueError(f"bleu: {run.config.model.name} does not decode; use another probe")
        self._task = run.task
        self._decoding = search(beam_size)
        self._batches = list(run.batches(split, limit=limit))
        self._index = sorted(int(i) for batch in self._batches for i in batch["index"] if i >= 0)
        sources, references = run.task.source_text(split), run.task.target_text(split)
        self.sources = [sources[i] for i in self._index]  # as in the file; so are the references
        self._references = [references[i] for i in self._index]
        self._lowercase = run.task.lowercase

    @property
    def num_sentences(self) -> int:
        return len(self._index)

    def translate(self, model: Architecture) -> Text:
        """The model's translations beside their references, in the order of the split."""
        tokens = Generator(model, self._task.spec, self._decoding).split(self._batches)
        hypotheses = [self._task.decode_target(tokens[i]) for i in self._index]
        return Text(hypotheses, self._references, self._lowercase)
