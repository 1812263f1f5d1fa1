"""Warns once if a model with learned positions reads or writes further than it was trained to."""

import warnings
from collections.abc import Iterable

from flax import nnx

from data.batch import Batch
from models.contract import Architecture
from models.positions import Learned

Tables = dict[str, int]


def tables(model: Architecture) -> Tables:
    """The rows of each table of positions, by the sides that it counts: source, target or both."""
    found = {str(path[0]): node for path, node in nnx.iter_graph(model) if isinstance(node, Learned)}
    sides = {"encoder": "source", "decoder": "target"} if "encoder" in found else {}
    return {sides.get(part, "both"): table.table_ND.shape[0] for part, table in found.items()}


def check(tables: Tables, source_length: int, target_length: int) -> None:
    """Warns if a length exceeds a table, whose last row then serves for every further position."""
    lengths = {"source": source_length, "target": target_length, "both": source_length + target_length}
    for side, trained in tables.items():
        if lengths[side] > trained:
            warnings.warn(
                f"model.positions = learned has {trained} positions, as in training; further ones share the last",
                stacklevel=1,  # so that it is the same warning whoever asks
            )


def check_batches(model: Architecture, batches: Iterable[Batch]) -> None:
    if there := tables(model):
        for batch in batches:
            lengths = batch["source_mask"].sum(1), (batch["target_weights"] > 0).sum(1)
            check(there, *(int(length.max(initial=0)) for length in lengths))
