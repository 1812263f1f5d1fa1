"""How much a loss at the end depends on each earlier position: norms of dL/dh_t for every layer, and of dL/dx_t.

L is the loss at an example's last answer alone. Zeros are added to the hidden states through the model's taps, and the
gradient with respect to them is dL/dh_t, through the recurrence and every other path from h_t. The rows of a batch are
independent, so one backward pass of the batch's summed loss gives every example's own gradient.

Dims: B batch, S source length, T target length, N = S or T or S + T (as the tap's value), H width.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from data.batch import Batch
from experiments.probes.measurement import Measurement
from models.contract import Taps
from training.machine import mesh
from training.run.restore import Restored
from training.step import params
from training.step.losses import LOSSES

PARTS = ("hidden", "cell", "inputs")  # the last word of the taps that are states over time
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
NORMS_FROM = "gradient_norm"
RAISED = 2.0**90  # the loss, in the backward pass: float32 ends at 1e-38, and what is forgotten lies below


def measure(
    run: Restored,
    *,
    split: str = "val",
    examples: int = 64,
    places: int = 64,
    parts: Sequence[str] = PARTS,
    quantiles: Sequence[float] = QUANTILES,
) -> Iterator[Measurement]:
    """`gradient_norm_mean` and `gradient_norm_q50` (and other quantiles over examples) by how many tokens before the
    loss a state lies (`place`), for each tap (`part`, such as decoder.0.hidden or decoder.inputs). Norms below 1e-65
    are 0.

    At most `places` places are kept, evenly spread. `largest_singular_value` of every square recurrent matrix comes
    along: for a tanh RNN the norm grows by at most that factor a step back.
    """
    names = [name for name in run.model.tap_names() if name.rpartition(".")[2] in parts]
    gradient = Gradient(run, names)
    found: dict[str, dict[int, list[float]]] = {name: {} for name in names}
    for batch in run.batches(split, limit=examples):
        for name, norm_BN in gradient(batch).items():
            for place, norm in zip(*_placed(batch, name, norm_BN), strict=True):
                found[name].setdefault(int(place), []).append(float(norm))
    for name, by_place in found.items():
        for place in _thinned(sorted(by_place), places):
            norms = np.array(by_place[place])
            yield Measurement(f"{NORMS_FROM}_mean", norms.mean(), place, name, len(norms))
            for quantile in quantiles:
                value = np.quantile(norms, quantile)
                yield Measurement(f"{NORMS_FROM}_q{100 * quantile:g}", value, place, name, len(norms))
    for path, kernel in params.flatten(run.model).items():
        if path.endswith("recurrent_kernel") and kernel.shape[0] == kernel.shape[1]:
            value = float(np.linalg.norm(np.asarray(kernel), ord=2))
            yield Measurement("largest_singular_value", value, part=path.rpartition("/")[0].replace("/", "."))


class Gradient:
    """Norms of the gradient of each example's last loss, by tap; compiled once per batch shape."""

    def __init__(self, run: Restored, names: Sequence[str]):
        self._weights = params.flatten(run.model)
        self._norms = _norms(params.Skeleton(run.model), run.task.spec.loss, tuple(names))

    def __call__(self, batch: Batch) -> dict[str, np.ndarray]:
        """(B, N) norms by tap."""
        arrays = jax.tree.map(jnp.asarray, mesh.read_by_step(batch))
        position_T = np.arange(batch["target_in"].shape[1])
        arrays["last"] = jnp.asarray((position_T == _last(batch)[:, None]) & _asked(batch)[:, None], jnp.float32)
        found = self._norms(self._weights, arrays)
        return {name: np.asarray(norm_BN, np.float64) / RAISED for name, norm_BN in found.items()}


@functools.lru_cache(maxsize=4)
def _norms(skeleton: params.Skeleton, loss_name: str, names: Sequence[str]) -> Callable[..., dict[str, jax.Array]]:
    """The same function for equal arguments: every evaluation of a run asks for it."""
    score = LOSSES[loss_name]

    def output(weights: params.Params, taps: Taps, arrays: Mapping[str, jax.Array]):
        return skeleton(weights)(arrays["source"], arrays["source_mask"], arrays["target_in"], taps=taps)

    def loss(taps: Taps, weights: params.Params, arrays: Mapping[str, jax.Array]) -> jax.Array:
        scores = score(output(weights, taps, arrays).logits, arrays["target_out"])
        return RAISED * (scores.nll * arrays["last"]).sum()

    def norms(weights: params.Params, arrays: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        captured = jax.eval_shape(output, weights, dict.fromkeys(names), arrays).taps
        zeros = {name: jnp.zeros(value.shape, value.dtype) for name, value in captured.items()}
        gradients = jax.grad(loss)(zeros, weights, arrays)
        return {name: _norm(gradient) for name, gradient in gradients.items()}

    return jax.jit(norms)


def _norm(gradient_BNH: jax.Array) -> jax.Array:
    """(B, N) norms over H. The largest entry is divided out, since squares of small numbers underflow in float32."""
    gradient_BNH = gradient_BNH.astype(jnp.float32)
    largest_BN = jnp.abs(gradient_BNH).max(axis=-1)
    scaled_BNH = gradient_BNH / jnp.where(largest_BN > 0, largest_BN, 1.0)[..., None]
    return largest_BN * jnp.linalg.norm(scaled_BNH, axis=-1)


def _last(batch: Batch) -> np.ndarray:
    """(B,) the last position that counts."""
    counted_BT = batch["target_weights"] > 0
    return counted_BT.shape[1] - 1 - counted_BT[:, ::-1].argmax(axis=1)


def _asked(batch: Batch) -> np.ndarray:
    """(B,) whether an example has any answer."""
    return np.asarray((batch["target_weights"] > 0).any(axis=1))


def _placed(batch: Batch, name: str, norm_BN: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(places, norms) of every real position up to the loss, by the number of real tokens before the loss."""
    (B, S), T = batch["source_mask"].shape, batch["target_in"].shape[1]
    real_BN = np.concatenate([batch["source_mask"], np.ones((B, T), bool)], axis=1)
    count_BN = real_BN.cumsum(axis=1)
    loss_at_B = S + _last(batch)
    place_BN = count_BN[np.arange(B), loss_at_B][:, None] - count_BN
    real_BN &= np.arange(S + T) <= loss_at_B[:, None]
    real_BN &= _asked(batch)[:, None]
    first = 0 if name.startswith("encoder") or norm_BN.shape[1] == S + T else S
    here = slice(first, first + norm_BN.shape[1])
    return place_BN[:, here][real_BN[:, here]], norm_BN[real_BN[:, here]]


def _thinned(places: Sequence[int], most: int) -> list[int]:
    """At most `most` places, evenly spread, with the first and the last."""
    if len(places) <= most:
        return list(places)
    return [places[i] for i in np.unique(np.linspace(0, len(places) - 1, most).round().astype(int))]
