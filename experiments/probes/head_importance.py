"""What each head is worth: the loss when it is masked and all others stay (Michel et al. 2019, section 3.2).

A head's output is multiplied by a gate of 1; masking adds -1 to it through the model's taps. Teacher-forced.

Dims: B batch, H heads.
"""

from collections.abc import Iterator, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from data import pipeline
from experiments.measurement import Measurement
from training import mesh, params
from training.losses import LOSSES
from training.restore import Restored


def measure(run: Restored, *, split: str = "val", limit: int = 512) -> Iterator[Measurement]:
    """For every head (`part`, such as `decoder.0.heads 1`): `loss_increase` and `accuracy_loss` when it is masked, over
    the same examples as without. `place` counts heads in the order of the layers. Raises ValueError for a model whose
    heads cannot be masked.
    """
    names = [name for name in run.model.tap_names() if name.endswith("heads")]
    if not names:
        raise ValueError(f"head_importance: {run.config.model.name} has no heads to mask; use another probe")
    batches = list(pipeline.eval_batches(run.task, split, run.config, limit=limit))
    score = _Score(run, names)
    heads = {name: score.heads(batches[0], name) for name in names}
    loss, accuracy, answers = score.means(batches, {})
    yield Measurement("loss", loss, answers=answers)
    yield Measurement("token_accuracy", accuracy, answers=answers)
    place = 0
    for name in names:
        for head in range(heads[name]):
            masked, right, _ = score.means(batches, {name: head})
            yield Measurement("loss_increase", masked - loss, place, f"{name} {head}", answers)
            yield Measurement("accuracy_loss", accuracy - right, place, f"{name} {head}", answers)
            place += 1


class _Score:
    """Sums of loss and right answers with gates added to, compiled once a batch shape."""

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

    def heads(self, batch, name: str) -> int:
        return self._shapes(_arrays(batch))[name].shape[1]

    def means(self, batches, masked: Mapping[str, int]) -> tuple[float, float, float]:
        """(loss, accuracy, answers) with one head of each tap in `masked` silenced."""
        total = np.zeros(3)
        for batch in batches:
            arrays = _arrays(batch)
            zeros = {name: jnp.zeros(gate.shape) for name, gate in self._shapes(arrays).items()}
            taps = {name: z.at[:, masked[name]].set(-1.0) if name in masked else z for name, z in zeros.items()}
            total += [float(part) for part in self._sums(self._weights, arrays, taps)]
        return total[0] / total[2], total[1] / total[2], total[2]


def _arrays(batch) -> dict[str, jax.Array]:
    return {name: jnp.asarray(batch[name]) for name in mesh.ARRAYS}
