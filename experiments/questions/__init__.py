"""The questions by name, each a module that is imported when it is asked for (`question.py` says what it holds)."""

import ast
import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from experiments.questions.question import Question

STATED = ("CLAIM", "SOURCE", "PREDICTION", "THRESHOLDS")  # before the runs; each is a literal
NAMES = ("long_range", "gradient_flow", "throughput", "head_count", "sentence_length", "parity", "mixers")


class _Questions(Mapping[str, "Question"]):
    def __getitem__(self, name: str) -> "Question":
        if name not in NAMES:
            raise KeyError(name)
        return cast("Question", importlib.import_module(f"{__name__}.{name}"))

    def __iter__(self) -> Iterator[str]:
        return iter(NAMES)

    def __len__(self) -> int:
        return len(NAMES)


QUESTIONS: Mapping[str, "Question"] = _Questions()


def find(name: str) -> "Question":
    """Raises ValueError for a name that is no question."""
    from data import checks

    checks.one_of("question", name, NAMES)
    return QUESTIONS[name]


def claims() -> dict[str, str]:
    """The claim of every question, read from the sources: importing them takes seconds."""
    sources = {name: (Path(__file__).parent / f"{name}.py").read_text(encoding="utf-8") for name in NAMES}
    return {name: stated(source)["CLAIM"] for name, source in sources.items()}


def stated(source: str) -> dict[str, Any]:
    """The values of STATED in a question's source. Raises ValueError if one is missing or not a literal."""
    found = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id in STATED:
            try:
                found[node.targets[0].id] = ast.literal_eval(node.value)
            except ValueError:
                raise ValueError(f"{node.targets[0].id} in line {node.lineno} is not a literal; write it out") from None
    if missing := [name for name in STATED if name not in found]:
        raise ValueError(f"the question does not state its {missing[0]}")
    return found
