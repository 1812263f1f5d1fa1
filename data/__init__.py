"""Tasks, corpora, tokenizers and batches, in numpy. This room knows no model."""

import difflib
from typing import Any

from data.task import Task
from data.tasks.adding import Adding
from data.tasks.copying import Copying
from data.tasks.recall import Recall

TASKS: dict[str, type] = {
    "recall": Recall,
    "copying": Copying,
    "adding": Adding,
}


def build(name: str, data_config: Any, *, tokenizer_dir: str | None = None) -> Task:
    """The task `name` with the values of `config.data`; text tasks keep their tokenizer in `tokenizer_dir`.

    Raises ValueError for an unknown name or a value that the task cannot have.
    """
    if name not in TASKS:
        near = difflib.get_close_matches(str(name), TASKS, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ValueError(f"task = {name!r} is not a task; {hint}choose from {', '.join(TASKS)}")
    return TASKS[name](data_config, tokenizer_dir)
