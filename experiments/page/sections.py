"""The sections of the page: one a question."""

import json
import math
from collections.abc import Sequence
from typing import Any

from experiments import results, style
from experiments.judge import FAILS, HOLDS, OPEN
from experiments.page import summary
from experiments.page.answer import COMMANDS, Answer, restated
from experiments.page.drawing import Drawing, Panel, take_apart
from experiments.page.markup import Content, Markup, join, tag
from experiments.page.summary import CONVERGED, Line, Measure, Value
from experiments.question import Outcome, Question
from experiments.trial import OF_RUN

MOST_LINES = 400  # of one measure; beyond, table.csv is the place to look
NONE = "–"
MARKS = {Outcome.SUPPORTED: "✓", Outcome.WITHIN_LIMITS: "◐", Outcome.NOT_SUPPORTED: "✗", Outcome.UNDECIDED: "?"}


def chip(outcome: str) -> Markup:
    """An outcome in its colour, which its mark and its words say as well."""
    mark = MARKS.get(Outcome(outcome), "") if outcome in list(Outcome) else ""
    words = f"{mark} {outcome}".strip()
    return tag("span", words, class_=f"chip {outcome.replace(' ', '-')}")


def contents(answers: Sequence[Answer], not_run: Sequence[str]) -> Markup:
    """What came out, question by question, and the way there."""
    rows = []
    for answer in answers:
        found = [tag("li", finding["claim"], " ", chip(finding["outcome"])) for finding in answer.verdict["findings"]]
        link = tag("a", answer.name, href=f"#{answer.name}")
        rows.append(tag("li", link, tag("span", answer.scale, class_="scale"), tag("ul", found, class_="chips")))
    links = [tag("li", tag("a", name, href=f"#{name}"), tag("span", "not run yet", class_="scale")) for name in not_run]
    return tag("nav", tag("ul", rows, links, class_="contents"), aria_label="Questions")


def answered(answer: Answer) -> Markup:
    """A whole section. Draws the figure anew from the table."""
    shown = results.reported(answer.everything)
    with style.house():
        figure = answer.question.figure(shown)
    drawing = take_apart(figure, answer.name)
    said = answer.verdict["statement"]
    return tag(
        "section",
        tag("h2", answer.name.replace("_", " "), " ", tag("small", f"at scale {answer.scale}")),
        _stated(said["claim"], said["source"], said["prediction"]),
        _thresholds(said),
        tag("p", "The question has been restated since. What stands here is what was judged.", class_="note")
        if restated(answer)
        else "",
        tag("h3", "Verdict"),
        [_finding(finding) for finding in answer.verdict["findings"]],
        tag("h3", "Figure"),
        _figure(answer.name, drawing),
        tag("h3", "Fairness"),
        _fairness(answer),
        tag("h3", "Table"),
        _table(answer),
        tag("h3", "Commands"),
        _commands(answer),
        id=answer.name,
    )


def not_run(name: str, question: Question, scale: str) -> Markup:
    command = f"python -m experiments.run {name} --scale={scale or 'cpu'}"
    return tag(
        "section",
        tag("h2", name.replace("_", " "), " ", tag("small", "not run yet")),
        _stated(question.CLAIM, question.SOURCE, question.PREDICTION),
        tag("pre", tag("code", command), tabindex=0),
        id=name,
    )


def _stated(claim: str, source: str, prediction: str) -> Markup:
    pairs = (("Claim", claim), ("Source", source), ("Prediction", prediction))
    return tag("dl", [(tag("dt", name), tag("dd", words)) for name, words in pairs], class_="stated")


def _thresholds(said: dict[str, Any]) -> Markup:
    values = ", ".join(f"{name} {value:g}" for name, value in said["thresholds"].items())
    if not said["commit"]:
        held = "no commit holds them yet"
    else:
        when = "older than the runs" if said["older_than_the_runs"] else "not older than the runs"
        held = ("held by commit ", tag("code", said["commit"][:10]), f" of {said['date'][:10]}, {when}")
    return tag("p", "Thresholds: ", values or "none", "; claim, source, prediction and thresholds are ", held, ".")


