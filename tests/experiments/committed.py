"""Which questions have been run: those that docs/results has anything of.

So a table that is lost while its page stays, or a page whose table stays, fails a test and is not passed over. Of a
question of which both are gone, the README still links the page (`tests/test_readme.py`).
"""

from pathlib import Path

from experiments.questions import NAMES

RESULTS = Path(__file__).parents[2] / "docs" / "results"
RUN = [name for name in NAMES if (RESULTS / name).exists() or (RESULTS / f"{name}.md").exists()]


def table(name: str) -> Path:
    return RESULTS / name / "cpu" / "table.parquet"
