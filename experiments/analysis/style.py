"""The house style of figures: one look, colours that the colour-blind can tell apart, seeds and intervals shown.

Dims: N seeds, X places.
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from data import whole_file
from experiments.analysis.statistics import t_interval

# Okabe & Ito's palette (2008), one colour a family; variants of a family differ in line and marker.
COLOURS = {
    "rnn": "#D55E00",
    "lstm": "#0072B2",
    "gru": "#009E73",
    "attention": "#CC79A7",
    "conv": "#56B4E9",
    "transformer": "#000000",
    "other": "#E69F00",
}
DASHES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.2, 1, 1.2)))
MARKERS = ("o", "s", "^", "D")
GREY = "#666666"

SETTINGS: Any = {
    "figure.dpi": 110,
    "savefig.dpi": 160,
    "savefig.bbox": "tight",
    "font.size": 9,
    "font.family": "DejaVu Sans",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.labelcolor": "#333333",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.7,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 4,
    "svg.hashsalt": "longreach",
    "svg.fonttype": "none",
}


class Look:
    """The colour, line and marker of one series."""

    def __init__(self, family: str, variant: int = 0):
        self.colour = COLOURS.get(family, COLOURS["other"])
        self.dash, self.marker = DASHES[variant % len(DASHES)], MARKERS[variant % len(MARKERS)]


@contextlib.contextmanager
def house() -> Iterator[None]:
    """Draws within the house style, and without a display."""
    matplotlib.use("Agg")
    with matplotlib.rc_context(SETTINGS):
        yield


def panels(count: int, columns: int = 2, *, width: float = 4.1, height: float = 2.9) -> tuple[Figure, list[Axes]]:
    """A figure with `count` panels in rows, and room for one legend below all."""
    columns = min(columns, max(count, 1))
    rows = -(-max(count, 1) // columns)
    figure = Figure(figsize=(width * columns, height * rows + 0.6), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for unused in axes[count:]:
        unused.set_visible(False)
    return figure, axes[:count]


def part(name: str, label: str) -> str:
    """The label of what belongs to the series `label` and is no entry of a legend: its `seeds`, `interval`, `mean`."""
    return f"_{name} of {label}"


def series_of(artist_label: str) -> tuple[str, str] | None:
    """The inverse of `part`: (its name, the series), or None for the label of anything else."""
    name, mark, label = artist_label.removeprefix("_").partition(" of ")
    return (name, label) if artist_label.startswith("_") and mark else None


def curves(rows: Any) -> tuple[np.ndarray, np.ndarray]:
    """(X places, (seeds, X) values) over the places that every seed has."""
    last = rows.drop_duplicates(["seed", "place"], keep="last")
    values_NX = last.pivot(index="seed", columns="place", values="value").dropna(axis=1)
    return values_NX.columns.to_numpy(), values_NX.to_numpy()


def curve(
    axes: Axes, x_X: np.ndarray, values_NX: np.ndarray, look: Look, label: str, of_sentences_X: Sequence[float] = ()
) -> None:
    """The mean over seeds as a line, its 95 % t interval as a band, every seed a dot. `of_sentences_X`: what the test
    set adds to the variance of each mean (`experiments/analysis/statistics.py`)."""
    variances = of_sentences_X if len(of_sentences_X) else np.zeros(len(x_X))
    intervals = [t_interval(v, of_sentences=s) for v, s in zip(values_NX.T, variances, strict=True)]
    axes.plot(x_X, [i.mean for i in intervals], color=look.colour, linestyle=look.dash, label=label, zorder=3)
    if len(values_NX) > 1:
        low, high = [i.low for i in intervals], [i.high for i in intervals]
        axes.fill_between(
            x_X, low, high, color=look.colour, alpha=0.13, linewidth=0, zorder=1, label=part("interval", label)
        )
    for values_X in values_NX:
        axes.plot(
            x_X,
            values_X,
            look.marker,
            color=look.colour,
            alpha=0.35,
            ms=2.4,
            mew=0,
            zorder=2,
            label=part("seeds", label),
        )
    axes.relim()  # by lines and dots: the band of two seeds would leave no room for anything else
    axes.autoscale_view()


def points(
    axes: Axes,
    x: float,
    values_N: Sequence[float] | np.ndarray,
    look: Look,
    label: str = "",
    of_sentences: float = 0.0,
) -> None:
    """One place: the mean with its 95 % t interval, every seed a dot beside it."""
    values_N = np.asarray(values_N, float)
    mean, low, high = t_interval(values_N, of_sentences=of_sentences)
    axes.plot(
        np.full(len(values_N), x),
        values_N,
        look.marker,
        color=look.colour,
        alpha=0.4,
        ms=3,
        mew=0,
        zorder=2,
        label=part("seeds", label),
    )
    bar = [[mean - low], [high - mean]] if np.isfinite(high) else None
    drawn = axes.errorbar([x], [mean], bar, fmt=look.marker, color=look.colour, ms=5, capsize=3, zorder=3)
    drawn.set_label(label or part("mean", label))
    dot, *bars = drawn.get_children()
    dot.set_label(part("mean", label))
    for one in bars:
        one.set_label(part("interval", label))


def level(axes: Axes, y: float, name: str, *, to: float | None = None) -> None:
    """A dashed line across, such as chance, named at its right end; up to `to` where it holds no further."""
    dashed: Any = {"color": GREY, "linestyle": (0, (4, 3)), "linewidth": 1, "zorder": 0}
    if to is None:
        axes.axhline(y, **dashed)
    else:
        axes.hlines(y, 0, to, **dashed)
    place, across = (1.0, "axes fraction") if to is None else (to, "data")
    axes.annotate(
        name,
        (place, y),
        xycoords=(across, "data"),
        xytext=(-2, 2),
        textcoords="offset points",
        ha="right",
        va="bottom",
        color=GREY,
        fontsize=7.5,
    )


def legend(figure: Figure, axes: Sequence[Axes], columns: int = 4) -> None:
    """One legend below all panels, each name once."""
    named: dict[str, Any] = {}
    for one in axes:
        for handle, label in zip(*one.get_legend_handles_labels(), strict=True):
            named.setdefault(label, handle)
    if named:
        figure.legend(
            named.values(), named.keys(), loc="outside lower center", ncols=min(columns, len(named)), handlelength=2.8
        )


def save(figure: Figure, folder: Path) -> None:
    """`figure.svg` and `figure.png`, the same bytes for the same figure."""
    with matplotlib.rc_context(SETTINGS):
        for name, metadata in (("figure.svg", {"Date": None}), ("figure.png", {"Software": None})):
            with whole_file.replacing(folder / name) as partial:
                figure.savefig(partial, metadata=metadata)
