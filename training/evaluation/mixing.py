"""Mixes a language model's probabilities with another run's: `--mix=RUN:WEIGHT` of eval.py."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data.batch import Batch
from data.tasks.language import Language
from models.mixture import Mixture
from training.evaluation import quality, scoring
from training.run.restore import Restored, restore
from training.step import params

AUTO = "auto"
STEPS = 40  # of the search for a weight, each of which leaves two thirds of where it can be


class Mixed(NamedTuple):
    run: Restored  # with the mixture as its model
    other: Restored
    folder: Path  # of the other
    weight: float  # of the other
    tuned: bool

    @property
    def name(self) -> str:
        """In the names of results: the other's folder, the first digits of the hash of its parameters, the weight."""
        digest = params.sha256(params.flatten(self.other.model))
        return f"mix-{self.folder.resolve().name}-{digest[:8]}-{AUTO if self.tuned else f'{self.weight:.15g}'}"


def parse(given: str) -> tuple[Path, float | None]:
    """The folder and the weight of RUN:WEIGHT, RUN:auto or RUN; None: to be tuned. Raises ValueError."""
    folder, _, weight = given.rpartition(":")
    if not folder or Path(given).is_dir():
        return Path(given), None
    try:
        value = None if weight == AUTO else float(weight)
    except ValueError:
        value = math.nan
    if value is not None and not 0 <= value <= 1:
        raise ValueError(f"--mix = {given}: the weight {weight} is not from 0 to 1; use one that is, or {AUTO}")
    return Path(folder), value


def mixed(given: str, run: Restored) -> Mixed:
    """The run with its model mixed with that of `given`. Raises ValueError or FileNotFoundError in one line."""
    folder, weight = parse(given)
    try:
        other = restore(folder)
    except FileNotFoundError as error:
        raise FileNotFoundError(str(error).replace("--workdir", "--mix")) from None
    ours, theirs = run.task, other.task
    if not isinstance(ours, Language) or not isinstance(theirs, Language):
        one = other if isinstance(ours, Language) else run
        name = one.config.model.name
        raise ValueError(f"--mix = {given}: {name} on {one.config.task} is no language model; mix two that are")
    if not ours.same_tokens(theirs):
        told = [f"{one.config.data.tokenizer.name}, {one.task.spec.target_size} tokens" for one in (other, run)]
        raise ValueError(
            f"--mix = {given}: its tokenizer ({told[0]}) is not this run's ({told[1]}), or learned from another text; "
            "mix runs of one tokenizer"
        )
    found = tuned(run, other) if weight is None else weight
    mixture = Mixture(run.model, other.model, found)
    return Mixed(run._replace(model=mixture), other, folder, found, weight is None)


def tuned(run: Restored, other: Restored) -> float:
    """The weight of the other that is best on val."""
    batches = list(run.batches("val"))
    return best_weight(*(np.exp(-losses(one, run, batches)) for one in (run, other)))


def best_weight(first_N: np.ndarray, second_N: np.ndarray) -> float:
    """The weight of the second with the least loss, to four digits, from what each gave to every right token."""

    def loss(weight: float) -> float:
        return -float(np.log((1 - weight) * first_N + weight * second_N).sum())

    low, high = 0.0, 1.0  # the loss is convex in the weight
    for _ in range(STEPS):
        third = (high - low) / 3
        low, high = (low, high - third) if loss(low + third) <= loss(high - third) else (low + third, high)
    return round((low + high) / 2, 4)


def losses(one: Restored, run: Restored, batches: Sequence[Batch]) -> np.ndarray:
    """(N,) nats of every token of batches of `run`, by the model of `one`."""
    scored = scoring.scorer(one.model, run.task.spec)(batches)
    return quality.gather(scored)[0].nll.astype(np.float64)


def alone(mix: Mixed, run: Restored, batches: Sequence[Batch], found: Mapping[str, Any]) -> dict[str, Any]:
    """What each of the two reaches by itself on batches of the split that `found` is of."""
    said: dict[str, Any] = {"with": str(mix.folder), "weight": mix.weight, "tuned_on": "val" if mix.tuned else None}
    for name, one in (("this", run), ("other", mix.other)):
        said[f"loss_of_{name}"] = loss = float(losses(one, run, batches).mean())
        if found["bits_per_byte"] is not None:
            said[f"bits_per_byte_of_{name}"] = found["bits_per_byte"] * loss / found["loss"]
    return said
