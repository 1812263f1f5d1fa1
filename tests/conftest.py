"""What every test shares: one CPU device, a compiler that does not try hard, and the folder of real text.

Tests of several devices or processes start their own (`tests/training/processes.py`).
"""

import os
from pathlib import Path

import pytest

# Compiling is most of what tests cost. These four make it six times cheaper and the programs, which are small, slower.
# Subprocesses inherit them; a test of how fast something is, or of one program's bits against another's, sets its own.
IN_HASTE = (
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    " --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
)

os.environ["JAX_PLATFORMS"] = "cpu"  # before jax is imported
if IN_HASTE not in os.environ.get("XLA_FLAGS", ""):  # pytest's workers inherit it from the first process
    os.environ["XLA_FLAGS"] = f"{IN_HASTE} {os.environ.get('XLA_FLAGS', '')}".strip()


@pytest.fixture(scope="session")
def longreach_data() -> Path:
    """The folder of real text, with `multi30k` and `tinyshakespeare`; skips where there is none."""
    folder = os.environ.get("LONGREACH_DATA", "")
    if not folder:
        pytest.skip("needs real text: set LONGREACH_DATA to the folder that holds multi30k and tinyshakespeare")
    if not Path(folder).is_dir():
        pytest.fail(f"LONGREACH_DATA = {folder} is no folder; unset it or give one")
    return Path(folder)
