"""The page of all questions: everything stands on it, nothing can break out of it, and a browser can use it."""

import html
import json
import math
import os
import re
import shutil
import subprocess
import types
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from pandas import DataFrame

from experiments import report
from experiments.analysis import judge, style, table
from experiments.analysis.judge import Comparison
from experiments.analysis.style import Look
from experiments.analysis.table import of_rows
from experiments.engine import publish as publishing
from experiments.engine import results
from experiments.page import colours, drawing, markup, summary, svg, tables
from experiments.questions import QUESTIONS
from tests.experiments.questions.test_long_range import AS_TAUGHT, FALLING, made_up

NASTY = "</script><script>throw 1</script> & \"'"
CONFIG = json.dumps({"steps": 4000, "optimizer.learning_rate": 0.003})
WHENCE = {
    "tuned": 0.003,
    "config": CONFIG,
    "commit": "0000000",
    "trees": '{"data": "of before"}',
    "began": "2026-01-01T00:00:00+00:00",
    "part": "",
    "step": 4000,
    "place": None,
}


def whole(rows) -> DataFrame:
    """The rows with what every table has."""
    return of_rows({**WHENCE, "measure": "", "probe": "run", **row} for row in rows)


def of_long_range(curves, **options) -> DataFrame:
    rows = made_up(curves, **options).to_dict("records")
    runs = {(row["run"], row["seed"]): row for row in rows}.values()
    for one in runs:
        run = {name: one[name] for name in ("run", "task", "system", "seed", "role")}
        for measure, value in (
            ("num_params", 54_321),
            ("num_params_non_embedding", 49_999),
            ("flops_per_token", 1e5),
            ("state_bytes", 512),
            ("late_gain", 0.002 + 0.02 * ("LSTM" in one["system"])),
            ("training_seconds", 60),
            ("compile_seconds", 6),
        ):
            rows.append({**run, "probe": "run", "measure": measure, "value": value})
    for one in {row["run"]: row for row in rows}.values():
        trial = {name: one[name] for name in ("run", "task", "system")} | {"role": "tune", "seed": 1000}
        rows += [
            {**trial, "probe": "run", "measure": "best_loss", "value": 1.0, "tuned": rate} for rate in (1e-3, 3e-3)
        ]
    return whole(rows)


def points_figure(shown: DataFrame):
    figure, (axes, right) = style.panels(2)
    for x, system in enumerate(shown["system"].unique()):
        style.points(
            axes, x, shown.query(f"system == {system!r}").groupby("seed")["value"].mean(), Look("gru", x), system
        )
    axes.set(xticks=[0, 1], xticklabels=["first", NASTY], xlabel="system", ylabel=NASTY, yscale="log")
    axes.set_title(NASTY)
    right.plot([1, 10], [1, 100], label="a bound", color="navy")
    right.set(xscale="log", yscale="log", xlabel="length", ylabel="seconds")
    style.legend(figure, [axes, right])
    return figure


def other_question():
    """A question whose words try to be markup."""

    def verdict(shown: DataFrame):
        return [judge.larger(NASTY, NASTY, [Comparison(NASTY, [0.1, 0.2, 0.3])], least=0.1)]

    said = dict.fromkeys(("CLAIM", "SOURCE", "PREDICTION", "CUT"), NASTY)
    return types.SimpleNamespace(
        **said,
        VERSION=1,
        UNDER_REVIEW="",
        THRESHOLDS={"least": 0.1},
        BUDGETS={"cpu": {NASTY: 60_000}},
        PROBES=(),
        figure=points_figure,
        verdict=verdict,
    )


def of_other() -> DataFrame:
    cells = [(system, seed) for system in (NASTY, "plain") for seed in range(3)]
    return whole(
        {
            "run": system,
            "system": system,
            "seed": seed,
            "role": "report",
            "probe": "speed",
            "measure": "seconds",
            "value": 1.0 + seed,
        }
        for system, seed in cells
    )


def publish(question, name: str, scale: str, everything: DataFrame, folder: Path) -> None:
    """What `experiments.run` would leave."""
    mine = folder / name / scale
    table.write(everything, mine)
    publishing.publish(question, name, scale, everything, mine, 12)
    lines = [
        "#!/bin/sh",
        f"python -m experiments.run {name} --scale={scale}",
        "exit",
        "",
        "# The same runs one by one.",
    ]
    (mine / "commands.sh").write_text("\n".join([*lines, "python train.py --config=configs/recall.py:gru"]) + "\n")


