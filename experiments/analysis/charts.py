"""The panels of a figure as Altair charts: a dot for every seed, means with 95 % intervals, and levels such as chance.

On the page a panel has tooltips, and a click on a name in its legend shows that series. A question makes panels of
`Cell`s and adds levels, ranges and lines with `+`. Altair is slow to import, so questions import this where they draw.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import altair as alt
import numpy as np
import pandas as pd

from experiments.analysis.palette import GREY, Look
from experiments.analysis.statistics import t_interval

alt.data_transformers.disable_max_rows()
WIDTH, HEIGHT = 330, 210  # pixels of a panel, without axes and legend
WIDE = 0.5  # of what a panel spans: a system whose interval is wider has no band, but a line a seed
ALIKE = 0.01  # of what a panel spans: lines that are nowhere further apart hide one another
FAINT = 0.05  # opacity of what the legend has put aside
DIGITS = 5  # significant ones, of what is drawn
PADDING = 6  # pixels between the first and last place and the ends of an axis
FEW = 5  # between the ends of a logarithmic scale whose ticks are left to Vega
MANY = 1e4  # between the ends of one that has ticks at powers of ten alone
TOLD = ("color", "strokeDash", "shape")  # channels that tell series apart
CONFIG: dict[str, Any] = {
    "background": "transparent",
    "font": "DejaVu Sans, Verdana, sans-serif",
    "view": {"stroke": None},
    "title": {"anchor": "start", "frame": "group", "fontSize": 13, "subtitleColor": GREY},
    "axis": {"gridColor": "#E6E6E6", "titleFontWeight": 400, "tickCount": 6}
    | dict.fromkeys(("domainColor", "tickColor", "labelColor"), GREY),
    "legend": {"orient": "bottom", "columns": 3, "labelLimit": 220, "symbolSize": 80, "symbolOpacity": 1},
    "concat": {"spacing": 24},
}


class Cell(NamedTuple):
    """One place of a panel: the values of a series there, one a seed."""

    series: str
    x: float | str
    values: Sequence[float] | np.ndarray | pd.Series
    of_sentences: float = 0.0  # what the test set adds to the variance of the mean (`statistics.py`)


@dataclass(frozen=True)
class Axes:
    title: str
    x: str
    y: str
    y_domain: tuple[float, float] | None = None  # default: seeds, and intervals where they leave room
    log_x: bool = False
    log_y: bool = False
    places: Sequence[float] = ()  # of x that are named; default: round numbers
    note: str = ""  # below the title

    @property
    def along(self) -> alt.X:
        """x of numbers."""
        whole = all(float(place).is_integer() for place in self.places)
        ticks: dict[str, Any] = {"values": list(self.places), "format": ",d" if whole else "~g"} if self.places else {}
        return alt.X("x:Q", title=self.x, scale=_scale(self.log_x), axis=_ticks(self.log_x, **ticks))

    @property
    def of_seed(self) -> list[str | alt.Tooltip]:
        """The tooltip of a dot."""
        return ["series:N", alt.Tooltip("x:N", title=self.x), alt.Tooltip("y:Q", title=self.y), "seed:N"]

    @property
    def of_mean(self) -> list[str | alt.Tooltip]:
        ends = alt.Tooltip("interval:N", title="95 % interval")
        return ["series:N", alt.Tooltip("x:N", title=self.x), alt.Tooltip("mean:Q", title=self.y), ends, "seeds:N"]


def cells_of(rows: pd.DataFrame, series: str = "system", x: str = "place") -> Iterator[Cell]:
    """Of rows of the table, over the places that every seed of a series has."""
    for name, mine in rows.drop_duplicates([series, "seed", x], keep="last").groupby(series, sort=False):
        yield from columns_of(str(name), mine.pivot(index="seed", columns=x, values="value").dropna(axis=1))


def columns_of(series: str, values_NX: pd.DataFrame) -> Iterator[Cell]:
    """Of a frame with a row a seed and a column a place."""
    for x, values_N in values_NX.items():
        yield Cell(series, x, values_N)


def curves(cells: Iterable[Cell], looks: Mapping[str, Look], axes: Axes) -> alt.LayerChart:
    """Values against numbers. A system whose seeds lie so far apart that its band would hide the panel, as where some
    solve the task and some do not, is drawn as one line per seed."""
    means, seeds = _frames(cells)
    wide = set(means["series"][_widths(means, axes) > WIDE * _span(seeds, axes)])
    apart, together = seeds[seeds["series"].isin(wide)], means[~means["series"].isin(wide)]
    panel = _Panel(axes, looks, seeds, axes.along, means=together, lines=True)
    panel.add(alt.Chart(together.dropna()).mark_area(clip=True), "low", 0.13, y2="high")
    panel.add(alt.Chart(apart).mark_line(clip=True, strokeWidth=0.8), "y", 0.7, panel.dash, detail="seed:N")
    panel.add(alt.Chart(together).mark_line(clip=True, strokeWidth=1.8), "mean", 1, panel.dash)
    panel.add(alt.Chart(seeds).mark_point(clip=True, filled=True, size=9), "y", 0.45, tooltip=axes.of_seed)
    panel.add(alt.Chart(means).mark_point(filled=True, size=130, opacity=0), "mean", 0, tooltip=axes.of_mean)
    bands = ", bands their 95 % intervals" * bool(len(together.dropna()))
    lines = f"Lines are means over seeds{bands}. " if len(together) else ""
    those = f" of {', '.join(sorted(wide))}" * bool(lines)
    alone = f"The seeds{those} lie far apart: each has a line. " if wide else ""
    return panel.chart(f"{lines}{alone}Dots are single seeds.", _hidden(together, axes, _span(seeds, axes)))


def points(
    cells: Iterable[Cell],
    looks: Mapping[str, Look],
    axes: Axes,
    *,
    order: Sequence[str] = (),
    beside: bool = False,
    mean: bool = True,
    behind: Sequence[alt.LayerChart] = (),
) -> alt.LayerChart:
    """Values at named places: the mean with its interval (unless `mean` is false), every seed a dot. `beside` sets the
    series of a place side by side. What stands `behind` covers no mark with its name."""
    means, seeds = _frames(cells)
    places = list(order or dict.fromkeys(seeds["x"]))
    angle = -30 if max(map(len, places)) > 9 else 0
    x = alt.X("x:N", title=axes.x, scale=alt.Scale(domain=places), axis=alt.Axis(labelAngle=angle, grid=False))
    alone = seeds.groupby("x")["series"].nunique().max() == 1  # then the axis names it
    panel = _Panel(axes, looks, seeds, x, means=means, legend=not alone)
    aside: dict[str, Any] = {"xOffset": alt.XOffset("series:N", scale=alt.Scale(domain=panel.names))} if beside else {}
    means = means if mean else means[:0]
    panel.add(alt.Chart(means.dropna()).mark_rule(clip=True, strokeWidth=1.6), "low", 1, y2="high", **aside)
    dots = alt.Chart(seeds).mark_point(clip=True, filled=True, size=22 if mean else 60)
    panel.add(dots, "y", 0.45, panel.shape, tooltip=axes.of_seed, **aside)
    dots = alt.Chart(means).mark_point(clip=True, filled=True, size=60)
    panel.add(dots, "mean", 1, panel.shape, tooltip=axes.of_mean, **aside)
    drawn = panel.chart("Large marks are means over seeds, bars their 95 % intervals, small marks seeds." * mean)
    drawn.layer = [*behind, *drawn.layer]
    return drawn


def scatter(frame: pd.DataFrame, looks: Mapping[str, Look], axes: Axes) -> alt.LayerChart:
    """A dot for each row of `series`, `x`, `y` and `name`."""
    panel = _Panel(axes, looks, frame, axes.along)
    told = ["name:N", alt.Tooltip("x:Q", title=axes.x), alt.Tooltip("y:Q", title=axes.y)]
    panel.add(alt.Chart(frame).mark_point(filled=True, size=45), "y", 0.8, panel.shape, tooltip=told)
    return panel.chart()


class _Panel:
    """Layers that share their axes, what tells series apart, and the legend."""

    def __init__(
        self,
        axes: Axes,
        looks: Mapping[str, Look],
        frame: pd.DataFrame,
        x: alt.X,
        *,
        means: pd.DataFrame | None = None,
        lines: bool = False,
        legend: bool = True,
    ):
        self.axes, self.x = axes, x
        self._layers: list[alt.Chart] = []
        self.names = [name for name in looks if name in set(frame["series"])]
        shown = [looks[name] for name in self.names]
        columns = 3 if max(map(len, self.names), default=0) < 14 else 2
        symbols: dict[str, Any] = {"symbolType": "stroke", "symbolSize": 350} if lines else {}
        told_apart = alt.Legend(columns=columns, **symbols) if legend and len(self.names) > 1 else None
        shared: dict[str, Any] = {"title": None, "legend": told_apart}

        def told(kind: Any, values: list[Any]) -> Any:
            return kind("series:N", scale=alt.Scale(domain=self.names, range=values), **shared)

        self.colour: dict[str, Any] = {"color": told(alt.Color, [one.colour for one in shown])}
        self.dash: dict[str, Any] = {"strokeDash": told(alt.StrokeDash, [one.dash for one in shown])}
        self.shape: dict[str, Any] = {"shape": told(alt.Shape, [one.marker for one in shown])}
        domain = axes.y_domain or _reach(frame, means, axes.log_y)
        self._y_scale = _scale(axes.log_y, domain=domain, padding=0 if axes.y_domain else PADDING)
        self._y_axis = _ticks(axes.log_y, domain)
        # A click adds a series to those that are shown, or takes it out; with none, all are shown.
        name = "shown_" + re.sub(r"\W", "_", axes.title)
        self._shown = alt.selection_point(name=name, fields=["series"], bind="legend", toggle="true")

    def add(self, marks: alt.Chart, y: str, opacity: float, look: Mapping[str, Any] = {}, **channels: Any) -> None:
        """Adds a layer if there is something to draw."""
        if not len(marks.data):
            return
        seen = alt.when(self._shown).then(alt.value(opacity)).otherwise(alt.value(min(opacity, FAINT)))
        height = alt.Y(f"{y}:Q", title=self.axes.y, scale=self._y_scale, axis=self._y_axis)
        self._layers.append(marks.encode(x=self.x, y=height, opacity=seen, **self.colour, **look, **channels))

    def chart(self, drawn: str = "", more: str = "") -> alt.LayerChart:
        """`drawn` says what its marks are; `more` goes below the title, after the note."""
        first, *others = self._layers
        layers = _layered(first.add_params(self._shown), *others)
        title = alt.Title(self.axes.title, subtitle="; ".join(filter(None, (self.axes.note, more))))
        return layers.properties(title=title, description=drawn, width=WIDTH, height=HEIGHT)


def _scale(log: bool, **options: Any) -> alt.Scale:
    return alt.Scale(**({"type": "log"} if log else {"zero": False}), **{"nice": False, "padding": PADDING} | options)


def _ticks(log: bool, domain: Sequence[float] = (1, 1e4), **options: Any) -> alt.Axis:
    """On a logarithmic scale at 1, 2 and 5 of each power of ten; on one of many decades, at the powers alone."""
    if log and domain[1] > FEW * domain[0]:
        digits = (1,) if domain[1] > MANY * domain[0] else (1, 2, 5)
        there = [digit * 10.0**power for power in range(-12, 9) for digit in digits]
        values = [tick for tick in there if 0.5 * domain[0] < tick < 2 * domain[1]]
        options = {"values": values, "tickCount": len(values)} | options  # of more than the count Vega leaves out some
    return alt.Axis(**options)


def _frames(cells: Iterable[Cell]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(one row per cell, one row per cell and seed), rounded to what can be seen."""
    means, seeds = [], []
    for series, x, values, of_sentences in cells:
        if not len(values):
            continue
        mean, low, high = t_interval(values, of_sentences=of_sentences)
        by_seed = [_rounded(value) for value in values]
        known = math.isfinite(high)
        interval = f"{low:.4g} to {high:.4g}" if known else "none, of one seed"
        ends = (_rounded(low), _rounded(high)) if known else (math.nan, math.nan)
        means.append((series, x, _rounded(mean), *ends, interval, ", ".join(f"{value:.4g}" for value in by_seed)))
        seeds += [(series, x, n, value) for n, value in enumerate(by_seed)]
    columns = ["series", "x", "mean", "low", "high", "interval", "seeds"]
    return pd.DataFrame(means, columns=columns), pd.DataFrame(seeds, columns=["series", "x", "seed", "y"])


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _reach(seeds: pd.DataFrame, means: pd.DataFrame | None, log: bool) -> list[float]:
    """The least and largest seed, and the ends of intervals within half of that range beyond: the interval of two seeds
    would leave no room for anything else."""
    low, high = seeds["y"].min(), seeds["y"].max()
    if means is None or means["low"].isna().all():
        return [low, high]
    room = math.sqrt(high / low) if log else (high - low) / 2
    lowest, highest = (low / room, high * room) if log else (low - room, high + room)
    return [min(low, max(means["low"].min(), lowest)), max(high, min(means["high"].max(), highest))]


