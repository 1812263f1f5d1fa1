"""What a table of runs says of each architecture, task by task: card, figure, and whether two tables rank alike.

A score is that of the cell (as of one learning rate) with the lowest loss on validation, a mean over its seeds. Any
table whose runs were probed by distance or by length has scores: a scorecard's, or a question's.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from experiments.analysis.frames import DataFrame, LayerChart
from experiments.analysis.palette import COLOURS, Look

FAR = 0.25  # of the distances: the furthest quarter
BYTES = 256
ADDING_CHANCE = 0.08 - 0.04**2  # that the sum of two uniform numbers lies within 0.04 of 1
ROUNDED = 0.05  # of accuracy: scores that differ by less are taken for the same rank


class Score(NamedTuple):
    """A column of the card."""

    task: str
    title: str
    kind: str  # far, beyond, within or bits
    chance: float

    def __str__(self) -> str:
        return self.title


SCORES = (
    Score("recall", "recall far", "far", 1 / 4),
    Score("selective_copying", "copying far", "far", 1 / 14),
    Score("adding", "adding far", "far", ADDING_CHANCE),
    Score("induction_heads", "induction far", "far", 1 / 15),
    Score("induction_heads", "induction beyond", "beyond", 1 / 15),
    Score("parity", "parity within", "within", 1 / 2),
    Score("parity", "parity beyond", "beyond", 1 / 2),
    Score("shakespeare", "bits per byte", "bits", math.log2(BYTES)),
)


SPEEDS = {
    "training tokens/s": "training_tokens_per_second",
    "decoding µs": "decoding_tokens_per_second",
    "state bytes": "state_bytes",
    "parameters": "num_params_non_embedding",
}
"""Columns of what the probe `throughput` measured of all in turn."""
MINUTES, CHANCE = "minutes", "chance"
Card = Mapping[str, Mapping[str, float]]  # architecture -> column -> value; a column is left out if nothing is known


def card(rows: DataFrame, order: Iterable[str], seconds: Sequence[str]) -> Card:
    """The scores, speeds and minutes of each architecture in `order`; `seconds` are the measures of a run's time."""
    found: dict[str, dict[str, float]] = {name: {} for name in order}
    columns = {score.title: best(rows, score) for score in SCORES}
    speeds = rows[rows["probe"] == "throughput"]
    for title, measure in SPEEDS.items():
        medians = speeds[speeds["measure"] == measure].groupby("part")["value"].median()
        columns[title] = (1e6 / medians if title.startswith("decoding") else medians).to_dict()
    spent = rows[rows["measure"].isin(seconds)].groupby("architecture")["value"].sum() / 60
    for title, values in (columns | {MINUTES: spent.to_dict()}).items():
        for name in found:
            if name in values:
                found[name][title] = values[name]
    return found


def words(card: Card) -> list[dict[str, str]]:
    """The rows of the card, and that of chance."""
    level = {CHANCE: {score.title: score.chance for score in SCORES}}
    titles = [*(score.title for score in SCORES), *SPEEDS, MINUTES]
    return [
        {"architecture": name, **{title: _word(title, values.get(title)) for title in titles}}
        for name, values in {**card, **level}.items()
    ]


def _word(title: str, value: float | None) -> str:
    if value is None:
        return "–"
    if not math.isfinite(value):
        return "diverged"
    if title in SPEEDS and not title.startswith("decoding"):
        return f"{value:,.0f}"
    return f"{value:.1f}" if title == MINUTES else f"{value:,.2f}"


