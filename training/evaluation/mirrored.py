"""Sends the results of eval.py to a run's mirror: numbers for its summary, tables by distance and by length."""

from collections.abc import Mapping, Sequence
from typing import Any

from models.options import flat
from training.mirrors.mirror import Mirror
from training.mirrors.writer import Row

CURVES = {"by_distance": "distance", "by_source_length": "source_length", "by_position": "position"}
"""Tables, and what their rows go by."""


def send(mirror: Mirror, part: str, found: Mapping[str, Any]) -> None:
    """Sends RUN/eval/PART.json, under `eval/PART/`."""
    scalars = {name: value for name, value in found.items() if name not in CURVES}
    mirror.summarise({f"eval/{part}/{name}": v for name, v in flat(scalars).items() if v is not None})
    for table, x in CURVES.items():
        chance = found["chance"] if table == "by_distance" else {}
        mirror.curve(f"eval/{part}/{table}", x, rows(found[table], x, chance))


def rows(bins: Sequence[Mapping[str, Any]], x: str, chance: Mapping[str, float]) -> list[Row]:
    """Each bin at its middle, with the chance level."""
    levels = {f"chance.{name}": value for name, value in chance.items()}
    return [{x: (row["low"] + row["high"]) / 2, **_numbers(row), **levels} for row in bins]


def _numbers(row: Mapping[str, Any]) -> dict[str, Any]:
    return {n: v for n, v in sorted(flat(dict(row)).items(), key=_quality_first) if n not in ("low", "high")}


def _quality_first(item: tuple[str, Any]) -> tuple[bool, bool, str]:
    name = item[0]
    return name != "bleu_lowercase", name != "token_accuracy", name
