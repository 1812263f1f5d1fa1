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
SIDES = {"encoder": "source", "decoder": "target", "source_positions": "source", "target_positions": "target"}


def tables(model: Architecture) -> Tables:
    """The longest trained length, and what is beyond, by the sides that a table counts: source, target or both."""
    found = {str(path[0]): node for path, node in nnx.iter_graph(model) if type(node) in SAYS}
    apart = any(SIDES.get(part) == "source" for part in found)
    known: Tables = {}
    for part, node in found.items():
        side = SIDES.get(part, "both") if apart else "both"
        if node.trained is not None:
            ahead = model.ahead if side == "source" else 0
            known[side] = (node.trained - ahead, SAYS[type(node)].format(node.trained))
    return known


def check(tables: Tables, source_length: int, target_length: int) -> None:
    """Warns if a length exceeds what a table was trained on."""
    lengths = {"source": source_length, "target": target_length, "both": source_length + target_length}
    for side, (longest, says) in tables.items():
        if lengths[side] > longest:
            warnings.warn(
                f"model.positions = {says}",
                stacklevel=1,  # so that it is the same warning whoever asks
            )


def check_batches(model: Architecture, batches: Iterable[Batch]) -> None:
    if there := tables(model):
        for batch in batches:
            lengths = batch["source_mask"].sum(1), (batch["target_weights"] > 0).sum(1)
            check(there, *(int(length.max(initial=0)) for length in lengths))
