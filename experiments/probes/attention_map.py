"""Where attention looks: how spread it is, and whether it finds the answer whose place the task knows.

Dims: B batch, S source length, T target length, H heads, Q queries, K keys.
"""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from data.batch import Batch
from experiments.probes.measurement import Measurement
from models.seq2seq_attention import WEIGHTS_TAP
from training.run.restore import Restored
from training.step import params

NEAR = 1  # tokens beside the answer that `near_answer` counts as well


def measure(run: Restored, *, split: str = "val", examples: int = 256) -> Iterator[Measurement]:
    """For every layer and head (`part`, such as `decoder.0.attention head 1`): `entropy` of its weights (nats, a mean
    over queries) and `entropy_share` of that of even weights; and over the queries whose answer's place is known,
    `on_answer`, the weight that falls there, `near_answer`, that within a token of it, and `finds_answer`, how often
    the largest weight lies there. Raises ValueError for a model without attention.
    """
    names = tuple(name for name in run.model.tap_names() if name.endswith("attention"))
    if not names:
        raise ValueError(f"attention_map: {run.config.model.name} has no attention; use another probe")
    skeleton, weights = params.Skeleton(run.model), params.flatten(run.model)

    @jax.jit
    def look(weights, source, source_mask, target_in):
        return skeleton(weights)(source, source_mask, target_in, taps=dict.fromkeys(names)).taps

    found: dict[tuple[str, int, str], list[np.ndarray]] = {}
    for batch in run.batches(split, limit=examples):
        arrays = (jnp.asarray(batch[name]) for name in ("source", "source_mask", "target_in"))
        for name, captured in look(weights, *arrays).items():
            weights_BHQK = np.asarray(captured, np.float64)
            weights_BHQK = weights_BHQK if weights_BHQK.ndim == 4 else weights_BHQK[:, None]  # attention of one head
            real_BQ, answer_BQ = queries(batch, name, weights_BHQK.shape[2], weights_BHQK.shape[3])
            for head in range(weights_BHQK.shape[1]):
                for measure, values in _of_head(weights_BHQK[:, head], real_BQ, answer_BQ).items():
                    found.setdefault((name, head, measure), []).append(values)
    for (name, head, measure), parts in found.items():
        values = np.concatenate(parts)
        if len(values):
            yield Measurement(measure, float(values.mean()), part=f"{name} head {head}", answers=len(values))


def queries(batch: Batch, name: str, Q: int, K: int) -> tuple[np.ndarray, np.ndarray]:
    """(B, Q) which queries are real, and (B, Q) the key at which each one's answer lies, -1 where there is none.

    Queries and keys lie along source and target in sequence (a decoder-only model), or along one of the two.
    """
    (B, S), T = batch["source_mask"].shape, batch["target_in"].shape[1]
    counted_BT = batch["target_weights"] > 0
    place_BT = S + np.arange(T) - batch["distance"]
    answer_BT = np.where(counted_BT & (batch["distance"] >= 0), place_BT, -1)
    whole = Q == S + T and not name.startswith("encoder")
    if whole:
        nothing = np.zeros((B, S), bool)
        return np.concatenate([nothing, counted_BT], 1), np.concatenate([nothing - 1, answer_BT], 1)
    if name.startswith("encoder"):
        return batch["source_mask"], np.full((B, S), -1)
    along_source = name.endswith("cross_attention") or name == WEIGHTS_TAP
    first = 0 if along_source else S
    inside_BT = (answer_BT >= first) & (answer_BT < first + K)
    return counted_BT, np.where(inside_BT, answer_BT - first, -1)


def _of_head(weights_BQK: np.ndarray, real_BQ: np.ndarray, answer_BQ: np.ndarray) -> dict[str, np.ndarray]:
    """The values of each measure, one per query."""
    weights_NK, visible_N = weights_BQK[real_BQ], (weights_BQK[real_BQ] > 0).sum(1)
    entropy_N = -(weights_NK * np.log(np.maximum(weights_NK, 1e-30))).sum(1)
    known_BQ = answer_BQ >= 0
    weights_AK, answer_A = weights_BQK[known_BQ], answer_BQ[known_BQ]
    beside_AK = np.abs(np.arange(weights_BQK.shape[2]) - answer_A[:, None]) <= NEAR
    return {
        "entropy": entropy_N,
        "entropy_share": entropy_N[visible_N > 1] / np.log(visible_N[visible_N > 1]),
        "on_answer": np.take_along_axis(weights_AK, answer_A[:, None], axis=1)[:, 0],
        "near_answer": (weights_AK * beside_AK).sum(1),
        "finds_answer": (weights_AK.argmax(1) == answer_A).astype(float),
    }
