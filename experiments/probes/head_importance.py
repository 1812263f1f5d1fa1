"""What each head is worth: loss and BLEU when it alone is masked (Michel et al. 2019, section 3.2).

Teacher-forced, a head's output is multiplied by a gate of 1, and masking adds -1 to it through the model's taps. In
decoding, where there are no taps, a head is masked by zeros in its rows of the output map, which is the same.

Dims: B batch, H heads, K head width.
"""

from collections.abc import Iterator, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from data.batch import Batch
from experiments.probes.measurement import Measurement
from models.contract import Architecture
from training.evaluation.translator import Translator
from training.machine import mesh
from training.run.restore import Restored
from training.step import params
from training.step.losses import LOSSES


def measure(run: Restored, *, split: str = "val", limit: int = 512, sentences: int = 0) -> Iterator[Measurement]:
    """For every head (`part`, such as `decoder.0.heads 1`): `loss_increase` and `accuracy_loss` when it is masked, over
    the same examples as without. `place` counts heads in the order of the layers.

    With `sentences`, the split's first so many are translated greedily as well, once for each head: `bleu_loss`, by how
    much lowercased BLEU falls (in per cent), and `bleu_lowercase` of the whole model. Raises ValueError for a model
    whose heads cannot be masked, and for `sentences` where there is nothing to translate.
    """
    names = [name for name in run.model.tap_names() if name.endswith("heads")]
    if not names:
        raise ValueError(f"head_importance: {run.config.model.name} has no heads to mask; use another probe")
    batches = list(run.batches(split, limit=limit))
    score = _Score(run, names)
    heads = {name: score.heads(batches[0], name) for name in names}
    loss, accuracy, answers = score.means(batches, {})
    yield Measurement("loss", loss, answers=answers)
    yield Measurement("token_accuracy", accuracy, answers=answers)
    for place, (name, head) in enumerate(_each(heads)):
        masked, right, _ = score.means(batches, {name: head})
        yield Measurement("loss_increase", masked - loss, place, f"{name} {head}", answers)
        yield Measurement("accuracy_loss", accuracy - right, place, f"{name} {head}", answers)
    if sentences:
        yield from _in_translation(run, heads, Translator(run, split, limit=sentences))


def _in_translation(run: Restored, heads: Mapping[str, int], translator: Translator) -> Iterator[Measurement]:
    answers = translator.num_sentences
    whole = _bleu(translator, run.model)
    yield Measurement("bleu_lowercase", whole, answers=answers)
    for place, (name, head) in enumerate(_each(heads)):
        masked = _bleu(translator, without_head(run.model, name, head, heads[name]))
        yield Measurement("bleu_loss", whole - masked, place, f"{name} {head}", answers)


def _each(heads: Mapping[str, int]) -> list[tuple[str, int]]:
    """Every head of every tap, in the order of the layers."""
    return [(name, head) for name, count in heads.items() for head in range(count)]


def _bleu(translator: Translator, model: Architecture) -> float:
    return translator.translate(model).scores()["bleu_lowercase"]


def without_head(model: Architecture, name: str, head: int, of: int) -> Architecture:
    """The model with one of the `of` heads of a tap, such as `decoder.0.cross_heads`, masked in its parameters.

    The output map reads heads side by side, so zeros in the head's K rows of its kernel leave out what it says.
    """
    stack, layer, kind = name.split(".")
    kernel = f"{stack}/layers/{layer}/{kind.removesuffix('heads')}attention/output/kernel"
    weights = params.flatten(model)
    width = weights[kernel].shape[0] // of
    rows = slice(head * width, (head + 1) * width)
    return params.Skeleton(model)(weights | {kernel: weights[kernel].at[rows].set(0.0)})


class _Score:
    """Sums of loss and right answers with changed gates, compiled once per batch shape."""

    def __init__(self, run: Restored, names: list[str]):
        skeleton, score = params.Skeleton(run.model), LOSSES[run.task.spec.loss]
        self._weights = params.flatten(run.model)

        def output(weights, arrays, taps):
            return skeleton(weights)(arrays["source"], arrays["source_mask"], arrays["target_in"], taps=taps)

        def sums(weights, arrays, taps):
            scores = score(output(weights, arrays, taps).logits, arrays["target_out"])
            weights_BT = arrays["target_weights"]
            return (scores.nll * weights_BT).sum(), (scores.correct * weights_BT).sum(), weights_BT.sum()

        def gates(weights, arrays):
            return output(weights, arrays, dict.fromkeys(names)).taps

        self._sums = jax.jit(sums)
        self._shapes = lambda arrays: jax.eval_shape(gates, self._weights, arrays)

    def heads(self, batch: Batch, name: str) -> int:
        return self._shapes(_arrays(batch))[name].shape[1]

    def means(self, batches: Sequence[Batch], masked: Mapping[str, int]) -> tuple[float, float, float]:
        """(loss, accuracy, answers) with one head of each tap in `masked` silenced."""
        total = np.zeros(3)
        for batch in batches:
            arrays = _arrays(batch)
            zeros = {name: jnp.zeros(gate.shape) for name, gate in self._shapes(arrays).items()}
            taps = {name: z.at[:, masked[name]].set(-1.0) if name in masked else z for name, z in zeros.items()}
            total += [float(part) for part in self._sums(self._weights, arrays, taps)]
        return total[0] / total[2], total[1] / total[2], total[2]


def _arrays(batch: Batch) -> dict[str, jax.Array]:
    return jax.tree.map(jnp.asarray, mesh.read_by_step(batch))
