"""The README names what there is: architectures, tasks, and pages that exist."""

import re
from pathlib import Path

import pytest

from data import TASKS
from experiments.questions import NAMES
from models import MODELS
from tests.experiments.committed import RUN

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


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_linked_pages_exist(page):
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_questions_are_listed_with_their_page_or_as_not_run():
    """A question that has been run has its page there; of one that has not it is said. So no page is lost unseen."""
    rows = [row for row in README.split("## Results\n")[1].splitlines() if row.startswith("| ")][1:]
    linked = {row: re.findall(r"\[(\w+)\]\(([^)]+)\) \|$", row)[0] for row in rows}
    assert sorted(name for name, _ in linked.values()) == sorted(NAMES)
    for row, (name, page) in linked.items():
        assert page == (f"docs/results/{name}.md" if name in RUN else f"experiments/questions/{name}.py")
        assert ("not run yet" in row) == (name not in RUN)


def test_every_page_is_linked_from_the_readme():
    linked = {(ROOT / link).resolve() for link in re.findall(r"\]\(([^)#:]+)\)", README)}
    assert set(PAGES[1:]) <= linked
