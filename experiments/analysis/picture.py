"""The files of a figure: an SVG of few characters, a PNG of few colours."""

import io
import re
from collections.abc import Sequence
from pathlib import Path

import altair as alt
import vl_convert
from PIL import Image

from data import whole_file
from experiments.analysis import charts

SCALE = 1.5  # pixels of a PNG per pixel of a panel


def save(panels: Sequence[alt.LayerChart], folder: Path, name: str = "figure") -> None:
    """`NAME.svg` and `NAME.png`."""
    spec = charts.compose(panels) | {"background": "white"}
    spec["config"] |= {"aria": False}
    whole_file.write_text(folder / f"{name}.svg", _shorter(vl_convert.vegalite_to_svg(spec)))
    drawn = Image.open(io.BytesIO(vl_convert.vegalite_to_png(spec, scale=SCALE))).convert("RGB")
    with whole_file.replacing(folder / f"{name}.png") as partial:
        few_colours(drawn).save(partial, format="PNG", optimize=True)


def few_colours(drawn: Image.Image) -> Image.Image:
    """128 of them, of which rare ones are some too: a series may show in the legend alone."""
    few = drawn.quantize(128, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    few.putpalette([255 if value == 254 else value for value in few.getpalette() or ()])  # white, but for rounding
    return few


def _shorter(svg: str) -> str:
    """The same picture in half of the characters, always the same ones."""
    svg = re.sub(r'<path[^>]*opacity="0"/>', "", svg)  # points that only carry tooltips
    svg = re.sub(r'(fill="#\w+") stroke-width="2"', r"\1", svg)  # of what has no stroke
    dot = r'<path transform="translate\((\S+),(\S+)\)" d="M([\d.]+),0A[^"]*,0"'
    svg = re.sub(dot, r'<circle cx="\1" cy="\2" r="\3"', svg)
    clips: dict[str, str] = {}  # Vega counts them on from what this process drew before
    svg = re.sub(r"clip\d+", lambda found: clips.setdefault(found[0], f"clip{len(clips)}"), svg)
    return re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\d\.\d)\d+", r"\1", tag[0]), svg)  # and no label
