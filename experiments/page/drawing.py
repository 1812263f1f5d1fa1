"""A question's figure, taken apart for a page: an SVG a panel, whose series can be hidden and whose points can be read.

The figure is the one that `figure.svg` shows. Its panels are drawn apart, so that a page can set them side by side or
one below another, and without their legends, which the page has of its own. What a point says is read off the artists
(`style.part` names them): the value, and the seeds that share its place.
"""

import io
import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection, PolyCollection, QuadMesh
from matplotlib.colors import to_hex
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedFormatter, FuncFormatter
from matplotlib.transforms import Bbox

from experiments.analysis import style
from experiments.analysis.statistics import Interval
from experiments.page import svg
from experiments.page.markup import Markup

DPI = 72  # of matplotlib's SVG: a pixel is a point
EDGE = 4.0  # points around a panel
SWATCH = (34, 12)  # points
THIN = 1.4  # points: no swatch has a thinner line


class Point(NamedTuple):
    series: int  # its place in the legend; -1 for what has no name
    left: float  # in the panel's SVG
    top: float
    x: str
    y: float
    interval: Interval | None  # 95 %, over seeds
    seeds: list[float]  # in the order of the seeds


class Panel(NamedTuple):
    title: str
    x_label: str
    y_label: str
    drawn: Markup
    points: list[Point]


class Entry(NamedTuple):
    """Of the legend."""

    name: str
    swatch: Markup


class Drawing(NamedTuple):
    title: str  # of the whole figure; mostly none
    legend: list[Entry]
    panels: list[Panel]


def take_apart(figure: Figure, prefix: str) -> Drawing:
    """Takes a figure that was drawn in the house style; it is changed. `prefix` keeps ids apart on a page."""
    with style.house(), matplotlib.rc_context({"savefig.bbox": "standard"}):
        shown = [axes for axes in figure.axes if axes.get_visible()]
        names = _names(shown)
        _label_by_look(shown)
        legend = [Entry(name, _swatch(_artists(shown, name), f"{prefix}-key{n}")) for n, name in enumerate(names)]
        _remove_legends(figure, shown, names)
        figure.patch.set_visible(False)
        for axes in shown:
            axes.patch.set_visible(False)
        figure.set_dpi(DPI)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # as it stands now, also while other panels are hidden
        groups = _groups(shown)
        boxes = _boxes(groups)
        panels = [
            _panel(figure, group, [a for a in shown if a not in group], box, names, f"{prefix}-{n}")
            for n, (group, box) in enumerate(zip(groups, boxes, strict=True))
        ]
        title = figure.get_suptitle()
    return Drawing(title, legend, panels)


def _names(shown: Sequence[Axes]) -> list[str]:
    """The series, in the order of the legend."""
    return list(dict.fromkeys(label for axes in shown for label in axes.get_legend_handles_labels()[1]))


def _drawn(axes: Axes) -> Iterable[tuple[Artist, str, str]]:
    """(artist, what of a series it is, the series) for all that belongs to one; "" for points without a label."""
    named = [container for container in axes.containers if not str(container.get_label()).startswith("_")]
    in_containers = [(artist, container.get_label()) for container in named for artist in container.get_children()]
    alone = [(artist, artist.get_label()) for artist in (*axes.lines, *axes.collections, *axes.patches)]
    for artist, label in [*alone, *in_containers]:
        text = str(label or "")
        if found := style.series_of(text):
            yield artist, *found
        elif text and not text.startswith("_"):
            yield artist, "mean", text


def _label_by_look(shown: Sequence[Axes]) -> None:
    """Gives points without a label that of the one series with their colour and marker, in this or another panel.

    A question labels a series where its legend needs it, and need not do so at every place.
    """
    looks: dict[tuple[str, Any], set[str]] = {}
    for artist, _, name in (one for axes in shown for one in _drawn(axes)):
        if name and (look := _look(artist)):
            looks.setdefault(look, set()).add(name)
    for axes in shown:
        nameless = [(artist, part) for artist, part, name in _drawn(axes) if not name]
        in_one = {id(artist): container for container in axes.containers for artist in container.get_children()}
        for artist, part in nameless:
            dot = in_one[id(artist)].get_children()[0] if id(artist) in in_one else artist
            names = looks.get(_look(dot) or ("", ""), set())
            if len(names) == 1:
                artist.set_label(style.part(part, *names))


