"""What became of each claim: outcome, sentence, and every comparison as a bar with its interval."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from experiments.analysis.finding import Outcome
from experiments.analysis.judge import FAILS, HOLDS, OPEN
from experiments.page.grid import NONE, fold, grid, number
from experiments.page.markup import Markup, tag

MARKS = {Outcome.SUPPORTED: "✓", Outcome.WITHIN_LIMITS: "◐", Outcome.NOT_SUPPORTED: "✗", Outcome.UNDECIDED: "?"}
WIDTH, HEIGHT, EDGE = 150, 14, 6  # of a bar's drawing
COLUMNS = ("comparison", "says", "effect", "95 % interval", "drawn", "seeds", "p (Holm)", "seeds to decide")
SHORT = 240  # characters that are shown without a press


def chip(outcome: str) -> Markup:
    """An outcome in its colour, which its mark and its words say as well."""
    mark = MARKS[Outcome(outcome)] if outcome in list(Outcome) else ""
    return tag("span", f"{mark} {outcome}".strip(), class_=f"chip {outcome.replace(' ', '-')}")


def finding(found: dict[str, Any]) -> Markup:
    """One of the findings of `verdict.json`."""
    effects = found["effects"]
    scale = Scale(effects)
    counts = Counter(effect["says"] for effect in effects)
    of = f"Of {len(effects)} comparisons: " + ", ".join(f"{says} {count}" for says, count in counts.items()) + "."
    because = tag("p", found["because"])
    return tag(
        "article",
        tag("h4", found["claim"], " ", chip(found["outcome"])),
        tag("p", tag("strong", found["statement"])),
        tag("p", of, class_="note") if len(effects) > 1 else "",
        grid(COLUMNS, [_row(effect, scale) for effect in effects], text=2) if effects else "",
        because if len(because) < SHORT else fold("Because", because),
        class_="finding",
    )


class Scale:
    """From effects to places in the drawing of a bar, one for all bars of a finding. 0 lies within."""

    def __init__(self, effects: Sequence[dict[str, Any]]):
        ends = [effect[name] for effect in effects for name in ("low", "size", "high")]
        known = [0.0, *(end for end in ends if end is not None)]
        self._low, self._high = min(known), max(known)

    def __call__(self, value: float) -> float:
        share = (value - self._low) / (self._high - self._low) if self._high > self._low else 0.5
        return round(EDGE + (WIDTH - 2 * EDGE) * share, 1)


def _row(effect: dict[str, Any], scale: Scale) -> Markup:
    says, low, high = effect["says"], effect["low"], effect["high"]
    kind = says if says in (HOLDS, FAILS, OPEN) else "silent"
    interval = NONE if low is None or high is None else f"{low:+.3g} to {high:+.3g}"
    p = "no spread" if low is not None and low == high else number(effect["p"], ".2g")
    cells = [
        tag("td", number(effect["size"], "+.3g"), class_="number"),
        tag("td", interval, class_="number"),
        tag("td", _bar(effect, scale), class_=f"bar {kind}"),
        tag("td", str(effect["seeds"]), class_="number"),
        tag("td", p, class_="number"),
        tag("td", number(effect["more_seeds"], "d"), class_="number"),
    ]
    return tag("tr", tag("th", effect["name"], scope="row"), tag("td", says, class_=f"says {kind}"), cells)


def _bar(effect: dict[str, Any], scale: Scale) -> Markup:
    """A line at 0, the interval, and a dot at the effect. The numbers stand beside it."""
    size, low, high = effect["size"], effect["low"], effect["high"]
    middle = HEIGHT / 2
    drawn = [tag("path", class_="zero", d=f"M{scale(0)} 0V{HEIGHT}")]
    if low is not None and high is not None:
        drawn.append(tag("path", class_="interval", d=f"M{scale(low)} {middle}H{scale(high)}"))
    if size is not None and math.isfinite(size):
        drawn.append(tag("circle", cx=scale(size), cy=middle, r=3.5))
    return tag("svg", drawn, viewBox=f"0 0 {WIDTH} {HEIGHT}", width=WIDTH, height=HEIGHT, aria_hidden="true")
