"""The questions by name, each a module that is imported when it is asked for (`question.py` says what it holds)."""

import ast
import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from experiments.questions.question import Question

NAMES = ("long_range", "gradient_flow", "throughput", "head_count", "sentence_length", "parity")


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
    found = {}
    for name in NAMES:
        tree = ast.parse((Path(__file__).parent / f"{name}.py").read_text(encoding="utf-8"))
        said = (
            node.value for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node).startswith("CLAIM =")
        )
        found[name] = ast.literal_eval(next(said))
    return found
