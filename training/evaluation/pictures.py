"""Attention weights as pictures: one panel per layer and head, queries down, keys across, a square at the right key.

The size of a picture is bounded. For long examples or many heads it shows the first tokens, cells of several tokens, or
the first heads, and says so.
"""

import functools
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import cast

import jax
import numpy as np
from flax import nnx

from data import whole_file
from data.batch import Batch
from data.task import Task
from data.tasks.text import TextTask
from models.contract import Architecture

MOST_LABELS = 80  # a side; longer sequences are drawn without
MOST_CELLS = 256  # a side of a panel
MOST_PANELS = 12  # a side of the picture: layers and heads
MOST_WEIGHTS = 2**25  # of one example, in all layers and heads; longer examples are cut
MOST_PIXELS = 4e7
DPI = 120
UNLABELLED = 4.0  # inches
LONGEST_LABEL = 16  # characters
SCALE = 0.8  # inches, of the scale of colours
MARK = "#D55E00"


def attention_names(model: Architecture) -> list[str]:
    """The taps to draw: attention to the source where there is any, else self-attention, an encoder's last."""
    names = [name for name in model.tap_names() if name.endswith("attention")]
    across = [name for name in names if name.endswith("cross_attention")]
    return across or [name for name in names if not name.startswith("encoder")] or names


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
        return task.source_pieces(source), task.target_pieces(batch["target_out"][row][:length])
    shown = [f"{value:.2g}" for value in source[:, 0]] if source.ndim == 2 else [str(token) for token in source]
    return shown, [str(token) for token in batch["target_in"][row][:length]]


