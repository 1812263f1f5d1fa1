"""The fairness table and the table of measures, from `summary.py`."""

import math
from collections.abc import Sequence

from experiments import results
from experiments.page import summary
from experiments.page.answer import Answer
from experiments.page.grid import NONE, count, fold, grid, number, row
from experiments.page.markup import Markup, join, tag
from experiments.page.summary import CONVERGED, Line, Measure, Value
from experiments.trial import OF_RUN

MOST_LINES = 400  # of one measure; beyond, table.csv is the place to look
LARGE = 1e4  # from here on numbers are written out whole


def fairness(answer: Answer) -> Markup:
    axes = summary.axes_of(answer.everything)
    rows = []
    for one in summary.fairness(answer.everything):
        converged = "" if math.isnan(one.late_gain) else f" ({'yes' if one.converged else 'no'})"
        gain = NONE if math.isnan(one.late_gain) else f"{100 * one.late_gain:.2g} %{converged}"
        numbers = (
            str(one.seeds), count(one.num_params), count(one.num_params_non_embedding), count(one.flops_per_token),
            count(one.state_bytes), count(one.steps), str(one.trials), number(one.learning_rate, ".3g"), gain,
            number(one.minutes, ".2g"),
        )  # fmt: skip
        rows.append(row(one.cell, (), numbers))
    columns = (*axes, "seeds", "parameters", "without embeddings", "FLOPs a token", "state or cache, bytes", "updates",
               "tuning trials", "learning rate", "late gain (converged)", "minutes a run")  # fmt: skip
    caption = (
        "Means over seeds. Tuning trials are values tried with a seed of their own, which is not reported. Late gain "
        "is the share by which the last quarter of the updates lowered the best validation loss, the largest over "
        f"seeds; below {100 * CONVERGED:g} % a run counts as converged here. Of a loss that is almost 0, a large share "
        "is little."
    )
    return join((tag("p", caption, class_="note"), grid(columns, rows, text=len(axes))))


def measures(answer: Answer) -> Markup:
    """Every measure, folded."""
    shown = results.reported(answer.everything)
    axes = summary.axes_of(shown)
    said = tag(
        "p",
        f"Means over seeds with 95 % intervals. All {len(answer.everything):,} rows, of trials too, are in ",
        tag("code", (answer.folder / "table.csv").as_posix()),
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
    rest = tag("p", f"{more:,} more in table.csv.", class_="note") if more else ""
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
