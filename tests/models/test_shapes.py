"""The shapes that the annotations of `models` state are those of every architecture."""

import subprocess
import sys
from pathlib import Path

MISFIT = """
import tests.models.shapes_checked
from jaxtyping import install_import_hook
install_import_hook("models", "tests.models.shapes_checked.check_shapes")
import jax
from models.decoding import sample_tokens
sample_tokens(jax.random.split(jax.random.key(0), 7), jax.numpy.zeros(7))  # annotated "B V"
"""


def run(*words: str) -> subprocess.CompletedProcess:
    command = [sys.executable, *words]
    return subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=300)


def test_annotated_shapes_hold_for_every_architecture():
    result = run("-m", "tests.models.shapes_checked")
    assert result.returncode == 0, result.stderr


def test_a_shape_that_does_not_hold_is_found():
    result = run("-c", MISFIT)
    assert result.returncode == 1 and "TypeCheckError" in result.stderr