def _widths(means: pd.DataFrame, axes: Axes) -> pd.Series:
    """Of the intervals, as they are drawn."""
    return np.log(means["high"] / means["low"].clip(lower=1e-9)) if axes.log_y else means["high"] - means["low"]


def _span(seeds: pd.DataFrame, axes: Axes) -> float:
    low, high = axes.y_domain or (seeds["y"].min(), seeds["y"].max())
    return np.log(high / low) if axes.log_y else high - low


def _hidden(means: pd.DataFrame, axes: Axes, span: float) -> str:
    """How many lines lie on one another, if three or more do everywhere: only the last of them is seen."""
    by_series = means.pivot(index="series", columns="x", values="mean")
    lines = np.log(by_series) if axes.log_y else by_series
    alike = max((sum((lines - one).abs().max(axis=1) < ALIKE * span) for _, one in lines.iterrows()), default=0)
    return f"{alike} lines lie on one another" if alike > 2 else ""


def _layered(*layers: alt.Chart | alt.LayerChart) -> alt.LayerChart:
    return alt.LayerChart(layer=list(layers))


# ---- levels, ranges and reference lines ----


def level(y: float, name: str) -> alt.LayerChart:
    """A dashed horizontal line, such as chance, named at its right end."""
    line = alt.Chart(pd.DataFrame({"y": [y]})).encode(y="y:Q")
    said = _named(line.encode(x=alt.value("width")), name, align="right", dx=-2, dy=-6, clip=True)
    return _layered(line.mark_rule(color=GREY, strokeDash=[4, 3], clip=True), *said)


