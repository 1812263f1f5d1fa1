"""Questions are listed from their sources, and imported when asked for."""

import subprocess
import sys

import pytest

from experiments.questions import QUESTIONS, claims, find

LISTING = """
import runpy, sys
sys.argv = ["experiments.run"]
try:
    runpy.run_module("experiments.run", run_name="__main__")
except SystemExit as end:
    assert not end.code and not {"jax", "flax", "pandas", "scipy"} & set(sys.modules), end
"""


def test_claims_are_those_of_the_modules():
    assert claims() == {name: question.CLAIM for name, question in QUESTIONS.items()}


def test_the_list_imports_nothing_that_takes_seconds():
    said = subprocess.run([sys.executable, "-c", LISTING], capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    assert [line.split()[0] for line in said.stdout.splitlines()] == list(QUESTIONS)


def test_a_name_that_is_no_question():
    with pytest.raises(ValueError, match="question = 'parit' is not known; did you mean parity"):
        find("parit")
    with pytest.raises(KeyError):
        QUESTIONS["question"]