def _finding(finding: dict[str, Any]) -> Markup:
    head = tag("h4", finding["claim"], " ", chip(finding["outcome"]))
    effects = [
        tag("tr", tag("th", e["name"], scope="row"), tag("td", e["says"], class_=f"says {_class(e['says'])}"),
            tag("td", _number(e["size"], "+.3g"), class_="number"), tag("td", _interval(e), class_="number"),
            tag("td", str(e["seeds"]), class_="number"), tag("td", _number(e["p"], ".2g"), class_="number"),
            tag("td", _number(e["more_seeds"], "d"), class_="number"))
        for e in finding["effects"]
    ]  # fmt: skip
    columns = ("comparison", "says", "effect", "95 % interval", "seeds", "p (Holm)", "seeds to decide")
    return tag(
        "article",
        head,
        tag("p", tag("strong", finding["statement"])),
        tag("p", finding["because"]),
        _fold(f"{len(effects)} comparisons", _grid(columns, effects, text=2)) if effects else "",
        class_="finding",
    )


def _class(says: str) -> str:
    return says if says in (HOLDS, FAILS, OPEN) else "silent"


def _interval(effect: dict[str, Any]) -> str:
    low, high = effect["low"], effect["high"]
    return NONE if low is None or high is None else f"{low:+.3g} to {high:+.3g}"


def _number(value: float | None, form: str) -> str:
    return NONE if value is None or not math.isfinite(value) else format(value, form)


# ---- the figure ----------------------------------------------------------------------------------------------------


def _figure(name: str, drawing: Drawing) -> Markup:
    keys = [
        tag("li", tag("button", entry.swatch, tag("span", entry.name), type="button", class_="key", aria_pressed="true",
                      data_key=n))
        for n, entry in enumerate(drawing.legend)
    ]  # fmt: skip
    everything = tag("li", tag("button", "all or none", type="button", class_="key every"))
    legend = tag("ul", keys, everything, class_="legend", aria_label="Series: press to hide or show") if keys else ""
    data = {"names": [entry.name for entry in drawing.legend], "panels": [_readable(p) for p in drawing.panels]}
    return tag(
        "figure",
        tag("p", drawing.title, class_="title") if drawing.title else "",
        tag("div", [tag("div", panel.drawn, class_="panel") for panel in drawing.panels], class_="panels"),
        legend,
        tag("figcaption", "Lines are means over seeds, bands and bars 95 % t intervals, dots single seeds, unless an "
            "axis says otherwise. Hover, tap, or focus a panel and use the arrow keys to read a point; press a name to "
            "hide or show its series."),
        Markup(f'<script type="application/json">{_json(data)}</script>'),
        class_="plot",
        data_plot=name,
    )  # fmt: skip


def _readable(panel: Panel) -> dict[str, Any]:
    """What a script needs of a panel; numbers as they are to be read."""
    points = [
        [p.series, round(p.left, 2), round(p.top, 2), p.x, f"{p.y:.4g}",
         f"{p.interval.low:.4g} to {p.interval.high:.4g}" if p.interval else "", ", ".join(f"{y:.4g}" for y in p.seeds)]
        for p in panel.points
    ]  # fmt: skip
    return {"x": panel.x_label, "y": panel.y_label, "points": points}