def limit(x: float, name: str) -> alt.LayerChart:
    """A dashed vertical line, named above its end, where no mark is."""
    line = alt.Chart(pd.DataFrame({"x": [x]})).encode(x="x:Q")
    said = _named(line.encode(y=alt.value(0)), name, align="center", dy=-7)
    return _layered(line.mark_rule(color=GREY, strokeDash=[4, 3], clip=True), said[-1])


def shade(panel: alt.LayerChart, low: float, high: float, name: str) -> alt.LayerChart:
    """The panel with a range of x in grey behind it, such as the lengths of training."""
    here = alt.Chart(pd.DataFrame({"x": [low], "x2": [high]})).encode(x="x:Q")
    said = _named(here.encode(y=alt.value("height")), name, align="left", dx=3, dy=-6)
    panel = panel.copy()
    panel.layer = [here.mark_rect(color="#EEEEEE").encode(x2="x2"), said[-1], *panel.layer]
    return panel


def _named(place: alt.Chart, name: str, **where: Any) -> list[alt.Chart]:
    """A label, with a halo that keeps it readable over lines."""
    halo = place.mark_text(stroke="white", strokeWidth=3, strokeOpacity=0.8, fontSize=10, text=name, **where)
    return [halo, place.mark_text(color=GREY, fontSize=10, text=name, **where)]


