"""Panels of a figure: what they show of seeds, what they leave out, and the files that come of them."""

import re

import numpy as np
import pytest
from PIL import Image, ImageColor

from experiments.analysis import charts, picture
from experiments.analysis.charts import Axes, Cell
from experiments.analysis.palette import COLOURS, DASHES, MARKERS, Look
from experiments.analysis.statistics import t_interval
from experiments.analysis.table import of_rows
from tests.experiments import panels

AXES = Axes("accuracy by length", "length", "accuracy", y_domain=(0, 1))
LOOKS = {"sure": Look("gru"), "unsure": Look("lstm", 1), "absent": Look("rnn")}
SURE, UNSURE = [0.50, 0.52, 0.51, 0.5, 0.49], [0.1, 0.9, 0.88, 0.12, 0.91]
CELLS = [Cell(name, x, values) for name, values in (("sure", SURE), ("unsure", UNSURE)) for x in (10, 20)]


def marks(panel) -> list[tuple[str, set[str]]]:
    """(mark, the series that it draws), layer by layer."""
    spec = panel.to_dict()
    rows = [spec["datasets"][layer["data"]["name"]] for layer in spec["layer"]]
    return [
        (layer["mark"]["type"], {row["series"] for row in mine})
        for layer, mine in zip(spec["layer"], rows, strict=True)
    ]


def test_every_seed_is_a_dot_and_a_mean_has_its_interval():
    (first, *_) = panels.means(charts.curves(CELLS, LOOKS, AXES)).to_dict("records")
    interval = t_interval(SURE)
    assert first["series"] == "sure" and first["x"] == 10
    assert [first[end] for end in ("mean", "low", "high")] == pytest.approx(list(interval), rel=1e-4)
    assert first["seeds"] == "0.5, 0.52, 0.51, 0.5, 0.49"
    assert first["interval"] == f"{interval.low:.4g} to {interval.high:.4g}"
    dots = next(frame for frame in panels.frames(charts.curves(CELLS, LOOKS, AXES)) if len(frame) == 20)
    assert sorted(dots["y"][dots["series"] == "sure"]) == sorted(SURE * 2)


def test_a_band_that_would_hide_the_panel_gives_way_to_a_line_a_seed():
    band, apart, together, dots, _ = marks(charts.curves(CELLS, LOOKS, AXES))
    assert band == ("area", {"sure"}) and apart == ("line", {"unsure"}) and together == ("line", {"sure"})
    assert dots == ("point", {"sure", "unsure"})


def test_a_panel_says_what_was_drawn():
    said = charts.curves(CELLS, LOOKS, AXES).description
    assert (
        said.startswith("Lines are means over seeds, bands")
        and "The seeds of unsure lie far apart: each has a line." in said
    )
    apart = charts.curves([cell for cell in CELLS if cell.series == "unsure"], LOOKS, AXES).description
    assert apart == "The seeds lie far apart: each has a line. Dots are single seeds."
    assert "means" in charts.points([Cell("sure", "a", SURE)], LOOKS, AXES).description


def test_lines_that_hide_one_another_are_counted():
    def below(**values):
        cells = [Cell(name, x, [value, value]) for name, value in values.items() for x in (1, 2)]
        return charts.curves(cells, dict.fromkeys(values, Look("gru")), AXES).to_dict()["title"]["subtitle"]

    assert below(a=1.0, b=0.999, c=0.998) == "3 lines lie on one another"
    assert below(a=1.0, b=0.999, c=0.5, d=0.998) == "3 lines lie on one another"
    assert below(a=1.0, b=1.0, c=0.5) == ""


def test_an_interval_has_the_part_of_the_sentences():
    narrow, wide = (
        panels.means(charts.points([Cell("sure", "a", SURE, of_sentences=v)], LOOKS, AXES)) for v in (0.0, 0.01)
    )
    assert (wide["high"] - wide["low"])[0] > 3 * (narrow["high"] - narrow["low"])[0]


def test_intervals_are_seen_whole_unless_they_would_leave_no_room():
    free, logs = Axes("accuracy", "x", "y"), Axes("speed", "x", "y", log_y=True)

    def domain(*cells, axes=free):
        return charts.points(cells, LOOKS, axes).to_dict()["layer"][0]["encoding"]["y"]["scale"]["domain"]

    sure, two = t_interval(SURE), t_interval([0.0, 1.0])
    assert domain(Cell("sure", "a", SURE)) == pytest.approx([sure.low, max(SURE)], abs=1e-4)
    assert two.high > 6 and domain(Cell("unsure", "a", [0.0, 1.0])) == [-0.5, 1.5]
    assert domain(Cell("sure", "a", SURE), axes=logs) == pytest.approx([sure.low, max(SURE)], abs=1e-4)
    assert domain(Cell("unsure", "a", [1.0, 4.0]), axes=logs) == [0.5, 8.0]


def test_no_mark_is_hidden_by_the_name_of_a_line():
    """A name has a halo, so it stands behind the marks of places, and that of a vertical line outside of the panel."""
    chance = charts.level(0.5, "chance")
    drawn = charts.points([Cell("sure", "a", SURE)], LOOKS, AXES, behind=[chance]).to_dict()["layer"]
    assert [layer["mark"]["text"] for layer in drawn[0]["layer"][1:]] == ["chance"] * 2
    assert {layer["mark"]["type"] for layer in drawn[1:]} == {"rule", "point"}
    said = charts.limit(3, "here").to_dict()["layer"][-1]
    assert said["encoding"]["y"]["value"] + said["mark"]["dy"] + said["mark"]["fontSize"] / 2 < 0