def _json(value: Any) -> str:
    """JSON that cannot end the element it stands in."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c").replace("&", "\\u0026")


# ---- tables --------------------------------------------------------------------------------------------------------


def _fairness(answer: Answer) -> Markup:
    axes = summary.axes_of(answer.everything)
    rows = []
    for one in summary.fairness(answer.everything):
        converged = NONE if math.isnan(one.late_gain) else "yes" if one.converged else "no"
        numbers = (
            str(one.seeds), _count(one.num_params), _count(one.num_params_non_embedding), _count(one.flops_per_token),
            _count(one.state_bytes), _count(one.steps), str(one.trials), _number(one.learning_rate, ".3g"),
            NONE if math.isnan(one.late_gain) else f"{100 * one.late_gain:.2g} %", converged,
            _number(one.minutes, ".2g"),
        )  # fmt: skip
        rows.append(_row(one.cell, (), numbers))
    columns = (*axes, "seeds", "parameters", "without embeddings", "FLOPs a token", "bytes of state or cache",
               "updates", "tuning trials", "learning rate", "late gain", "converged", "minutes a run")  # fmt: skip
    caption = (
        "Means over seeds. Tuning trials are values tried with a seed of their own, which is not reported. Late gain "
        "is the share by which the last quarter of the updates lowered the best validation loss, the largest over "
        f"seeds; below {100 * CONVERGED:g} % a run counts as converged here. Of a loss that is almost 0, a large share "
        "is little."
    )
    return join((tag("p", caption, class_="note"), _grid(columns, rows, text=len(axes))))


def _table(answer: Answer) -> Markup:
    shown = results.reported(answer.everything)
    axes = summary.axes_of(shown)
    found = summary.measures(shown)
    said = tag(
        "p",
        f"Means over seeds with 95 % intervals. All {len(answer.everything):,} rows are in ",
        tag("code", (answer.folder / "table.csv").as_posix()),
        ". A measure that has places is shown at the first and the last of them.",
        class_="note",
    )
    return join((said, [_measure(measure, axes) for measure in found]))


def _measure(measure: Measure, axes: Sequence[str]) -> Markup:
    lines = measure.lines[:MOST_LINES]
    parts = any(line.part for line in lines)
    steps = measure.probe != OF_RUN and len({line.step for line in measure.lines}) > 1
    places = any(line.places for line in lines)
    columns = [*axes, *["part"] * parts, *["step"] * steps]
    text = len(columns)
    columns += ["places", "first", "value there", "last", "value there"] if places else ["value"]
    rows = []
    for line in lines:
        words = [line.part] * parts + [_count(line.step)] * steps
        rows.append(_row(line.cell, words, _of_line(line, places)))
    more = len(measure.lines) - len(lines)
    title = measure.name + (f" ({measure.probe})" if measure.probe not in ("", OF_RUN) else "")
    rest = tag("p", f"{more:,} more in table.csv.", class_="note") if more else ""
    return _fold(
        (tag("code", title), f" {len(measure.lines):,} rows"), (_grid([*columns, "seeds"], rows, text=text), rest)
    )


def _of_line(line: Line, places: bool) -> list[str]:
    near, far = line.near, line.far
    seeds = str(near[1].seeds)
    if not places:
        return [_value(near[1]), seeds]
    return [str(line.places), _number(near[0], "g"), _value(near[1]), _number(far[0], "g"), _value(far[1]), seeds]


def _value(value: Value) -> str:
    mean, low, high = value.interval
    shown = _count(mean) if abs(mean) >= 1e4 else _number(mean, ".4g")
    if math.isfinite(low) and math.isfinite(high) and high > low:
        return f"{shown} [{_short(low)}, {_short(high)}]"
    return shown


def _short(value: float) -> str:
    return _count(value) if abs(value) >= 1e4 else f"{value:.3g}"


def _count(value: float) -> str:
    return NONE if not math.isfinite(value) else f"{value:,.0f}"


def _row(cell: Sequence[str], words: Sequence[str], numbers: Sequence[str]) -> Markup:
    heads = [tag("th", word, scope="row") for word in cell]
    return tag("tr", heads, [tag("td", w) for w in words], [tag("td", n, class_="number") for n in numbers])


def _grid(columns: Sequence[str], rows: Sequence[Markup], *, text: int) -> Markup:
    """A table that scrolls sideways by itself where it is too wide. The first `text` columns hold words."""
    heads = [tag("th", name, scope="col", class_=None if n < text else "number") for n, name in enumerate(columns)]
    table = tag("table", tag("thead", tag("tr", heads)), tag("tbody", rows))
    return tag("div", table, class_="scroll", tabindex=0, role="region", aria_label="Table, scrolls sideways")


def _fold(title: Content, content: Content) -> Markup:
    return tag("details", tag("summary", title), content)


def _commands(answer: Answer) -> Markup:
    lines = [line for line in answer.commands if line and not line.startswith("#") and line != "exit"]
    all_of_it, one_by_one = lines[:1], lines[1:]
    if not lines:
        all_of_it = [f"python -m experiments.run {answer.name} --scale={answer.scale}"]
    again = f"python -m experiments.figure {answer.name} --scale={answer.scale}"
    parts: list[Content] = [tag("pre", tag("code", "\n".join([*all_of_it, again])), tabindex=0)]
    if one_by_one:
        listed = tag("pre", tag("code", "\n".join(one_by_one)), tabindex=0, class_="long")
        parts.append(_fold(f"The same {len(one_by_one)} runs one by one ({COMMANDS})", listed))
    return join(parts)