def line(of_x: Mapping[Any, float], name: str, colour: str = GREY) -> alt.LayerChart:
    """A reference line, such as published values or a bound; `x` as the panel has it."""
    names = all(isinstance(x, str) for x in of_x)
    frame = pd.DataFrame({"x": list(of_x), "y": list(of_x.values())})
    drawn = alt.Chart(frame).encode(x="x:N" if names else "x:Q", y="y:Q", tooltip=[alt.Tooltip("y:Q", title=name)])
    thin = drawn.mark_line(color=colour, strokeDash=[4, 2], strokeWidth=1, clip=True, opacity=0.7)
    places = [drawn.mark_point(color=colour, shape="cross", size=25, clip=True)] if names else []
    return _layered(thin, *places)


# ---- the figure ----


def compose(panels: Sequence[alt.LayerChart], columns: int = 2) -> dict[str, Any]:
    """The specification of one chart of all panels. A legend is left out where another panel has all of its entries,
    and one that has the entries of every panel stands below them."""
    separate: dict[str, Any] = dict.fromkeys(TOLD, "independent")
    spec = specification(alt.concat(*panels, columns=columns).resolve_scale(**separate))
    legends = [_legend(panel) for panel in spec["concat"]]
    entries = [_entries(legend) for legend in legends]
    kept = [
        n
        for n, mine in enumerate(entries)
        if mine and not any(mine < other or (mine == other and m < n) for m, other in enumerate(entries))
    ]
    below = len(kept) == 1 < sum(map(bool, entries))
    for n, panel in enumerate(spec["concat"]):
        if below or n not in kept:
            for encoding in _encodings(panel):
                encoding |= {name: encoding[name] | {"legend": None} for name in TOLD if name in encoding}
    if below:
        figure = {name: spec.pop(name) for name in ("concat", "columns", "resolve")}
        spec |= {"vconcat": [figure, _strip(legends[kept[0]])], "spacing": 0, "resolve": figure["resolve"]}
    return spec


