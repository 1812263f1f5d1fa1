"""The sections of the page: one a question."""

import json
from collections.abc import Sequence
from typing import Any

from experiments.analysis import style
from experiments.engine import results, version
from experiments.page import tables, verdict
from experiments.page.answer import COMMANDS, Answer, restated
from experiments.page.drawing import Drawing, Panel, take_apart
from experiments.page.grid import fold
from experiments.page.markup import Content, Markup, join, tag
from experiments.questions.question import Question


def contents(answers: Sequence[Answer], not_run: Sequence[str]) -> Markup:
    """What came out, question by question, and the way there."""
    rows = []
    for answer in answers:
        found = [tag("li", one["claim"], " ", verdict.chip(one["outcome"])) for one in answer.verdict["findings"]]
        if answer.question.UNDER_REVIEW:
            found = [tag("li", verdict.chip("under review"))]
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
        _share_of_the_grid(answer),
        tag("p", "The question has been restated since. What stands here is what was judged.", class_="note")
        if restated(answer)
        else "",
        tag("h3", "Figure"),
        _figure(answer.name, drawing),
        tag("h3", "Verdict"),
        _verdict(answer),
        tag("h3", "Fairness"),
        tables.fairness(answer),
        tag("h3", "Table"),
        tables.measures(answer),
        tag("h3", "Commands"),
        _commands(answer),
        id=answer.name,
    )


def _verdict(answer: Answer) -> Content:
    """The findings, or in one line why they are not shown."""
    if reason := answer.question.UNDER_REVIEW:
        return tag("p", verdict.chip("under review"), f": {reason}", class_="note")
    return [verdict.finding(found) for found in answer.verdict["findings"]]


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
    what = "claim, source, prediction and thresholds"
    if not said["commit"]:
        return tag("p", f"Thresholds: {values or 'none'}. No commit holds {what} yet.")
    return tag("p", f"Thresholds: {values or 'none'}. Commit ", _commit(said), f" holds {what}.")


def _commit(said: dict[str, Any]) -> Markup:
    """Name, date, and on which side of the runs."""
    when = "older" if said["older_than_the_runs"] else "not older"
    return join((tag("code", said["commit"][:10]), f" ({said['date'][:10]}, {when} than the runs)"))


def _share_of_the_grid(answer: Answer) -> Markup:
    """How much of the grid stands here, what the scale leaves out, and which files have changed since the runs."""
    runs, all_of_them = answer.verdict["runs"], answer.verdict.get("runs_of_the_grid")
    done = f"{runs} of the grid's {all_of_them} runs are finished. " if all_of_them else ""
    cut = answer.question.CUT if answer.scale == "cpu" else ""
    changed = version.since(answer.everything)
    since = tag("p", f"{changed[:1].upper()}{changed[1:]}.", class_="note") if changed else ""
    return join((tag("p", f"{done}{cut}") if done or cut else "", since))


# ---- the figure ----------------------------------------------------------------------------------------------------


def _figure(name: str, drawing: Drawing) -> Markup:
    keys = [
        tag(
            "li",
            tag(
                "button",
                entry.swatch,
                tag("span", entry.name),
                type="button",
                class_="key",
                aria_pressed="true",
                data_key=n,
            ),
        )
        for n, entry in enumerate(drawing.legend)
    ]
    everything = tag("li", tag("button", "all or none", type="button", class_="key every"))
    legend = tag("ul", keys, everything, class_="legend", aria_label="Series: press to hide or show") if keys else ""
    data = {"names": [entry.name for entry in drawing.legend], "panels": [_readable(p) for p in drawing.panels]}
    return tag(
        "figure",
        tag("p", drawing.title, class_="title") if drawing.title else "",
        tag("div", [tag("div", panel.drawn, class_="panel") for panel in drawing.panels], class_="panels"),
        legend,
        tag(
            "figcaption",
            "Lines are means over seeds, bands and bars 95 % t intervals, dots single seeds, unless an "
            "axis says otherwise. Hover, tap, or focus a panel and use the arrow keys to read a point; press a name to "
            "hide or show its series.",
        ),
        Markup(f'<script type="application/json">{_json(data)}</script>'),
        class_="plot",
        data_plot=name,
    )


def _readable(panel: Panel) -> dict[str, Any]:
    """What a script needs of a panel; numbers as they are to be read."""
    points = [
        [
            p.series,
            round(p.left, 2),
            round(p.top, 2),
            p.x,
            f"{p.y:.4g}",
            f"{p.interval.low:.4g} to {p.interval.high:.4g}" if p.interval else "",
            ", ".join(f"{y:.4g}" for y in p.seeds),
        ]
        for p in panel.points
    ]
    return {"x": panel.x_label, "y": panel.y_label, "points": points}


def _json(value: Any) -> str:
    """JSON that cannot end the element it stands in."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c").replace("&", "\\u0026")


def _commands(answer: Answer) -> Markup:
    lines = [line for line in answer.commands if line and not line.startswith("#") and line != "exit"]
    all_of_it, one_by_one = lines[:1], lines[1:]
    if not lines:
        all_of_it = [f"python -m experiments.run {answer.name} --scale={answer.scale}"]
    figure = f"python -m experiments.figure {answer.name} --scale={answer.scale}  # figure and verdict from the table"
    anew = f"{all_of_it[0]} --fresh  # every run again, beside these, and what moved"
    parts: list[Content] = [tag("pre", tag("code", "\n".join([*all_of_it, figure, anew])), tabindex=0)]
    if one_by_one:
        listed = tag("pre", tag("code", "\n".join(one_by_one)), tabindex=0, class_="long")
        parts.append(
            fold(f"One by one: {len(one_by_one)} run{'s' if len(one_by_one) != 1 else ''} ({COMMANDS})", listed)
        )
    return join(parts)
