"""One question on the page, as plain values for `question.html`."""

import base64
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.analysis import judge
from experiments.analysis.finding import Effect, Outcome
from experiments.analysis.frames import LayerChart
from experiments.analysis.shares import COUNTED
from experiments.analysis.words import number
from experiments.engine import results, version
from experiments.engine.publish import SMOKE, TRAINING
from experiments.page.answer import Answer, restated
from experiments.page.fairness_table import fairness
from experiments.questions.question import Question

SAID = {judge.HOLDS: ("holds", "hold"), judge.FAILS: ("fails", "fail"), judge.OPEN: ("is open", "are open")}
LONG = 200  # characters of reasons that a sentence does not hold
MARKS = {Outcome.SUPPORTED: "✓", Outcome.WITHIN_LIMITS: "◐", Outcome.NOT_SUPPORTED: "✗", Outcome.UNDECIDED: "?"}


def section(answer: Answer) -> dict[str, Any]:
    """The figure is drawn from the table when a template asks for its panels."""
    question, verdict, run = answer.question, answer.verdict, f"{answer.name} --scale={answer.scale}"
    reported = results.reported(answer.everything)
    of = int(answer.everything["version"].max())
    outdated = f"These results are of version {of}; version {question.VERSION} has not been run." * (
        of < question.VERSION
    )
    return {
        "name": answer.name,
        "title": title(answer.name, question),
        "scale": answer.scale,
        "stated": verdict["statement"],
        "restated": restated(answer),
        "done": _done(verdict["runs"], verdict["runs_of_the_grid"]),
        "version": of,
        "outdated": outdated,
        "picture": _picture(answer.folder / "figure.png") if outdated else "",
        "cut": question.CUT if answer.scale == "cpu" and not outdated else "",
        "limits": question.LIMITS,
        "trained": "" if outdated else _picture(answer.folder / f"{TRAINING}.png"),
        "changed": version.since(answer.everything),
        "under_review": _sentences(question.UNDER_REVIEW),
        "smoke": _sentences(SMOKE) if answer.scale == "smoke" else "",
        "findings": [_finding(one) for one in verdict["findings"]],
        "published": None if outdated else question.published(reported),
        "panels": lambda: [] if outdated else [panel(one) for one in question.figure(reported)],
        "fairness": fairness(answer.everything, question.BUDGETS.get(answer.scale, {})),
        "table": (answer.folder / "table.parquet").as_posix(),
        "rows": f"{len(answer.everything):,}",
        "commands": _commands(answer, run, question.VERSION, of),
    }


def title(name: str, question: Question) -> str:
    """The question that the first line of its file asks; without one, its name."""
    first = (vars(question).get("__doc__") or name.replace("_", " ")).strip().splitlines()[0]
    return first[: first.find("?") + 1] or first


def _done(runs: int, of: int) -> str:
    return f"All {of} runs of the grid are finished." if runs == of else f"{runs} of the grid's {of} runs are finished."


def _sentences(text: str) -> str:
    """Each begins with a capital, and the last has a full stop."""
    begun = re.sub(r"(^|\. )([a-z])", lambda found: found[1] + found[2].upper(), text)
    return f"{begun}." if begun and begun[-1] not in ".!?" else begun


def _commands(answer: Answer, run: str, version: int, of: int) -> tuple[str, ...]:
    if of < version:
        made = answer.everything["commit"].iloc[-1]
        committed = f"docs/results/{answer.name}/{answer.scale}"
        return (
            f"{answer.command}  # version {version}",
            f"{answer.command} --fresh  # after that: every run again, and a comparison",
            f"git checkout {made} && rm -r {committed} && {answer.command}  # version {of}, by its own code",
        )
    return (
        answer.command,
        f"python -m experiments.figure {run}  # figure and verdict from the table",
        f"{answer.command} --fresh  # every run again, and a comparison with these",
    )


def panel(chart: LayerChart) -> str:
    """A chart as JSON that is safe inside a script element: as wide as its container, its data by columns."""
    from experiments.analysis import charts

    spec = charts.specification(chart.properties(width="container"))
    for name, rows in spec["datasets"].items():
        columns = list(rows[0]) if rows else []
        spec["datasets"][name] = {"columns": columns, "rows": [list(row.values()) for row in rows]}
    return json.dumps(spec, separators=(",", ":")).replace("<", "\\u003c").replace("&", "\\u0026")


def _picture(path: Path) -> str:
    """A picture that stands in the page itself; empty if there is none."""
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}" if path.is_file() else ""


def _finding(found: dict[str, Any]) -> dict[str, Any]:
    """One of the findings of `verdict.json`, with its numbers in words."""
    known = [_known(one) for one in found["effects"]]
    effects = [_effect(one) for one in known]
    said = {column for one in effects for column, value in one.items() if value != number(None)}
    effects = [{column: value for column, value in one.items() if column in said} for one in effects]
    because = _sentences(found["because"])
    brief = because if len(because) < LONG else _sentences(_brief(found["because"], known))
    return found | {"mark": MARKS[Outcome(found["outcome"])], "effects": effects, "because": because, "brief": brief}


def _known(effect: dict[str, Any]) -> Effect:
    """As it was judged: JSON has no nan."""
    return Effect(**effect | {end: math.nan for end in ("size", "low", "high") if effect[end] is None})


def _brief(because: str, effects: Sequence[Effect]) -> str:
    """Of many comparisons: the seeds that solve it where they are counted, else the lowest and the highest effect."""
    judged = [one for one in effects if one.says in SAID]
    if because.startswith(COUNTED) or not judged:
        return because.split(". ", 1)[0]
    says = [one.says for one in judged]
    counts = ", ".join(f"{says.count(one)} {SAID[one][says.count(one) > 1]}" for one in dict.fromkeys(says))
    least, most = (judge.shown(end(judged, key=lambda one: one.size)) for end in (min, max))
    unasked = f", {len(effects) - len(judged)} not judged" * (len(judged) < len(effects))
    return f"{counts}{unasked}. Lowest: {least}. Highest: {most}"


def _effect(effect: Effect) -> dict[str, str]:
    low, high = effect.low, effect.high
    return {
        "comparison": effect.name,
        "says": effect.says,
        "effect": number(effect.size, "+.3g"),
        "95 % interval": f"{low:+.3g} to {high:+.3g}" if math.isfinite(high - low) else number(None),
        "on other sentences": "{:+.3g} to {:+.3g}".format(*effect.sentences) if effect.sentences else number(None),
        "seeds": str(effect.seeds),
        "p (Holm)": "no spread" if low == high else number(effect.p, ".2g"),
        "seeds to decide": number(effect.more_seeds, "d"),
    }
