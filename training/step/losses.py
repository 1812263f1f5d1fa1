"""Losses and metrics as sums, so that devices and micro-batches add up and divide once.

Dims: B batch, T target length, V outputs a position.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from models.shapes import Array, Bool, Float, Num

WITHIN = 0.04  # a real-valued answer counts as right below this error (Hochreiter & Schmidhuber 1997)


class Scores(NamedTuple):
    """The scores of each target position, not weighted yet."""

    loss: Float[Array, "B T"]  # what is minimised, with label smoothing
    nll: Float[Array, "B T"]  # without: nats, or the squared error
    correct: Bool[Array, "B T"]  # no other output scores higher


LossFn = Callable[..., Scores]
"""(logits or predictions, targets, label_smoothing) -> scores."""


def cross_entropy(
    logits_BTV: Float[Array, "B T V"], target_BT: Num[Array, "B T"], label_smoothing: float = 0.0
) -> Scores:
    """Cross-entropy against (1 - e) one-hot + e / V (Szegedy et al. 2016, section 7)."""
    logits_BTV = logits_BTV.astype(jnp.float32)
    normalizer_BT = jax.nn.logsumexp(logits_BTV, axis=-1)
    target_logit_BT = jnp.take_along_axis(logits_BTV, target_BT[..., None], axis=-1)[..., 0]
    nll_BT = normalizer_BT - target_logit_BT
    loss_BT = nll_BT
    if label_smoothing:
        uniform_BT = normalizer_BT - logits_BTV.mean(axis=-1)
        loss_BT = (1 - label_smoothing) * nll_BT + label_smoothing * uniform_BT
    return Scores(loss_BT, nll_BT, target_logit_BT >= logits_BTV.max(axis=-1))  # an argmax costs ten times a max


def squared_error(
    prediction_BT1: Float[Array, "B T 1"], target_BT: Num[Array, "B T"], label_smoothing: float = 0.0
) -> Scores:
    """Squared error; `correct` where the absolute error is below 0.04. Label smoothing has no meaning here."""
    error_BT = prediction_BT1[..., 0].astype(jnp.float32) - target_BT
    return Scores(error_BT**2, error_BT**2, jnp.abs(error_BT) < WITHIN)


def in_parts(
    score: LossFn,
    logits_of: Callable[[Array], Array],
    readout_BTR: Float[Array, "B T R"],
    target_BT: Num[Array, "B T"],
    label_smoothing: float,
    size: int,
) -> Scores:
    """`score(logits_of(readout), target, label_smoothing)`, with the logits of `size` positions per row at a time. The
    backward pass recomputes them: a quarter more arithmetic in the output layer, and never the whole (B, T, V) in
    float32."""
    T = target_BT.shape[1]
    parts = -(-T // size)

    def split(x: Array) -> Array:  # (B, T, ...) -> (parts, B, size, ...), filled up with zeros
        x = jnp.pad(x, [(0, 0), (0, parts * size - T), *[(0, 0)] * (x.ndim - 2)])
        return x.reshape(x.shape[0], parts, size, *x.shape[2:]).swapaxes(0, 1)

    @partial(jax.checkpoint, prevent_cse=False)
    def one(part: tuple[Array, Array]) -> Scores:
        return score(logits_of(part[0]), part[1], label_smoothing)

    scores = jax.lax.map(one, (split(readout_BTR), split(target_BT)))
    return jax.tree.map(lambda x: x.swapaxes(0, 1).reshape(x.shape[1], parts * size)[:, :T], scores)


LOSSES: dict[str, LossFn] = {"cross_entropy": cross_entropy, "mse": squared_error}
