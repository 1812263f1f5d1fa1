"""The golden numbers as they stand in numbers.json: kind -> name -> what was found, and how far off is allowed."""

import functools
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from experiments.analysis import fairness
from experiments.questions import QUESTIONS

FILE = Path(__file__).with_name("numbers.json")
COMMAND = ".venv/bin/python -m tests.golden.make"

CLOSE, LATER = 1e-4, 1e-3  # of a number, and of one after steps of training
LEAST = 0.02  # below it these are shares of this instead

MADE_OF = re.compile(r"configs/(\w+)\.py:(\w+)")  # a run names its task and its architecture so


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
    """How far each number lies from what is held; what is not a number must be equal."""
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


@functools.cache
def used() -> dict[str, dict[str, set[str]]]:
    """By question: the tasks, architectures and probes of its runs at scale cpu, and of what they are beside."""
    found = {}
    for question, module in QUESTIONS.items():
        with mock.patch.object(fairness, "fit", _unsized):  # names do not depend on sizes, which take long to find
            runs = list(module.runs("cpu"))
        probings = [*module.PROBES, *(probing for run in runs for probing in run.probes)]
        made = {names for said in {*(run.config for run in runs), repr(probings)} for names in MADE_OF.findall(said)}
        found[question] = {
            "tasks": {task for task, _ in made},
            "architectures": {architecture for _, architecture in made},
            "probes": {probing.probe for probing in probings},
        }
    return found


def _unsized(where: str, overrides: Mapping[str, Any], *_: Any, **__: Any) -> dict[str, Any]:
    return {}


def advice(kind: str, name: str) -> str:
    """What to do where numbers are meant to change: whose VERSION to raise, and how to make them anew."""
    users = [question for question, by_kind in used().items() if name in by_kind.get(kind, {name})]
    if not users:
        return f"No question has runs of it at scale cpu; if its numbers are meant to change, make them anew: {COMMAND}"
    files = ", ".join(f"experiments/questions/{question}.py" for question in users)
    return (
        "If numbers are meant to change, raise VERSION, with a line that says what changed and why, in each of these "
        f"whose results change with them: {files}; and make the numbers anew: {COMMAND}"
    )


def fault(kind: str, name: str, found: Any, held: dict[str, dict[str, Any]]) -> str:
    """What is wrong with the numbers found, and what to do; nothing where they are as they were."""
    if name not in held.get(kind, {}):
        return f"{kind}/{name} has no golden numbers; add them: {COMMAND}"
    wrong = [f"{one.where}: {one.found}, was {one.held}" for one in differences(found, held[kind][name])]
    return "\n".join([f"{kind}/{name} gives other numbers.", *wrong, advice(kind, name)]) if wrong else ""
