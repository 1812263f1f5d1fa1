"""The README names what there is: architectures, tasks, and pages that exist."""

import re
from pathlib import Path

from data import TASKS
from models import MODELS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def names_of_table(heading: str) -> set[str]:
    """The names in the first column of the table under a heading."""
    section = README.split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    return {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}


def test_table_of_architectures():
    assert names_of_table("Architectures") == set(MODELS)


def test_table_of_tasks():
    assert names_of_table("Tasks") == set(TASKS)


def test_linked_pages_exist():
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert len(links) > 3
    assert [link for link in links if not (ROOT / link).exists()] == []
