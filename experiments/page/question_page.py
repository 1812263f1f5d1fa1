"""`QUESTION.md`: the page of one question, beside the folder of its results."""

import re
from pathlib import Path
from typing import Any

from data import whole_file
from experiments.engine.progress import duration
from experiments.engine.results import SECONDS
from experiments.page import answer, templates
from experiments.page.section import section
from experiments.questions.question import Question


def write(name: str, question: Question, scale: str, results: Path) -> Path | None:
    """Writes RESULTS/QUESTION.md from table and verdict. At scale `smoke` it writes nothing and returns None."""
    found = None if scale == "smoke" else answer.find(name, question, scale, results)
    if found is None:
        return None
    times = found.everything[found.everything["measure"].isin(SECONDS)]
    values: dict[str, Any] = {
        "one": section(found),
        "folder": f"{name}/{scale}",
        "history": question.HISTORY,
        "hours": duration(times["value"].sum()),
        "machines": sorted(found.everything["device"].unique()),
    }
    path = found.folder.parent.parent / f"{name}.md"
    whole_file.write_text(path, re.sub(r"\n{3,}", "\n\n", templates.render("question.md", **values)).rstrip() + "\n")
    return path