def _look(artist: Artist) -> tuple[str, Any] | None:
    """Colour and marker of dots; None for a line without any."""
    if not isinstance(artist, Line2D) or artist.get_marker() in ("", "None", None):
        return None
    return to_hex(artist.get_color()), artist.get_marker()


def _artists(shown: Sequence[Axes], name: str) -> list[tuple[Artist, str]]:
    """(artist, what of the series it is) in the first panel that has the series."""
    for axes in shown:
        if found := [(artist, part) for artist, part, series in _drawn(axes) if series == name]:
            return found
    return []


def _remove_legends(figure: Figure, shown: Sequence[Axes], names: Sequence[str]) -> None:
    """Those that say no more than the page's own."""
    inside = [legend for axes in shown if (legend := axes.get_legend())]
    for legend in [*figure.legends, *inside]:
        if isinstance(legend, Legend) and {text.get_text() for text in legend.get_texts()} <= set(names):
            legend.remove()


def _groups(shown: Sequence[Axes]) -> list[list[Axes]]:
    """The axes of each place of the grid. Where one lies in no grid, such as a colour bar, all are one group."""
    places: dict[Any, list[Axes]] = {}
    for axes in shown:
        spec = axes.get_subplotspec()
        if spec is None:
            return [list(shown)]
        places.setdefault((spec.num1, spec.num2), []).append(axes)
    return list(places.values())


def _boxes(groups: Sequence[Sequence[Axes]]) -> list[Bbox]:
    """What to cut out for each, in points from the lower left: of one size, so that the page shows one size of text."""
    tight = [Bbox.union([box for axes in group if (box := axes.get_tightbbox())]).padded(EDGE) for group in groups]
    width, height = max(box.width for box in tight), max(box.height for box in tight)
    if min(box.width for box in tight) < 0.7 * width or min(box.height for box in tight) < 0.7 * height:
        return tight  # of panels that differ by design
    return [Bbox.from_extents(box.x0, box.y1 - height, box.x0 + width, box.y1) for box in tight]


def _panel(
    figure: Figure, group: Sequence[Axes], others: Sequence[Axes], box: Bbox, names: Sequence[str], prefix: str
) -> Panel:
    points = []
    for axes in group:
        for artist, _, name in _drawn(axes):
            artist.set_gid(svg.gid(names.index(name)) if name in names else None)
        for mesh in (one for one in axes.collections if isinstance(one, QuadMesh)):
            mesh.set_gid(svg.KEPT)
        points += _points(axes, box, names)
    for axes in others:
        axes.set_visible(False)
    file = io.StringIO()
    figure.savefig(
        file,
        format="svg",
        bbox_inches=Bbox.from_extents(*(edge / DPI for edge in box.extents)),
        metadata={"Date": None},
    )
    for axes in others:
        axes.set_visible(True)
    first = group[0]
    title = first.get_title(loc="left") or first.get_title()
    x_label, y_label = first.get_xlabel(), first.get_ylabel()
    said = f"{title}: {y_label} against {x_label}. " if title else f"{y_label} against {x_label}. "
    here = [names[n] for n in sorted({point.series for point in points} - {-1})]
    alt = said + ("Series: " + "; ".join(here) + "." if here else "")
    return Panel(title, x_label, y_label, svg.clean(file.getvalue(), prefix, alt), points)


def _points(axes: Axes, box: Bbox, names: Sequence[str]) -> list[Point]:
    """What can be read in one panel, series by series."""
    lines: dict[str, list[tuple[float, float]]] = {}
    seeds: dict[str, dict[float, list[float]]] = {}
    spans: dict[tuple[str, float], tuple[float, float]] = {}
    for artist, part, name in _drawn(axes):
        if part == "interval":
            spans |= {(name, round(x, 6)): (low, high) for x, low, high in _spans(artist)}
        elif part == "seeds":
            for x, y in _places(artist):
                seeds.setdefault(name, {}).setdefault(x, []).append(y)
        elif part == "mean" and not _is_bar_of_error(axes, artist):
            lines.setdefault(name, []).extend(_places(artist))
    ticks = _named_ticks(axes)
    points = []
    for name, places in lines.items():
        series = names.index(name) if name in names else -1
        for x, y in dict.fromkeys(places):
            left, top = axes.transData.transform((x, y))
            if math.isfinite(left) and math.isfinite(top):
                of_seeds = seeds.get(name, {}).get(x, [])
                low, high = spans.get((name, round(x, 6)), (math.nan, math.nan))
                of_mean = len(of_seeds) > 1 and math.isclose(np.mean(of_seeds), y, rel_tol=1e-6, abs_tol=1e-9)
                interval = Interval(y, low, high) if of_mean and low <= high else None  # of no median, no best
                shown = ticks.get(round(x, 6), f"{x:.4g}")
                points.append(Point(series, float(left - box.x0), float(box.y1 - top), shown, y, interval, of_seeds))
    return points


