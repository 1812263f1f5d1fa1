"""The fairness table and the table of measures, from `summary.py`."""

import math
from collections.abc import Callable, Sequence

from experiments.analysis.table import axes_of
from experiments.engine import results
from experiments.engine.trial import OF_RUN
from experiments.page import summary
from experiments.page.answer import Answer
from experiments.page.grid import NONE, count, fold, grid, number, row
from experiments.page.markup import Markup, join, tag
from experiments.page.summary import CONVERGED, Fairness, Line, Measure, Value

MOST_LINES = 200  # of one measure; beyond, the table is the place to look
LARGE = 1e4  # from here on numbers are written out whole


def _late_gain(one: Fairness) -> str:
    if math.isnan(one.late_gain):
        return "none left (yes)" if one.converged else NONE
    percent, converged = 100 * one.late_gain, "yes" if one.converged else "no"
    return f"{percent:.0f} % ({converged})" if percent >= 10 else f"{percent:.2g} % ({converged})"


def _left_over(one: Fairness) -> str:
    return NONE if one.budget is None else count(one.budget - one.num_params_non_embedding)


FAIRNESS: dict[str, Callable[[Fairness], str]] = {
    "seeds": lambda one: str(one.seeds),
    "parameters": lambda one: count(one.num_params),
    "without embeddings": lambda one: count(one.num_params_non_embedding),
    "left of the budget": _left_over,
    "FLOPs a token": lambda one: count(one.flops_per_token),
    "state or cache, bytes": lambda one: count(one.state_bytes),
    "updates": lambda one: count(one.steps),
    "tuning trials": lambda one: str(one.trials),
    "learning rate": lambda one: number(one.learning_rate, ".3g") + " (edge)" * one.on_edge,
    "late gain (converged)": _late_gain,
    "minutes a run": lambda one: number(one.minutes, ".2g"),
}  # what nothing is known of is left out


def fairness(answer: Answer) -> Markup:
    found = summary.fairness(answer.everything, answer.question.BUDGETS.get(answer.scale, {}))
    parts = ["part"] * any(one.part for one in found)
    words = [(*one.cell, *[one.part] * len(parts)) for one in found]
    columns = {name: [shown(one) for one in found] for name, shown in FAIRNESS.items()}
    columns = {name: column for name, column in columns.items() if set(column) != {NONE}}
    numbers = zip(*columns.values(), strict=True)
    rows = [row(cell, (), values) for cell, values in zip(words, numbers, strict=True)]
    heads = [*axes_of(answer.everything), *parts]
    caption = (
        "Means over seeds. Where a budget is named, widths are solved for, those of feed-forward layers last, so that "
        "the parameters without embeddings come close to it from below. FLOPs a token (forward) and state are of the "
        "longest sequences that the task has, those of its tests too. Tuning trials are values tried with a seed of "
        "their own, which is not reported; on an edge, "
        "none beyond the chosen one was tried. Late gain "
        "is the share by which the last quarter of the updates lowered the best validation loss, the largest over "
        f"seeds; below {100 * CONVERGED:g} % a run counts as converged here. Of a loss that is almost 0, a large share "
        "is little."
    )
    return join((tag("p", caption, class_="note"), grid([*heads, *columns], rows, text=len(heads))))


def measures(answer: Answer) -> Markup:
    """Every measure, folded."""
    shown = results.reported(answer.everything)
    axes = axes_of(shown)
    said = tag(
        "p",
        f"Means over seeds with 95 % intervals. All {len(answer.everything):,} rows, of trials too, are in ",
        tag("code", (answer.folder / "table.parquet").as_posix()),
        ". A measure that has places is shown at the first and the last of them.",
        class_="note",
    )
    return join((said, [_measure(measure, axes) for measure in summary.measures(shown)]))


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
        words = [line.part] * parts + [count(line.step)] * steps
        rows.append(row(line.cell, words, _of_line(line, places)))
    more = len(measure.lines) - len(lines)
    rest = tag("p", f"{more:,} more in the table.", class_="note") if more else ""
    of_probe = f" ({measure.probe})" if measure.probe not in ("", OF_RUN) else ""
    counted = f"{len(measure.lines):,} row{'s' if len(measure.lines) != 1 else ''}"
    return fold(
        (tag("code", measure.name), f"{of_probe}, {counted}"), (grid([*columns, "seeds"], rows, text=text), rest)
    )


def _of_line(line: Line, places: bool) -> list[str]:
    near, far = line.near, line.far
    seeds = str(near[1].seeds)
    if not places:
        return [_value(near[1]), seeds]
    return [str(line.places), number(near[0], "g"), _value(near[1]), number(far[0], "g"), _value(far[1]), seeds]


def _value(value: Value) -> str:
    mean, low, high = value.interval
    shown = count(mean) if abs(mean) >= LARGE else number(mean, ".4g")
    if math.isfinite(low) and math.isfinite(high) and high > low:
        return f"{shown} [{_short(low)}, {_short(high)}]"
    return shown


def _short(value: float) -> str:
    return count(value) if abs(value) >= LARGE else f"{value:.3g}"
