"""Attention weights as pictures: one panel a layer and head, queries down, keys across."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np

from data.batch import Batch
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
    arrays = (jnp.asarray(batch[name]) for name in ("source", "source_mask", "target_in"))  # type: ignore[literal-required]
    captured = model(*arrays, taps=dict.fromkeys(names)).taps
    maps = {name: np.asarray(captured[name], np.float32) for name in names}
    return {name: weights if weights.ndim == 4 else weights[:, None] for name, weights in maps.items()}


def draw_attention(path: Path, maps: dict[str, np.ndarray], keys: list[str], queries: list[str]) -> None:
    """Draws one example's maps, each (H, T, S); rows and columns beyond the labels are padding and left out."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows, columns = len(maps), max(weights.shape[0] for weights in maps.values())
    single = rows == columns == 1
    width = 1.2 + 0.26 * len(keys) if single else max(1.6, 0.09 * len(keys) + 0.5)
    height = 1.2 + 0.26 * len(queries) if single else max(1.6, 0.09 * len(queries) + 0.5)
    figure, axes = pyplot.subplots(
        rows, columns, squeeze=False, layout="constrained", figsize=(width * columns, height * rows)
    )
    for row, (name, weights_HTS) in zip(axes, maps.items(), strict=True):
        for head, panel in enumerate(row):
            panel.imshow(weights_HTS[head, : len(queries), : len(keys)], vmin=0, vmax=1, cmap="Blues", aspect="auto")
            panel.set_title(name if weights_HTS.shape[0] == 1 else f"{name} head {head}", fontsize=8)
            last_row, first_column = row is axes[-1], head == 0
            _label(panel.xaxis, keys if single or last_row else [], rotation=90)
            _label(panel.yaxis, queries if single or first_column else [], rotation=0)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def _label(axis, labels: list[str], rotation: int) -> None:
    """Tokens as tick labels where they can be read."""
    shown = labels if len(labels) <= MOST_LABELS else []
    axis.set_ticks(range(len(shown)), shown, rotation=rotation, fontsize=6)
