"""What each head is worth: loss and BLEU when it alone is masked (Michel et al. 2019, section 3.2).

The output map reads the heads side by side, so a head is masked by zeros in its K rows of the map's kernel.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from experiments.probes.measurement import Measurement
from models.contract import Architecture
from training.evaluation import scoring
from training.evaluation.quality import PARTS
from training.evaluation.translator import Translator
from training.run.restore import Restored
from training.step import params
from training.step.params import Params


def measure(run: Restored, *, split: str = "val", limit: int = 512, sentences: int = 0) -> Iterator[Measurement]:
    """For every head (`part`, such as `decoder.0.heads 1`): `loss_increase` and `accuracy_loss` when it is masked, over
    the same examples as without. `place` counts heads in the order of the layers.

    With `sentences`, so many of the split are also translated greedily, once per head: `bleu_loss` is by how
    much lowercased BLEU falls (in per cent), and `bleu_lowercase` is that of the whole model. Both stand with their
    `ngram_precision`, `brevity_penalty`, `length_ratio` and `at_decoding_limit`, those of a masked head as they are.
    Raises ValueError for a model whose heads cannot be masked, and for `sentences` if there is nothing to translate.
    """
    names = [name for name in run.model.tap_names() if name.endswith("heads")]
    if not names:
        raise ValueError(f"head_importance: {run.config.model.name} has no heads to mask; use another probe")
    count = run.config.model.num_heads
    heads = {f"{name} {head}": without_head(run.model, name, head, count) for name in names for head in range(count)}
    batches, score = list(run.batches(split, limit=limit)), scoring.scorer(run.model, run.task.spec)

    def means(changed: Params) -> scoring.Means:
        total = scoring.Means()
        for batch, scores in score(batches, changed):
            total.add(batch, scores)
        return total

    whole = means({})
    loss, accuracy, answers = whole.nll / whole.weight, whole.correct / whole.weight, whole.weight
    yield Measurement("loss", loss, answers=answers)
    yield Measurement("token_accuracy", accuracy, answers=answers)
    for place, (part, changed) in enumerate(heads.items()):
        masked = means(changed)
        yield Measurement("loss_increase", masked.nll / answers - loss, place, part, answers)
        yield Measurement("accuracy_loss", accuracy - masked.correct / answers, place, part, answers)
    if sentences:
        yield from _in_translation(run, heads, Translator(run, split, limit=sentences))


def _in_translation(run: Restored, heads: Mapping[str, Params], translator: Translator) -> Iterator[Measurement]:
    weights, skeleton, answers = params.flatten(run.model), params.Skeleton(run.model), translator.num_sentences
    whole = _scores(translator, run.model)
    for name, value in whole.items():
        yield Measurement(name, value, answers=answers)
    for place, (part, changed) in enumerate(heads.items()):
        masked = _scores(translator, skeleton(weights | changed))
        yield Measurement("bleu_loss", whole["bleu_lowercase"] - masked.pop("bleu_lowercase"), place, part, answers)
        for name, value in masked.items():
            yield Measurement(name, value, place, part, answers)


def _scores(translator: Translator, model: Architecture) -> dict[str, float]:
    scores = translator.translate(model).scores()
    cut_off = float(np.mean(translator.cut_off))
    return {name: scores[name] for name in ("bleu_lowercase", *PARTS)} | {"at_decoding_limit": cut_off}


def without_head(model: Architecture, name: str, head: int, of: int) -> Params:
    """The parameters that mask one of the `of` heads of a tap, such as `decoder.0.cross_heads`."""
    stack, layer, kind = name.split(".")
    path = f"{stack}/layers/{layer}/{kind.removesuffix('heads')}attention/output/kernel"
    kernel = params.flatten(model)[path]
    width = kernel.shape[0] // of
    return {path: kernel.at[head * width : (head + 1) * width].set(0.0)}
