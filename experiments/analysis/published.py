"""A paper's table beside what was found here, as words: for the page of a question."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from experiments.analysis.judge import Comparison
from experiments.analysis.statistics import t_interval
from experiments.analysis.words import number


class Published(NamedTuple):
    """A paper's table beside ours."""

    title: str
    rows: Sequence[Mapping[str, str]]  # by column
    remark: str  # how sizes and data differ, and what can be concluded


class Measure(NamedTuple):
    """One quantity, by cell: what the paper has, and what the seeds here have."""

    name: str
    theirs: Mapping[int, float]
    ours: Mapping[int, Comparison]
    form: str  # of its numbers, such as +.1f


def beside(
    title: str,
    axis: str,
    cells: Sequence[int],
    measures: Sequence[Measure],
    remark: str,
    ours_alone: Mapping[int, Mapping[str, str]],
) -> Published | None:
    """A row for each cell; a dash where the paper has none, and an interval where seeds give one. Behind it stands what
    we alone have, by cell and column. None without any of our own numbers."""
    if not any(len(one.differences) for measure in measures for one in measure.ours.values()):
        return None
    rows = []
    for cell in cells:
        row = {axis: f"{cell}"}
        for name, theirs, ours, form in measures:
            row[f"{name}, theirs"] = number(theirs.get(cell), form)
            row[f"{name}, here"] = interval(ours[cell], form)
        rows.append({**row, **ours_alone[cell]})
    return Published(title, rows, remark)


def interval(found: Comparison, form: str) -> str:
    """The mean, and its 95 % interval where there is one."""
    mean, low, high = t_interval(found.differences, found.of_sentences)
    between = f" ({number(low, form)} to {number(high, form)})" if low < high < math.inf else ""
    return number(mean, form) + between
