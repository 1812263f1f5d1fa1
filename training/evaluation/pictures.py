"""Attention weights as pictures: one panel a layer and head, queries down, keys across."""

import functools
from pathlib import Path

import jax
import numpy as np
from flax import nnx

from data import whole_file
from data.batch import Batch
from data.task import Task
from data.tasks.text import TextTask
from data.tasks.translation import Translation
from models.contract import Architecture

MOST_LABELS = 40  # a side; longer sequences are drawn without


def attention_names(model: Architecture) -> list[str]:
    """The taps to draw: attention to the source where there is any, else self-attention."""
    names = [name for name in model.tap_names() if name.endswith("attention")]
    across = [name for name in names if name.endswith("cross_attention")]
    return across or [name for name in names if not name.startswith("encoder")]


def attention_maps(model: Architecture, batch: Batch) -> dict[str, np.ndarray]:
    """Teacher-forced weights by tap, each (B, H, T, S)."""
    names = attention_names(model)
    graph, state = nnx.split(model)
    captured = _capture(graph, state, tuple(names), batch["source"], batch["source_mask"], batch["target_in"])
    maps = {name: np.asarray(captured[name], np.float32) for name in names}
    return {name: weights if weights.ndim == 4 else weights[:, None] for name, weights in maps.items()}


@functools.partial(jax.jit, static_argnames=("graph", "names"))
def _capture(graph, state, names: tuple[str, ...], source, source_mask, target_in) -> dict[str, jax.Array]:
    return nnx.merge(graph, state)(source, source_mask, target_in, taps=dict.fromkeys(names)).taps


def labels(task: Task, batch: Batch, row: int) -> tuple[list[str], list[str]]:
    """One example's source tokens as read and target tokens as given (as fed, where they are not text), unpadded."""
    source = batch["source"][row][batch["source_mask"][row]]
    counted_T = batch["target_weights"][row] > 0
    length = len(counted_T) - int(counted_T[::-1].argmax())
    if isinstance(task, TextTask):
        sources: list[str] = task.source_pieces(source) if isinstance(task, Translation) else []
        return sources, task.target_pieces(batch["target_out"][row][:length])
    shown = [f"{value:.2g}" for value in source[:, 0]] if source.ndim == 2 else [str(token) for token in source]
    return shown, [str(token) for token in batch["target_in"][row][:length]]


def draw_attention(path: Path, maps: dict[str, np.ndarray], task: Task, batch: Batch, row: int) -> None:
    """Draws the maps (B, H, T, S) of one row of the batch; padding is left out."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    sources, targets = labels(task, batch, row)
    _, _, num_queries, num_keys = next(iter(maps.values())).shape
    source_S, target_T = np.flatnonzero(batch["source_mask"][row]), np.arange(len(targets))
    if num_keys == batch["source"].shape[1] and num_queries == batch["target_in"].shape[1]:
        keys, queries, key_places, query_places = sources, targets, source_S, target_T
    else:  # decoder-only: source and target are one sequence
        keys = queries = sources + targets
        key_places = query_places = np.concatenate([source_S, batch["source"].shape[1] + target_T])
    columns, single = next(iter(maps.values())).shape[1], len(maps) == 1 and next(iter(maps.values())).shape[1] == 1
    unit, least = (0.26, 1.2) if single else (0.09, 1.5)
    size = (columns * max(least, unit * len(keys) + 0.6), len(maps) * max(least, unit * len(queries) + 0.6))
    figure, axes = pyplot.subplots(len(maps), columns, squeeze=False, layout="constrained", figsize=size)
    for number, (panels, (name, weights)) in enumerate(zip(axes, maps.items(), strict=True), start=1):
        for head, panel in enumerate(panels):
            shown_TS = weights[row, head][np.ix_(query_places, key_places)]
            panel.imshow(shown_TS, vmin=0, vmax=1, cmap="Blues", aspect="auto")
            if number == 1 and columns > 1:
                panel.set_title(f"head {head}", fontsize=8)
            if head == 0:
                panel.set_ylabel(name.rpartition(".")[0], fontsize=8)
            _label(panel.xaxis, keys if number == len(maps) else [], rotation=90)
            _label(panel.yaxis, queries if head == 0 else [], rotation=0)
    with whole_file.replacing(path) as partial:
        figure.savefig(partial, dpi=120)
    pyplot.close(figure)


def _label(axis, labels: list[str], rotation: int) -> None:
    """Tokens as tick labels where they can be read."""
    shown = labels if len(labels) <= MOST_LABELS else []
    axis.set_ticks(range(len(shown)), shown, rotation=rotation, fontsize=6)