@pytest.fixture(scope="module")
def answered(tmp_path_factory):
    """A page of three questions: answered with every kind of outcome, answered with nasty words, and not run."""
    folder = tmp_path_factory.mktemp("answered")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)  # where no results are committed
        questions = {
            "long_range": types.SimpleNamespace(**{**vars(QUESTIONS["long_range"]), "UNDER_REVIEW": ""}),
            "other": other_question(),
            "later": QUESTIONS["gradient_flow"],
        }
        patch.setattr(report, "QUESTIONS", questions)
        curves = {**AS_TAUGHT, "GRU": FALLING, "Transformer": FALLING}
        publish(
            questions["long_range"],
            "long_range",
            "cpu",
            of_long_range(curves, tasks=("recall", "adding")),
            folder / "results",
        )
        publish(questions["other"], "other", "smoke", of_other(), folder / "results")
        assert report.main([]) == 0
    return folder


@pytest.fixture
def text(answered) -> str:
    return (answered / "results" / "report.html").read_text()


class Outline(HTMLParser):
    """Elements with their attributes, and the text outside of scripts and styles."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.words, self._inside = "", ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        if self._inside not in ("script", "style"):
            self.words += data


def test_everything_stands_on_the_page(text):
    words = Outline(text).words
    question = QUESTIONS["long_range"]
    for said in (question.CLAIM, question.SOURCE, question.PREDICTION, "supported within limits", "not run yet"):
        assert said in words
    assert question.CUT in words and "of the grid's 12 runs are finished" in words
    assert "near 0.25" in words and "table.parquet" in words and "54,321" in words and "49,999" in words
    assert "python -m experiments.run long_range --scale=cpu" in words
    assert "python -m experiments.run long_range --scale=cpu --fresh" in words
    assert "Runs are of 0000000; 1 files differ now (data/)." in words
    assert "python -m experiments.run later --scale=cpu" in words


def test_it_loads_nothing(text):
    for name, attributes in Outline(text).elements:
        assert name not in ("link", "iframe", "object", "embed", "base")
        for key in ("src", "href", "action", "data"):
            assert (attributes.get(key) or "#").startswith(("#", "data:")), (name, attributes)
    assert not re.search(r"@import|url\((?!#)", text)
    assert "default-src 'none'" in text


def test_nothing_breaks_out(text):
    outline = Outline(text)
    scripts = [attributes for name, attributes in outline.elements if name == "script"]
    assert len(scripts) == 3  # the numbers of two figures and the page's own
    assert NASTY in outline.words


def test_ids_are_unique_and_references_lead_somewhere(text):
    outline = Outline(text)
    ids = [attributes["id"] for _, attributes in outline.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = {attributes["href"][1:] for _, attributes in outline.elements if attributes.get("href", "").startswith("#")}
    assert links | set(re.findall(r"url\(#([^)]+)\)", text)) <= set(ids)


def test_the_largest_scale_is_taken_unless_one_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(report, "QUESTIONS", {"other": other_question()})
    publish(other_question(), "other", "smoke", of_other(), tmp_path / "results")
    publish(other_question(), "other", "gpu", of_other(), tmp_path / "results")
    assert "at scale gpu" in report.page("", Path("results"))
    assert "at scale smoke" in report.page("smoke", Path("results"))
    assert "not run yet" in report.page("cpu", Path("results"))


def test_a_verdict_under_review_is_one_line_and_verdict_json_stays(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    question = other_question()
    monkeypatch.setattr(report, "QUESTIONS", {"other": question})
    publish(question, "other", "cpu", of_other(), tmp_path / "results")
    before = (tmp_path / "results/other/cpu/verdict.json").read_text()
    assert "? undecided" in Outline(report.page("", Path("results"))).words
    question.UNDER_REVIEW = f"too few seeds {NASTY}"
    words = Outline(report.page("", Path("results"))).words
    assert f"under review: too few seeds {NASTY}" in words and "undecided" not in words
    assert (tmp_path / "results/other/cpu/verdict.json").read_text() == before


def test_committed_results_are_shown_where_there_are_no_others(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(report, "QUESTIONS", {"other": other_question()})
    publish(other_question(), "other", "cpu", of_other(), tmp_path / "docs" / "results")
    assert report.main([]) == 0
    assert "docs/results/other/cpu/table.parquet" in (tmp_path / "results" / "report.html").read_text()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: (folder / "verdict.json").unlink(), "verdict.json is not there; python -m experiments.figure"),
        (lambda folder: (folder / "verdict.json").write_text("mine"), "verdict.json is no verdict"),
        (
            lambda folder: (folder / "verdict.json").write_text('{"format": 0, "question": "other", "scale": "cpu"}'),
            "is of other at cpu in format 0",
        ),
        (lambda folder: (folder / "table.parquet").write_text("mine"), "is not a table of results"),
    ],
)
def test_results_that_cannot_be_shown_are_one_line(spoil, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(report, "QUESTIONS", {"other": other_question()})
    publish(other_question(), "other", "cpu", of_other(), tmp_path / "results")
    spoil(tmp_path / "results" / "other" / "cpu")
    (tmp_path / "results" / "report.html").write_text("of before")
    with pytest.raises(SystemExit) as stopped:
        report.main([])
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and said in error and error.count("\n") == 1
    assert (tmp_path / "results" / "report.html").read_text() == "of before"


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--scale=huge"], "--scale"),
        (["--results=nowhere"], "--results = nowhere is no folder"),
        (["--out=."], "--out = . is a folder"),
    ],
)
def test_mistakes_are_one_line(argv, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        report.main(argv)
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and said in error and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


# ---- parts ---------------------------------------------------------------------------------------------------------


def test_markup_escapes_what_is_not_markup():
    made = markup.tag("p", "<b>", [markup.tag("i", "&"), "'"], class_='"', hidden=True, title=None)
    assert made == '<p class="&quot;" hidden>&lt;b&gt;<i>&amp;</i>&#x27;</p>'


def test_points_are_read_off_the_figure():
    curves = {"GRU": (0.9, 0.1), "Transformer": (0.99, 0.99)}
    shown = results.reported(of_long_range(curves))
    with style.house():
        figure = QUESTIONS["long_range"].figure(shown)
    (panel,) = (taken := drawing.take_apart(figure, "here")).panels
    assert [entry.name for entry in taken.legend] == ["GRU", "Transformer"]
    assert "--ink-009e73" in taken.legend[0].swatch and "clip-path" not in taken.legend[0].swatch
    first = panel.points[0]
    rows = shown.query("system == 'GRU' and measure == 'token_accuracy' and place == 5")
    assert first.series == 0 and first.x == "5" and np.allclose(first.seeds, rows["value"])
    assert np.isclose(first.y, rows["value"].mean()) and first.interval is not None
    assert first.interval.low < first.y < first.interval.high
    assert "accuracy against distance to the answer (tokens)" in panel.drawn and 'data-series="1"' in panel.drawn


def test_points_have_names_of_places_and_plain_lines_have_points():
    with style.house():
        figure = points_figure(of_other())
    left, right = drawing.take_apart(figure, "here").panels
    assert [(point.x, point.y, point.seeds) for point in left.points] == [
        ("first", 2.0, [1.0, 2.0, 3.0]),
        (NASTY, 2.0, [1.0, 2.0, 3.0]),
    ]
    assert [(point.x, point.y, point.seeds) for point in right.points] == [("1", 1.0, []), ("10", 100.0, [])]
    assert right.points[0].left < right.points[1].left and right.points[0].top > right.points[1].top


def test_points_without_a_label_belong_to_the_series_of_their_look():
    with style.house():
        figure, (left, right) = style.panels(2)
        for system, look in (("one", Look("gru")), ("other", Look("gru", 1))):
            style.curve(left, np.array([1.0, 2.0]), np.array([[1.0, 2.0], [3.0, 4.0]]), look, system)
            style.points(right, look.marker == "s", [1.0, 2.0], look)
        style.points(right, 2, [5.0, 6.0], Look("rnn"))
    taken = drawing.take_apart(figure, "here")
    assert [entry.name for entry in taken.legend] == ["one", "other"]
    assert [(point.series, point.y) for point in taken.panels[1].points] == [(0, 1.5), (1, 1.5), (-1, 5.5)]
    assert taken.panels[1].drawn.count('data-series="1"') >= 3  # dots, mean and interval


def test_a_colour_bar_keeps_the_figure_whole_and_its_colours():
    with style.house():
        figure, (left, right) = style.panels(2)
        mesh = left.pcolormesh(np.array([[0.0, 1.0], [2.0, 3.0]]), cmap="Blues")
        figure.colorbar(mesh, ax=left)
        right.plot([0, 1], [0, 1], label="a line")
    (panel,) = drawing.take_apart(figure, "here").panels
    assert re.search(r"fill: ?#08306b", panel.drawn) and len(panel.points) == 2


@pytest.mark.parametrize("colour", [*style.COLOURS.values(), style.GREY, "#8fb8d9", "#000080"])
def test_colours_can_be_seen_on_a_dark_ground(colour):
    assert colours.contrast(colours.on_dark(colour), colours.DARK_GROUND) >= 3


def test_contrast():
    assert colours.contrast("#ffffff", "#000000") == pytest.approx(21)
    assert colours.on_dark("#ffffff") == colours.DARK_GROUND and colours.on_dark("#000000") == colours.BRIGHTEST


def test_the_palette_has_the_colours_of_the_page():
    assert "--ink-d55e00:light-dark(#d55e00," in svg.palette('<path style="fill: var(--ink-d55e00)"/>')


def test_fairness_says_what_each_cell_was_given():
    first, *rest = summary.fairness(of_long_range({"GRU": FALLING, "LSTM, bias 1": FALLING}), {"": 60_000})
    assert first.cell == ("recall", "GRU") and first.seeds == 5 and first.num_params == 54_321
    assert first.trials == 2 and first.learning_rate == 0.003 and first.steps == 4000 and first.minutes == 1.1
    assert (
        first.budget == 60_000
        and tables.FAIRNESS["left of the budget"](first) == f"{60_000 - first.num_params_non_embedding:,.0f}"
    )
    assert first.converged and not rest[0].converged and first.on_edge  # the larger of two


def test_who_has_no_loss_left_has_converged():
    run = {"run": "GRU", "system": "GRU", "role": "report", "config": "{}"}
    said = {"late_gain": math.nan, "best_loss": 0.0}
    rows = [{**run, "seed": seed, "measure": name, "value": said[name]} for seed in (0, 1) for name in said]
    (one,) = summary.fairness(whole(rows), {})
    assert one.converged and tables.FAIRNESS["late gain (converged)"](one) == "none left (yes)"


def test_systems_measured_in_one_run_have_a_size_each():
    run = {"run": "short", "length": 8, "role": "report", "seed": 0, "measure": "num_params_non_embedding"}
    found = summary.fairness(
        whole({**run, "part": part, "value": value} for part, value in (("GRU", 10), ("RNN", 12))), {"8": 13}
    )
    assert [(one.cell, one.part, one.num_params_non_embedding, one.budget) for one in found] == [
        (("8",), "GRU", 10, 13),
        (("8",), "RNN", 12, 13),
    ]


def test_measures_are_means_over_seeds():
    found = summary.measures(results.reported(of_long_range({"GRU": (0.9, 0.1)}, noise=0.01)))
    accuracy = next(measure for measure in found if measure.name == "token_accuracy")
    assert accuracy.probe == "accuracy_by_distance" and found.index(accuracy) < len(found) - 1
    (line,) = accuracy.lines
    assert line.cell == ("recall", "GRU") and line.places == 13 and (line.near[0], line.far[0]) == (5, 65)
    assert line.near[1].interval.mean == pytest.approx(0.9, abs=0.02) and line.near[1].seeds == 5
    assert summary.over_seeds([0, 0, 1], [1, 3, 4]).interval.mean == 3


# ---- in a browser --------------------------------------------------------------------------------------------------

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
EARLY = """<script>window.failures = [];
addEventListener("error", (event) => failures.push(String(event.message)));
addEventListener("securitypolicyviolation", (event) => failures.push(`blocked: ${event.blockedURI}`));
console.error = (...words) => failures.push(words.join(" "));</script>"""
LATE = """<script>
function look(figure) {
  const data = JSON.parse(figure.querySelector("script").textContent);
  const tip = document.getElementById("tip");
  const panels = [...figure.querySelectorAll(".panel > svg")].map((svg, number) => {
    const box = svg.getBoundingClientRect();
    const [series, left, top, x] = data.panels[number].points[0];
    const matrix = svg.getScreenCTM();
    const at = new DOMPoint(left, top).matrixTransform(matrix);
    const part = svg.querySelector(`[data-series="${series}"]`);
    const off = [...svg.querySelectorAll(`[data-series="${series}"] :is(path:not(defs *), use)`)].map((mark) => {
      const start = mark.getPointAtLength?.(0) ?? new DOMPoint(mark.x.baseVal.value, mark.y.baseVal.value);
      const drawn = new DOMPoint(start.x, start.y).matrixTransform(mark.getScreenCTM());
      return Math.hypot(drawn.x - at.x, drawn.y - at.y);
    });
    svg.dispatchEvent(new PointerEvent("pointermove", { clientX: at.x, clientY: at.y }));
    const hovered = tip.hidden ? "" : tip.innerText;
    const marks = svg.querySelectorAll(".mark").length;
    svg.dispatchEvent(new PointerEvent("pointerleave"));
    const left_alone = tip.hidden;
    svg.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight" }));
    const by_key = tip.hidden ? "" : tip.innerText;
    const key = figure.querySelector(`.key[data-key="${series}"]`);
    const shown = () => getComputedStyle(part).display !== "none";
    const toggled = [shown(), key.getAttribute("aria-pressed")];
    key.click(); toggled.push(shown(), key.getAttribute("aria-pressed"));
    key.click(); toggled.push(shown(), key.getAttribute("aria-pressed"));
    return { width: box.width, height: box.height, paths: svg.querySelectorAll("path").length, hovered, marks,
      left_alone, by_key, toggled, off: Math.min(...off), name: data.names[series], x };
  });
  return { name: figure.dataset.plot, panels };
}
addEventListener("load", () => {
  const theme = document.getElementById("theme"), grounds = [];
  for (let n = 0; n < 3; n++) { theme.click(); grounds.push(getComputedStyle(document.body).backgroundColor); }
  const found = [...document.querySelectorAll("figure.plot")].map(look);
  const wide = document.documentElement.scrollWidth > innerWidth;
  parent.postMessage({ width: innerWidth, found, grounds, wide, failures }, "*");
});</script>"""
WIDTHS = (1280, 360)
AROUND = """<script>const found = [];
addEventListener("message", (event) => {
  found.push(event.data);
  document.body.dataset.found = JSON.stringify(found);
});
</script>"""  # the page at each of WIDTHS, in frames: a window cannot be as narrow as a phone


@pytest.fixture(scope="module")
def opened(answered, tmp_path_factory) -> dict:
    """What the page does in a browser, by width: a script in it hovers and clicks, and says what came of it."""
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None:
        pytest.skip("needs a browser to open the page in: install chromium (Debian: apt-get install chromium)")
    folder = tmp_path_factory.mktemp("browser")
    page = (answered / "results" / "report.html").read_text()
    page = page.replace("<head>", f"<head>{EARLY}", 1).replace("</body>", f"{LATE}</body>", 1)
    (folder / "page.html").write_text(page)
    frames = [f'<iframe src="page.html" width="{width}" height="800" style="border: 0"></iframe>' for width in WIDTHS]
    (folder / "around.html").write_text(f"<!doctype html><body>{AROUND}{''.join(frames)}")
    words = [
        browser,
        "--headless",
        "--disable-gpu",
        "--window-size=1280,900",
        f"--user-data-dir={folder / 'profile'}",
        "--no-first-run",
        "--disable-extensions",
        "--enable-logging=stderr",
        "--virtual-time-budget=4000",
        "--dump-dom",
        (folder / "around.html").as_uri(),
    ]
    if os.geteuid() == 0:
        words.insert(1, "--no-sandbox")
    ended = subprocess.run(words, capture_output=True, text=True, timeout=120)
    found = re.search(r'data-found="([^"]*)"', ended.stdout)
    assert found, ended.stderr[-2000:]
    said = [line for line in ended.stderr.splitlines() if "CONSOLE" in line]
    return {one["width"]: one | {"console": said} for one in json.loads(html.unescape(found[1]))}


@pytest.fixture(params=WIDTHS)
def seen(opened, request) -> dict:
    return opened[request.param]


def test_no_error_in_a_browser(seen):
    assert seen["failures"] == [] and seen["console"] == []


def test_every_figure_is_drawn(seen):
    assert [(figure["name"], len(figure["panels"])) for figure in seen["found"]] == [("long_range", 2), ("other", 2)]
    for panel in (panel for figure in seen["found"] for panel in figure["panels"]):
        assert panel["width"] > 300 and panel["height"] > 150 and panel["paths"] > 10
    assert not seen["wide"]


def test_a_point_can_be_read(seen):
    for panel in (panel for figure in seen["found"] for panel in figure["panels"]):
        assert panel["off"] < 0.5  # pixels between where a point is drawn and where it is read
        assert panel["hovered"].startswith(panel["name"]) and panel["marks"] == 1 and panel["left_alone"]
        assert f": {panel['x']}" in panel["hovered"] and panel["by_key"].startswith(panel["name"])
    first = seen["found"][0]["panels"][0]["hovered"]
    assert "95 % interval: " in first and "seeds: " in first and first.count(",") == 4


def test_a_series_can_be_hidden_and_shown(seen):
    for panel in (panel for figure in seen["found"] for panel in figure["panels"]):
        assert panel["toggled"] == [True, "true", False, "false", True, "true"]


def test_the_theme_can_be_switched(seen):
    light, dark, system = seen["grounds"]
    assert light == "rgb(255, 255, 255)" and dark == "rgb(22, 25, 29)" and system in (light, dark)
