"""What every test shares: one CPU device, and the folder of real text.

Tests of several devices or processes start their own (`tests/training/processes.py`).
"""

import os
from pathlib import Path

import pytest

os.environ["JAX_PLATFORMS"] = "cpu"  # before jax is imported


@pytest.fixture(scope="session")
def longreach_data() -> Path:
    """The folder of real text, with `multi30k` and `tinyshakespeare`; skips where there is none."""
    folder = os.environ.get("LONGREACH_DATA", "")
    if not folder:
        pytest.skip("needs real text: set LONGREACH_DATA to the folder that holds multi30k and tinyshakespeare")
    if not Path(folder).is_dir():
        pytest.fail(f"LONGREACH_DATA = {folder} is no folder; unset it or give one")
    return Path(folder)