def picture(path: Path, model: Architecture, task: Task, batch: Batch, row: int) -> None:
    """Draws the attention of one row of the batch; of an example with too many weights, only the first tokens."""
    names, (graph, state) = tuple(attention_names(model)), nnx.split(model)
    S, T = batch["source"].shape[1], batch["target_in"].shape[1]
    one, said = _beginning(batch, row, S, T), ""
    while _size(graph, state, names, one) > MOST_WEIGHTS:
        cut_S, cut_T = one["source"].shape[1], one["target_in"].shape[1]
        smaller_S, smaller_T = (cut_S // 2, cut_T) if cut_S > cut_T else (cut_S, cut_T // 2)
        cut_S, cut_T = (cut_S // 2, -(-cut_T // 2)) if _of_encoder(names) else (smaller_S, smaller_T)
        one = _beginning(batch, row, cut_S, cut_T)
        said = f"the first {cut_S:,} of {S:,} source and {cut_T:,} of {T:,} target tokens"
    draw_attention(path, attention_maps(model, one), task, one, 0, said)


def _of_encoder(names: Iterable[str]) -> bool:
    return all(name.startswith("encoder") for name in names)


def _size(graph, state, names: tuple[str, ...], batch: Batch) -> int:
    """The number of weights."""
    capture = functools.partial(_capture, graph, names=names)
    arrays = {name: batch[name] for name in ("source", "source_mask", "target_in")}
    return sum(weights.size for weights in jax.eval_shape(capture, state, **arrays).values())


def _beginning(batch: Batch, row: int, S: int, T: int) -> Batch:
    """One row of a batch, with its first `S` source and `T` target positions."""
    lengths = {"source": S, "source_mask": S}
    arrays = cast(dict[str, np.ndarray], batch).items()
    whole = {name: array[row : row + 1] for name, array in arrays}
    if batch["source"].shape[1] > S:
        whole.pop("distance", None)  # which counts through the whole source
    return cast(Batch, {n: a[:, : lengths.get(n, T)] if a.ndim > 1 else a for n, a in whole.items()})


def draw_attention(path: Path, maps: dict[str, np.ndarray], task: Task, batch: Batch, row: int, said: str = "") -> None:
    """Draws the maps (B, H, T, S) of one row of the batch; padding is left out. `said` goes on top."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    sources, targets = labels(task, batch, row)
    _, heads, num_queries, num_keys = next(iter(maps.values())).shape
    S = batch["source"].shape[1]
    source_S, target_T = np.flatnonzero(batch["source_mask"][row]), np.arange(len(targets))
    if num_keys == S and num_queries == batch["target_in"].shape[1]:
        keys, queries, key_places, query_places = sources, targets, source_S, target_T
        along = ("source", "target")
    elif _of_encoder(maps):  # whose first token stands for the whole
        keys = queries = ["<s>", *sources]
        key_places = query_places = np.concatenate([[0], 1 + source_S])
        along = ("source", "source")
    else:  # decoder-only: source and target are one sequence
        keys = queries = sources + targets
        key_places = query_places = np.concatenate([source_S, S + target_T])
        along = ("source and target" if S else "target",) * 2
    first = 0 if along[1] == "target" else S + (along[1] == "source")
    right = _right_keys(batch, row, query_places, key_places, first)
    layers = list(maps.items())[:MOST_PANELS]
    columns, single = min(heads, MOST_PANELS), len(maps) == 1 and heads == 1
    a_query, a_key = (-(-max(len(side), 1) // MOST_CELLS) for side in (queries, keys))  # tokens of a cell
    notes = [said] if said else []
    if len(layers) < len(maps) or columns < heads:
        notes.append(f"the first {len(layers)} of {len(maps)} layers and {columns} of {heads} heads")
    if max(a_query, a_key) > 1:
        notes.append(f"a cell is a mean over {a_query} queries and a sum over {a_key} keys")
    if len(right):
        notes.append("squares: where the answer lies")

    unit, least = (0.26, 1.2) if single else (0.09, 1.5)
    width, height = (UNLABELLED if len(s) > MOST_LABELS else max(least, unit * len(s) + 0.6) for s in (keys, queries))
    most_labels = MOST_LABELS
    if columns * width * len(layers) * height * DPI**2 > MOST_PIXELS:
        width = height = least
        most_labels = 0
    # Tokens are not mathematics, and some have no glyph.
    with warnings.catch_warnings(), matplotlib.rc_context({"text.parse_math": False, "text.usetex": False}):
        warnings.simplefilter("ignore", UserWarning)
        size = (columns * width + SCALE, len(layers) * height)
        figure, axes = pyplot.subplots(len(layers), columns, squeeze=False, layout="constrained", figsize=size)
        for number, (panels, (name, weights)) in enumerate(zip(axes, layers, strict=True), start=1):
            for head, panel in enumerate(panels):
                shown_TS = pooled(weights[row, head][np.ix_(query_places, key_places)], a_query, a_key)
                image = panel.imshow(shown_TS, vmin=0, vmax=1, cmap="Blues", aspect="auto")
                panel.plot(right[:, 1] // a_key, right[:, 0] // a_query, "s", mfc="none", mec=MARK, ms=4, mew=0.8)
                if number == 1 and columns > 1:
                    panel.set_title(f"head {head}", fontsize=8)
                if head == 0:
                    panel.set_ylabel(name.rpartition(".")[0], fontsize=8)
                _label(panel.xaxis, keys if number == len(layers) else [], most_labels, rotation=90)
                _label(panel.yaxis, queries if head == 0 else [], most_labels, rotation=0)
        figure.supxlabel(f"keys: {along[0]} tokens", fontsize=7)
        figure.supylabel(f"queries: {along[1]} tokens", fontsize=7)
        scale = figure.colorbar(image, ax=axes, fraction=0.05, pad=0.02)
        scale.ax.tick_params(labelsize=6)
        scale.set_label("attention weight", fontsize=7)
        if notes:
            figure.suptitle("\n".join(notes), fontsize=6)
        try:
            with whole_file.replacing(path) as partial:
                figure.savefig(partial, dpi=DPI)
        finally:
            pyplot.close(figure)


def _right_keys(batch: Batch, row: int, query_places: np.ndarray, key_places: np.ndarray, first: int) -> np.ndarray:
    """(N, 2): the places, in the picture, of each query and the key at which its answer lies, where the task says so.
    The first target is query `first`."""
    S, columns, found = batch["source"].shape[1], {int(place): n for n, place in enumerate(key_places)}, []
    for n, query in enumerate(query_places):
        t = int(query) - first
        if t >= 0 and "distance" in batch and batch["target_weights"][row, t] > 0 and batch["distance"][row, t] >= 0:
            place = S + t - int(batch["distance"][row, t])
            found += [(n, columns[place])] if place in columns else []
    return np.array(found, int).reshape(-1, 2)


def pooled(weights_TS: np.ndarray, a_query: int, a_key: int) -> np.ndarray:
    """Means over `a_query` queries of sums over `a_key` keys, so that the weights of a query still sum to 1."""
    by_key_TK = np.add.reduceat(weights_TS, range(0, weights_TS.shape[1], a_key), axis=1)
    starts = np.arange(0, len(weights_TS), a_query)
    counts_Q = np.diff([*starts, len(weights_TS)])
    return np.add.reduceat(by_key_TK, starts, axis=0) / counts_Q[:, None]


def _label(axis, labels: list[str], most: int, rotation: int) -> None:
    """Tokens as tick labels where they can be read."""
    shown = [_readable(label) for label in labels] if len(labels) <= most else []
    axis.set_ticks(range(len(shown)), shown, rotation=rotation, fontsize=6)


def _readable(token: str) -> str:
    """The token with unprintable characters escaped; a long one is cut."""
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in token)
    return text if len(text) <= LONGEST_LABEL else text[: LONGEST_LABEL - 1] + "…"
