"""Warns once if a model whose positions are learned reads or writes further than they were trained to."""

import warnings
from collections.abc import Iterable

from flax import nnx

from data.batch import Batch
from models.contract import Architecture
from models.positions import T5, Learned, NoPositions

Tables = dict[str, tuple[int, str]]
SAYS: dict[type[NoPositions], str] = {
    Learned: "learned has {} positions, as in training; further ones share the last",
    T5: "t5 was trained on distances below {}; the buckets of further ones add nothing to the scores",
}


def tables(model: Architecture) -> Tables:
    """The longest trained length, and what is beyond, by the sides that a table counts: source, target or both."""
    found = {str(path[0]): node for path, node in nnx.iter_graph(model) if type(node) in SAYS}
    sides = {"encoder": "source", "decoder": "target"} if "encoder" in found else {}
    known = {sides.get(part, "both"): (node.trained, SAYS[type(node)]) for part, node in found.items()}
    return {side: (trained, says) for side, (trained, says) in known.items() if trained is not None}


def check(tables: Tables, source_length: int, target_length: int) -> None:
    """Warns if a length exceeds what a table was trained on."""
    lengths = {"source": source_length, "target": target_length, "both": source_length + target_length}
    for side, (trained, says) in tables.items():
        if lengths[side] > trained:
            warnings.warn(
                f"model.positions = {says.format(trained)}",
                stacklevel=1,  # so that it is the same warning whoever asks
            )


def check_batches(model: Architecture, batches: Iterable[Batch]) -> None:
    if there := tables(model):
        for batch in batches:
            lengths = batch["source_mask"].sum(1), (batch["target_weights"] > 0).sum(1)
            check(there, *(int(length.max(initial=0)) for length in lengths))
