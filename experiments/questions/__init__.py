"""The questions by name: each a module (`experiments/questions/question.py` says what it holds)."""

from data import checks
from experiments.questions import gradient_flow, head_count, long_range, parity, sentence_length, throughput
from experiments.questions.question import Question

QUESTIONS: dict[str, Question] = {
    "long_range": long_range,
    "gradient_flow": gradient_flow,
    "throughput": throughput,
    "head_count": head_count,
    "sentence_length": sentence_length,
    "parity": parity,
}


def find(name: str) -> Question:
    """Raises ValueError for a name that is no question."""
    checks.one_of("question", name, QUESTIONS)
    return QUESTIONS[name]
