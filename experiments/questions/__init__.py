"""The questions by name: each a module (`experiments/question.py` says what it holds)."""

import difflib

from experiments.question import Question
from experiments.questions import gradient_flow, long_range, parity, sentence_length

QUESTIONS: dict[str, Question] = {
    "long_range": long_range,
    "gradient_flow": gradient_flow,
    "parity": parity,
    "sentence_length": sentence_length,
}


def find(name: str) -> Question:
    """Raises ValueError for a name that is no question."""
    if name not in QUESTIONS:
        near = difflib.get_close_matches(name, QUESTIONS, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ValueError(f"question = {name!r} is not known; {hint}choose from {', '.join(QUESTIONS)}")
    return QUESTIONS[name]
