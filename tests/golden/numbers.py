"""The golden numbers as they stand in numbers.json: kind -> name -> what was found, and how far off is allowed."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

FILE = Path(__file__).with_name("numbers.json")
COMMAND = ".venv/bin/python -m tests.golden.make"

CLOSE, LATER = 1e-4, 1e-3  # of a number, and of one after steps of training
LEAST = 0.02  # below it these are shares of this instead

ADVICE = (
    "If numbers are meant to change, raise VERSION, with a line that says what changed and why, in each question "
    f"(experiments/questions/*.py) whose results change with them, and make these anew: {COMMAND}"
)


class Difference(NamedTuple):
    where: str
    found: Any
    held: Any
    share: float  # of what is allowed; more than 1 is too much


def read() -> dict[str, dict[str, Any]]:
    return json.loads(FILE.read_text()) if FILE.is_file() else {}


def write(numbers: dict[str, dict[str, Any]]) -> None:
    FILE.write_text(json.dumps(numbers, indent=1) + "\n")


def rounded(found: Any) -> Any:
    """With no more digits than count."""
    if isinstance(found, dict):
        return {name: rounded(value) for name, value in found.items()}
    return float(f"{found:.7g}") if isinstance(found, float) else found


def compare(found: Any, held: Any, where: str = "") -> Iterator[Difference]:
    """How far each number lies from what is held; what is no number must be equal."""
    if isinstance(found, dict) and isinstance(held, dict):
        for name in found | held:
            yield from compare(found.get(name, "nothing"), held.get(name, "nothing"), f"{where} {name}".strip())
    elif isinstance(found, float) and isinstance(held, float):
        allowed = (LATER if "steps" in where else CLOSE) * max(abs(held), LEAST)
        yield Difference(where, found, held, abs(found - held) / allowed)
    else:
        yield Difference(where, found, held, 0.0 if found == held else float("inf"))


def differences(found: Any, held: Any) -> list[Difference]:
    """Those that are too large, or no numbers."""
    return [one for one in compare(found, held) if not one.share <= 1.0]


def fault(kind: str, name: str, found: Any, held: dict[str, dict[str, Any]]) -> str:
    """What is wrong with the numbers found, and what to do; nothing where they are as they were."""
    if name not in held.get(kind, {}):
        return f"{kind}/{name} has no golden numbers; add them: {COMMAND}"
    wrong = [f"{one.where}: {one.found}, was {one.held}" for one in differences(found, held[kind][name])]
    return "\n".join([f"{kind}/{name} gives other numbers.", *wrong, ADVICE]) if wrong else ""
