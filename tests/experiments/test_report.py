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

import pytest
from pandas import DataFrame

from experiments import report
from experiments.analysis import charts, judge, table
from experiments.analysis.judge import Comparison
from experiments.analysis.palette import Look
from experiments.analysis.published import Published
from experiments.analysis.table import of_rows
from experiments.engine import publish as publishing
from experiments.page import answer
from experiments.page.fairness_table import fairness
from experiments.page.section import panel
from experiments.questions import QUESTIONS
from tests.experiments.questions.test_long_range import AS_TAUGHT, FALLING, made_up

NASTY = "</script><script>throw 1</script> & \"'"
CONFIG = json.dumps({"steps": 4000, "optimizer.learning_rate": 0.003})
WHENCE = {
    "version": 1,
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
        run = {name: one[name] for name in ("run", "task", "system", "control", "seed", "role")}
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
        trial = {name: one[name] for name in ("run", "task", "system", "control")} | {"role": "tune", "seed": 1000}
        rows += [
            {**trial, "probe": "run", "measure": "best_loss", "value": 1.0, "tuned": rate} for rate in (1e-3, 3e-3)
        ]
    return whole(rows)


def points_figure(shown: DataFrame):
    cells = [charts.Cell(name, name, mine["value"]) for name, mine in shown.groupby("system", sort=False)]
    looks = {name: Look("gru", n) for n, name in enumerate(shown["system"].unique())}
    bound = charts.line({1.0: 1.0, 10.0: 100.0}, NASTY)
    right = charts.curves(
        [charts.Cell(NASTY, x, [x, 2 * x]) for x in (1.0, 10.0)],
        looks,
        charts.Axes("b", "x", "y", log_x=True, log_y=True),
    )
    return [charts.points(cells, looks, charts.Axes(NASTY, "system", NASTY)), right + bound]


def other_question():
    """A question whose words try to be markup."""

    def verdict(shown: DataFrame):
        return [judge.larger(NASTY, NASTY, [Comparison(NASTY, [0.1, 0.2, 0.3])], least=0.1)]

    said = dict.fromkeys(("CLAIM", "SOURCE", "PREDICTION", "CUT", "LIMITS"), NASTY)
    return types.SimpleNamespace(
        **said,
        VERSION=1,
        HISTORY={1: NASTY},
        UNDER_REVIEW="",
        THRESHOLDS={"least": 0.1},
        BUDGETS={"cpu": {NASTY: 60_000}},
        PROBES=(),
        figure=points_figure,
        training=points_figure,
        verdict=verdict,
        published=lambda shown: Published(NASTY, [{NASTY: NASTY}], NASTY),
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
            "long_range": types.SimpleNamespace(**{**vars(QUESTIONS["long_range"]), "VERSION": 1, "UNDER_REVIEW": ""}),
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
    assert question.CUT in words and question.LIMITS in words and "of the grid's 12 runs are finished" in words
    assert "near 0.25" in words and "table.parquet" in words and "54,321" in words and "49,999" in words
    assert "python -m experiments.run long_range --scale=cpu" in words
    assert "python -m experiments.run long_range --scale=cpu --fresh" in words
    assert "Runs are of 0000000; 1 file differs now (data/)." in words
    assert "python -m experiments.run later --scale=cpu" in words


def test_it_loads_nothing_and_is_small(text):
    for name, attributes in Outline(text).elements:
        assert name not in ("link", "iframe", "object", "embed", "base")
        for key in ("src", "href", "action", "data"):
            assert (attributes.get(key) or "#").startswith(("#", "data:")), (name, attributes)
    assert not re.search(r"@import|url\((?!#)", text.split("<script>")[0])
    assert "default-src 'none'" in text and len(text) < 1_100_000  # of which Vega is 900,000


def test_nothing_breaks_out(text):
    outline = Outline(text)
    scripts = [attributes for name, attributes in outline.elements if name == "script"]
    assert len(scripts) == 6  # two figures of two panels, Vega, and the page's own
    assert NASTY in outline.words


def test_ids_are_unique_and_references_lead_somewhere(text):
    outline = Outline(text)
    ids = [attributes["id"] for _, attributes in outline.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = {attributes["href"][1:] for _, attributes in outline.elements if attributes.get("href", "").startswith("#")}
    assert links <= set(ids)


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
    assert f"under review Too few seeds {NASTY}" in words and "undecided" not in words
    assert (tmp_path / "results/other/cpu/verdict.json").read_text() == before


def test_a_smoke_run_has_no_verdict(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(report, "QUESTIONS", {"other": other_question()})
    publish(other_question(), "other", "smoke", of_other(), tmp_path / "results")
    words = Outline(report.page("", Path("results"))).words
    assert words.count("Everything runs; there is no verdict") == 2 and "undecided" not in words


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
        (lambda folder: (folder / "verdict.json").write_text("mine"), "verdict.json is not a verdict"),
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


def test_a_pipe_is_no_place_for_the_page(tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SystemExit) as stopped:
        report.main([f"--out={tmp_path / 'pipe'}", f"--results={tmp_path}"])
    assert stopped.value.code == 2 and "pipe is a folder, a device or a pipe; give a file" in capsys.readouterr().err


def test_a_damaged_verdict_is_one_line_with_its_path(tmp_path):
    publish(other_question(), "other", "cpu", of_other(), tmp_path / "results")
    path = tmp_path / "results" / "other" / "cpu" / "verdict.json"
    whole = json.loads(path.read_text())
    parts = [{key: value for key, value in whole.items() if key != part} for part in ("statement", "runs", "findings")]
    odd = [json.dumps(one).encode() for one in (*parts, whole | {"findings": None}, whole | {"findings": [3]})]
    for content in (b"", b"null", b"[]", b"\xff", path.read_bytes()[:200], b"[" * 99_999, *odd):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"verdict\.json is not a verdict; move it away, and python -m"):
            answer.find("other", other_question(), "cpu", tmp_path / "results")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--scale=huge"], "--scale"),
        (["--results=nowhere"], "--results = nowhere is not a folder"),
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


def test_a_panel_is_json_as_wide_as_its_place():
    left, _ = points_figure(of_other())
    said = panel(left)
    assert "<" not in said and "&" not in said
    spec = json.loads(said)
    assert spec["width"] == "container" and spec["title"]["text"] == NASTY
    means = next(one for one in spec["datasets"].values() if "interval" in one["columns"])
    assert [row[means["columns"].index("mean")] for row in means["rows"]] == [2.0, 2.0]


def test_fairness_says_what_each_cell_was_given():
    first, *rest = fairness(of_long_range({"GRU": FALLING, "LSTM, bias 1": FALLING}), {"": 60_000})
    assert first == {
        "task": "recall",
        "system": "GRU",
        "control": "none",
        "seeds": "5",
        "parameters": "54,321",
        "without embeddings": "49,999",
        "left of the budget": "10,001",
        "FLOPs per token": "100,000",
        "state or cache, bytes": "512",
        "updates": "4,000",
        "tuning trials": "2",
        "learning rate": "0.003 (edge)",  # the larger of two
        "late gain (converged)": "0.2 % (yes)",
        "minutes per run": "1.1",
    }
    assert rest[0]["late gain (converged)"] == "2.2 % (no)"


def test_who_has_no_loss_left_has_converged():
    run = {"run": "GRU", "system": "GRU", "role": "report", "config": "{}"}
    said = {"late_gain": math.nan, "best_loss": 0.0}
    rows = [{**run, "seed": seed, "measure": name, "value": said[name]} for seed in (0, 1) for name in said]
    (one,) = fairness(whole(rows), {})
    assert one["late gain (converged)"] == "none left (yes)" and "FLOPs per token" not in one


def test_systems_measured_in_one_run_have_a_size_each():
    run = {"run": "short", "length": 8, "role": "report", "seed": 0, "measure": "num_params_non_embedding"}
    found = fairness(
        whole({**run, "part": part, "value": value} for part, value in (("GRU", 10), ("RNN", 12))), {"8": 13}
    )
    assert [(one["length"], one["part"], one["without embeddings"], one["left of the budget"]) for one in found] == [
        ("8", "GRU", "10", "3"),
        ("8", "RNN", "12", "1"),
    ]


# ---- in a browser --------------------------------------------------------------------------------------------------

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
EARLY = """<script>window.failures = [];
addEventListener("error", (event) => failures.push(String(event.message)));
addEventListener("securitypolicyviolation", (event) => failures.push(`blocked: ${event.blockedURI}`));
console.error = (...words) => failures.push(words.join(" "));</script>"""
LATE = """<script>
async function look(panel) {
  const svg = panel.querySelector("svg"), box = svg.getBoundingClientRect();
  const seen = (x) => svg.querySelectorAll(x).length;
  const dot = [...svg.querySelectorAll(".mark-symbol.role-mark path")].at(-1);
  const at = dot.getBoundingClientRect();
  const where = { clientX: at.x + at.width / 2, clientY: at.y + at.height / 2, bubbles: true };
  for (const kind of ["pointerover", "pointermove", "mouseover", "mousemove"]) {
    dot.dispatchEvent(new (kind[0] === "p" ? PointerEvent : MouseEvent)(kind, where));
  }
  const hovered = document.getElementById("vg-tooltip-element")?.innerText ?? "";
  const faint = () => [...svg.querySelectorAll('[opacity="0.05"]')].length;
  const toggled = [faint()];
  const key = svg.querySelector(".role-legend-symbol path");
  for (let n = 0; n < 2; n++) {
    key?.dispatchEvent(new MouseEvent("click", { bubbles: true }));
    await panel.view.runAsync();
    toggled.push(faint());
  }
  const rows = panel.querySelectorAll("details tr").length;
  return { width: box.width, height: box.height, paths: seen("path"), hovered, toggled, rows };
}
addEventListener("load", async () => {
  await drawn;
  const theme = document.getElementById("theme"), grounds = [];
  for (let n = 0; n < 3; n++) { theme.click(); grounds.push(getComputedStyle(document.body).backgroundColor); }
  const found = [];
  for (const panel of document.querySelectorAll(".panel")) found.push(await look(panel));
  const wide = document.documentElement.scrollWidth > innerWidth;
  const verdicts = document.querySelector(".contents").getBoundingClientRect().bottom;
  parent.postMessage({ width: innerWidth, found, grounds, wide, verdicts, failures }, "*");
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
    before, _, after = page.replace("<head>", f"<head>{EARLY}", 1).rpartition("</body>")
    (folder / "page.html").write_text(f"{before}{LATE}</body>{after}")
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


def test_every_panel_is_drawn(seen):
    assert len(seen["found"]) == 4 and not seen["wide"]
    for one in seen["found"]:
        assert one["width"] > 280 and one["height"] > 150 and one["paths"] > 10
        assert one["rows"] > 2  # the same numbers as a table


def test_every_verdict_is_on_the_first_screen(seen):
    assert seen["verdicts"] < 800


def test_a_point_can_be_read(seen):
    for one in seen["found"]:
        assert "95 % interval" in one["hovered"] and "seeds" in one["hovered"]


def test_a_series_can_be_shown_alone_and_put_back(seen):
    several = [one["toggled"] for one in seen["found"] if one["toggled"] != [0, 0, 0]]
    assert len(several) == 2  # the others need no legend: each place is a series, and there is one series
    for before, alone, again in several:
        assert alone > before == again == 0


def test_the_theme_can_be_switched(seen):
    light, dark, system = seen["grounds"]
    assert light == "rgb(255, 255, 255)" and dark == "rgb(22, 25, 29)" and system in (light, dark)