def _places(artist: Artist) -> list[tuple[float, float]]:
    """(x, y) in data units of what stands for numbers: points of a line or a cloud, tops of bars."""
    if isinstance(artist, Line2D):
        x_X, y_X = (np.asarray(values, float) for values in artist.get_data(orig=False))
    elif isinstance(artist, PathCollection):
        x_X, y_X = np.ma.filled(np.ma.asarray(artist.get_offsets(), float), math.nan).T
    elif isinstance(artist, Rectangle):
        x_X, y_X = np.array([artist.get_x() + artist.get_width() / 2]), np.array([artist.get_y() + artist.get_height()])
    else:
        return []
    return [(x, y) for x, y in zip(x_X.tolist(), y_X.tolist(), strict=True) if math.isfinite(x) and math.isfinite(y)]


def _spans(artist: Artist) -> list[tuple[float, float, float]]:
    """(x, low, high) of a drawn interval: the bars of points, or the band of a curve."""
    if isinstance(artist, LineCollection):
        places = [np.asarray(segment, float) for segment in artist.get_segments()]
    elif isinstance(artist, PolyCollection):
        corners = np.concatenate([path.vertices for path in artist.get_paths()])
        places = [corners[corners[:, 0] == x] for x in np.unique(corners[:, 0])]
    else:
        return []
    return [(float(p[0, 0]), float(p[:, 1].min()), float(p[:, 1].max())) for p in places if len(p)]


def _is_bar_of_error(axes: Axes, artist: Artist) -> bool:
    """Whether it is the cap of an interval, which is a line as well."""
    bars = (c for c in axes.containers if isinstance(c, ErrorbarContainer))
    return any(artist is one for container in bars for one in container.get_children()[1:])


def _named_ticks(axes: Axes) -> dict[float, str]:
    """Names of places on the x axis, where it has names and no numbers."""
    formatter = axes.xaxis.get_major_formatter()
    if not isinstance(formatter, FixedFormatter | FuncFormatter) and "Category" not in type(formatter).__name__:
        return {}
    ticks = axes.xaxis.get_major_ticks()
    return {round(float(tick.get_loc()), 6): tick.label1.get_text().replace("\n", " ") for tick in ticks}


def _swatch(artists: Sequence[tuple[Artist, str]], prefix: str) -> Markup:
    """Line and marker of a series, as the legend would show them."""
    width, height = SWATCH
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    figure.patch.set_visible(False)
    line = next((a for a, part in artists if isinstance(a, Line2D) and part == "mean"), None)
    dots = next((a for a, part in artists if isinstance(a, Line2D) and part == "seeds"), line)
    if line is None or dots is None:
        colour = next((_face(artist) for artist, _ in artists), style.GREY)
        figure.add_artist(Rectangle((0.3, 0.1), 0.4, 0.8, color=colour))
    else:
        for of, x, y in ((line, [0.0, 1.0], [0.5, 0.5]), (dots, [0.5], [0.5])):
            copy = Line2D(x, y)
            copy.update_from(of)
            copy.set(transform=figure.transFigure, clip_on=False, alpha=1.0)
            if len(x) == 2:
                copy.set(marker="", linewidth=max(copy.get_linewidth(), THIN))
            else:
                copy.set(linestyle="", markersize=5.5)
            figure.add_artist(copy)
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    return svg.clean(file.getvalue(), prefix)


def _face(artist: Any) -> Any:
    colour = artist.get_facecolor()
    return colour[0] if np.ndim(colour) == 2 else colour