def figure(card: Card, looks: Mapping[str, Look]) -> Sequence[LayerChart]:
    """Accuracies side by side, and a panel for each of bits, speeds and bytes."""
    from experiments.analysis import charts

    def cells(titles: Iterable[str], x: str = "") -> list[charts.Cell]:
        known = [(name, t, values[t]) for name, values in card.items() for t in titles if t in values]
        return [charts.Cell(name, x and name or t, [value]) for name, t, value in known if math.isfinite(value)]

    share = [score for score in SCORES if score.kind != "bits"]
    panels = []
    if shown := cells([score.title for score in share]):
        order = [score.title for score in share if score.title in {cell.x for cell in shown}]
        axes = charts.Axes("Accuracy", "", "accuracy; dashed: chance", y_domain=(-0.02, 1.02))
        chance = {score.title: score.chance for score in share if score.title in order}
        panels.append(charts.points(shown, looks, axes, order=order, beside=True) + charts.line(chance, CHANCE))
    for title in ("bits per byte", *list(SPEEDS)[:3]):
        if shown := cells([title], "name"):
            axes = charts.Axes(title.capitalize(), "", title, log_y=title in SPEEDS)
            panels.append(charts.points(shown, looks, axes))
    return panels


def looks(mine: Sequence[str], references: Mapping[str, str]) -> dict[str, Look]:
    """Those asked for in colours that no reference has; `references` are names and families."""
    free = [family for family in COLOURS if family not in references.values()]
    own = {name: Look(free[::-1][n % len(free)], n // len(free)) for n, name in enumerate(mine)}
    return own | {name: Look(family) for name, family in references.items()}


def best(table: DataFrame, score: Score) -> dict[str, float]:
    """The score of each `architecture` of the table that has one: nan where training diverged at every rate."""
    found: dict[str, float] = {}
    for architecture, mine in table[table["task"] == score.task].groupby("architecture", sort=False):
        losses = mine[mine["measure"] == "best_loss"].groupby("run")["value"].mean()
        if len(losses):
            found[str(architecture)] = value(mine[mine["run"] == losses.idxmin()], score.kind)
    return found


def value(rows: DataFrame, kind: str) -> float:
    """Of the runs of one cell; nan where it was not measured."""
    if kind == "bits":
        return float(rows[rows["measure"] == "best_loss"]["value"].mean()) / math.log(2)
    if kind == "within":
        return float(rows[rows["measure"] == "best_token_accuracy"]["value"].mean())
    probe = "accuracy_by_distance" if kind == "far" else "accuracy_by_length"
    rows = rows[(rows["probe"] == probe) & (rows["measure"] == "token_accuracy")]
    if kind == "beyond":
        return float(rows[rows["part"] == "test_long"]["value"].mean())
    low, high = rows["place"].min(), rows["place"].max()
    return float(rows[rows["place"] >= high - FAR * (high - low)]["value"].mean())


def agreement(table: DataFrame, other: DataFrame) -> dict[str, tuple[float, list[str]]]:
    """Spearman's correlation of two tables' scores, by column, and the architectures that both have, the best of
    `other` first; nan where they are fewer than three, or all alike."""
    from scipy import stats

    found = {}
    table, other = named(table), named(other)
    for score in SCORES:
        here, there = best(table, score), best(other, score)
        both = [name for name in there if name in here and math.isfinite(here[name] + there[name])]
        both.sort(key=lambda name: -there[name])
        a, b = ([round(values[name] / ROUNDED) for name in both] for values in (here, there))
        ranked = len(both) > 2 and len(set(a)) > 1 < len(set(b))
        found[score.title] = (float(stats.spearmanr(a, b).statistic) if ranked else math.nan), both
    return {title: one for title, one in found.items() if one[1]}


def named(table: DataFrame) -> DataFrame:
    """The reported rows of any table, without controls, with task and architecture by the runs' configs."""
    rows = table[table["role"] == "report"]
    rows = rows[rows["control"] == "none"] if "control" in rows else rows
    called = {text: _called(json.loads(text)) for text in rows["config"].unique()}
    return rows.assign(
        task=[called[text][0] for text in rows["config"]], architecture=[called[text][1] for text in rows["config"]]
    )


def _called(config: dict) -> tuple[str, str]:
    """(task, architecture with the mixers that were chosen)."""
    mixers = config.get("model.mixers")
    return config["task"], config["model.name"] + (f" mixers={mixers}" if mixers else "")
