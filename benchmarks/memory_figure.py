"""Speed against memory, drawn: what the suite `memory` wrote with --json, a panel a case, as an SVG.

    python -m benchmarks.memory_figure memory.json docs/memory.svg

A program is a point with its 10 % and 90 %; below and left is better. A line joins those that none beats in both.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd
import vl_convert

from data import whole_file
from training.command import cli

WIDTH, HEIGHT, COLUMNS = 330, 210, 2  # pixels of a panel, without axes; panels side by side
KEYS = {"program", "p10_seconds", "median_seconds", "p90_seconds", "peak_memory_bytes"}


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0, or 2 for a mistake."""
    parser = cli.Parser("python -m benchmarks.memory_figure", __doc__)
    parser.add_argument("json", type=Path, metavar="JSON", help="file of results, of python -m benchmarks --json")
    parser.add_argument("svg", type=Path, metavar="SVG", help="file to write")
    options = parser.parse_args(argv)
    found = whole_file.read_json(options.json, "give a file that python -m benchmarks --json has written")
    frame = points(options.json, found)
    cli.check_folder("SVG", options.svg.parent)
    whole_file.write_text(options.svg, vl_convert.vegalite_to_svg(drawn(frame).to_dict()))
    return 0


def points(path: Path, found: Any) -> pd.DataFrame:
    """A row a program of every case: milliseconds of a step, MiB at its peak, and whether another beats it in both.

    Raises ValueError where there is none.
    """
    cases = found.get("cases") if isinstance(found, Mapping) else None
    rows = [
        {
            "case": case.removeprefix("memory_"),
            "program": one["program"],
            "MiB": one["peak_memory_bytes"] / 2**20,
            "ms": 1e3 * one["median_seconds"],
            "low": 1e3 * one["p10_seconds"],
            "high": 1e3 * one["p90_seconds"],
        }
        for case, result in (cases or {}).items()
        for one in result.get("programs", ())
        if one.keys() >= KEYS
    ]
    if not rows:
        raise ValueError(f"{path}: holds no times of steps; give what python -m benchmarks memory --json=FILE wrote")
    frame = pd.DataFrame(rows)
    return frame.assign(best=[_unbeaten(one, frame[frame["case"] == one["case"]]) for _, one in frame.iterrows()])


def drawn(frame: pd.DataFrame) -> alt.ConcatChart:
    programs = list(frame["program"].unique())
    panels = [_panel(str(case), mine, programs) for case, mine in frame.groupby("case", sort=False)]
    chart = alt.concat(*panels, columns=COLUMNS, background="white")
    chart = chart.configure_title(anchor="start", frame="group").configure_axis(titleFontWeight="normal")
    return chart.configure_legend(orient="bottom", columns=5, labelLimit=220, symbolSize=80, symbolOpacity=1)


def _unbeaten(one: "pd.Series[Any]", mine: pd.DataFrame) -> bool:
    return not ((mine["MiB"] < one["MiB"]) & (mine["ms"] < one["ms"])).any()


def _panel(case: str, frame: pd.DataFrame, programs: Sequence[str]) -> alt.LayerChart:
    scale, axis = alt.Scale(zero=False, padding=12), alt.Axis(format=",d", tickCount=6)
    memory = alt.X("MiB:Q", title="peak memory, MiB", scale=scale, axis=axis)
    median, low = (alt.Y(f"{name}:Q", title="ms per step", scale=scale, axis=axis) for name in ("ms", "low"))
    color = alt.Color("program:N", title=None, scale=alt.Scale(domain=programs, scheme="tableau10"))
    shape = alt.Shape("program:N", title=None, scale=alt.Scale(domain=programs))
    base = alt.Chart(frame, width=WIDTH, height=HEIGHT, title=case)
    front = base.transform_filter("datum.best").mark_line(color="#888", strokeWidth=1, strokeDash=[3, 3])
    spread = base.mark_rule(strokeWidth=1.2, opacity=0.7).encode(x=memory, y=low, y2="high:Q", color=color)
    dots = base.mark_point(filled=True, size=70, opacity=1).encode(x=memory, y=median, color=color, shape=shape)
    return alt.LayerChart(layer=[front.encode(x=memory, y=median), spread, dots])


if __name__ == "__main__":
    with cli.user_errors():
        sys.exit(main())