def test_a_scale_of_many_decades_has_its_ticks_at_powers_of_ten():
    def ticks(low, high):
        cells = [Cell("sure", x, [y]) for x, y in ((1, low), (2, high))]
        axes = Axes("loss", "x", "y", log_y=True)
        return charts.curves(cells, LOOKS, axes).to_dict()["layer"][0]["encoding"]["y"]["axis"]

    assert ticks(1e-5, 1)["values"] == pytest.approx([1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1])
    few = ticks(1, 100)
    assert few["values"] == [1, 2, 5, 10, 20, 50, 100] and few["tickCount"] == 7


def test_one_seed_has_no_interval_and_none_is_no_place():
    found = panels.means(charts.curves([Cell("sure", 1, [0.5]), Cell("unsure", 1, [])], LOOKS, AXES))
    assert found["interval"].tolist() == ["none, of one seed"] and found["low"].isna().all()


def test_a_series_looks_the_same_everywhere_and_the_legend_has_what_is_there():
    one = charts.curves(CELLS, LOOKS, AXES)
    other = charts.points([Cell("unsure", "a", UNSURE)], LOOKS, AXES)
    assert panels.names(one) == ["sure", "unsure"] and panels.names(other) == ["unsure"]
    colours = [panel.to_dict()["layer"][0]["encoding"]["color"]["scale"]["range"] for panel in (one, other)]
    assert colours == [[COLOURS["gru"], COLOURS["lstm"]], [COLOURS["lstm"]]]
    assert len(set(map(tuple, DASHES))) == len(DASHES) and len(set(MARKERS)) == len(MARKERS)


def test_curves_keep_to_places_that_every_seed_has():
    rows = [{"system": "sure", "seed": seed, "place": x, "value": seed + x} for seed in (1, 0) for x in (1.0, 2.0)]
    cells = list(charts.cells_of(of_rows([*rows, {**rows[0], "place": 3.0}])))
    assert [(cell.series, cell.x) for cell in cells] == [("sure", 1.0), ("sure", 2.0)]
    np.testing.assert_array_equal(cells[0].values, [1.0, 2.0])


def test_files_are_the_same_for_the_same_panels(tmp_path):
    drawn = charts.curves(CELLS, LOOKS, AXES) + charts.level(0.5, "chance")
    written = []
    for folder in (tmp_path / "one", tmp_path / "other"):
        picture.save([drawn], folder)
        written.append([(folder / name).read_bytes() for name in ("figure.svg", "figure.png")])
    assert written[0] == written[1]
    svg = written[0][0].decode()
    assert "chance" in svg and "unsure" in svg and "absent" not in svg


def test_a_colour_that_only_the_legend_shows_is_kept():
    """The lines of a series may all lie under others, among bands and blurred edges of a thousand shades."""
    shades = np.random.default_rng(0).integers(0, 256, (300, 300, 3)).astype(np.uint8)
    shades[..., 1:] //= 4
    for row, colour in enumerate(COLOURS.values()):
        shades[row, :20] = ImageColor.getrgb(colour)
    few = picture.few_colours(Image.fromarray(shades)).convert("RGB")
    assert len(few.getcolors() or ()) in range(64, 129)
    for row, colour in enumerate(COLOURS.values()):
        assert np.abs(np.subtract(few.getpixel((0, row)), ImageColor.getrgb(colour))).max() <= 16, colour
    white = Image.new("RGB", (9, 9), "white")
    assert picture.few_colours(white).convert("RGB").getpixel((0, 0)) == (255, 255, 255)


def test_labels_have_the_digits_that_tell_them_apart(tmp_path):
    """Coordinates lose digits in the file, and labels none; whole numbers have no point."""
    cells = [Cell("sure", heads, [4.11 + heads / 100, 4.12 + heads / 100]) for heads in (1, 2)]
    picture.save([charts.curves(cells, LOOKS, Axes("loss by heads", "heads", "loss", places=[1, 2]))], tmp_path)
    labels = re.findall("<text[^>]*>([^<]*)</text>", (tmp_path / "figure.svg").read_text())
    assert {"1", "2"} < {*labels} and "1.0" not in labels
    heights = [label for label in labels if label.startswith("4.")]
    assert len({*heights}) == len(heights) > 2


def legends(spec) -> list[list[str]]:
    """Of each panel of a figure, then of the strip below: the names that its legend has."""
    grid = spec["vconcat"][0]["concat"] if "vconcat" in spec else spec["concat"]
    every = [charts._legend(panel) for panel in grid]
    every += [spec["vconcat"][1]["encoding"]] if "vconcat" in spec else []
    return [one["color"]["scale"]["domain"] if one else [] for one in every]


def test_a_legend_that_panels_share_is_drawn_once():
    sure = [cell for cell in CELLS if cell.series == "sure"]
    one, same = (charts.curves(CELLS, LOOKS, Axes(title, "length", "accuracy")) for title in ("one", "same"))
    other = charts.curves([*sure, Cell("absent", 10, SURE)], LOOKS, Axes("other", "length", "accuracy"))
    assert legends(charts.compose([one, same])) == [[], [], ["sure", "unsure"]]  # below the panels
    assert legends(charts.compose([one, other, same])) == [["sure", "unsure"], ["sure", "absent"], []]
    assert legends(charts.compose([one])) == [["sure", "unsure"]]


def test_a_legend_is_left_out_where_it_says_nothing():
    alone = charts.curves([cell for cell in CELLS if cell.series == "sure"], LOOKS, AXES)
    named = charts.points([Cell("sure", "a", SURE), Cell("unsure", "b", UNSURE)], LOOKS, Axes("places", "x", "y"))
    assert legends(charts.compose([alone, named])) == [[], []]