def _encodings(spec: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Of a panel's layers that tell series apart."""
    for layer in spec.get("layer", ()):
        yield from _encodings(layer)
    if "color" in spec.get("encoding", ()):
        yield spec["encoding"]


def _legend(panel: Mapping[str, Any]) -> dict[str, Any]:
    """The channels that its legend explains."""
    every = {name: one[name] for one in _encodings(panel) for name in TOLD if name in one}
    return {name: channel for name, channel in every.items() if channel["legend"]}


def _entries(legend: Mapping[str, Any]) -> set[tuple[str, str, str]]:
    scales = {name: channel["scale"] for name, channel in legend.items()}
    return {
        (channel, name, str(look))
        for channel, scale in scales.items()
        for name, look in zip(scale["domain"], scale["range"], strict=True)
    }


def _strip(legend: Mapping[str, Any]) -> dict[str, Any]:
    """A legend alone, as wide as two panels."""
    wide = {
        name: one | {"legend": one["legend"] | {"columns": 2 * one["legend"]["columns"]}}
        for name, one in legend.items()
    }
    rows = [{"series": name} for name in legend["color"]["scale"]["domain"]]
    mark = {"type": "line"} if "strokeDash" in legend else {"type": "point", "filled": True, "size": 0}
    return {"data": {"values": rows}, "mark": mark, "encoding": wide, "width": 2 * WIDTH, "height": 1}


def specification(chart: alt.LayerChart | alt.ConcatChart) -> dict[str, Any]:
    """Vega-Lite's, in the house style."""
    return chart.configure(**CONFIG).to_dict()
