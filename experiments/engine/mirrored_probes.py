"""Sends what probes measured to the mirror of a run: curves over places, and single numbers for the summary."""

import math
from collections.abc import Sequence

from experiments.probes.measurement import Measurement
from training.mirrors.mirror import Mirror
from training.mirrors.writer import Row

PLACES = {
    "accuracy_by_distance": "distance",
    "accuracy_by_length": "source_length",
    "bleu_by_length": "source_length",
    "gradient_by_time": "steps_before_loss",
}
"""What a probe's `place` is."""


def send(mirror: Mirror, rows: Sequence[tuple[str, int, Measurement]]) -> None:
    """Sends the last measurement of each probe, under `PROBE/PART/`."""
    last = {probe: step for probe, step, _ in sorted(rows, key=lambda row: row[:2])}
    curves: dict[tuple[str, str], dict[float, dict[str, float]]] = {}
    summary: dict[str, float] = {}
    for probe, step, (measure, value, place, part, _) in rows:
        if step != last[probe] or part.startswith("draw "):
            continue
        name = "/".join(filter(None, (probe, part.replace(".", "_"))))
        if math.isfinite(place):
            curves.setdefault((name, PLACES.get(probe, "place")), {}).setdefault(place, {})[measure] = value
        elif math.isfinite(value):
            summary[f"{name}/{measure}"] = value
    mirror.summarise(summary)
    for (name, x), points in curves.items():
        ordered: list[Row] = [{x: place, **points[place]} for place in sorted(points)]
        mirror.curve(name, x, ordered)
