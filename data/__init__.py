"""Tasks, corpora, tokenizers and batches, in numpy. This room knows no model."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from data import checks
from data.task import Task
from data.tasks.adding import Adding
from data.tasks.copying import Copying
from data.tasks.language import shakespeare
from data.tasks.multi30k import multi30k
from data.tasks.multi30k_joined import multi30k_joined
from data.tasks.parity import Parity
from data.tasks.recall import Recall
from data.tasks.reverse import Reverse
from data.tasks.selective_copying import SelectiveCopying
from data.tasks.temporal_order import TemporalOrder
from data.tasks.tfds import tfds
from data.tasks.translation import translate

TASKS: dict[str, Callable[..., Task]] = {
    "recall": Recall,
    "copying": Copying,
    "reverse": Reverse,
    "adding": Adding,
    "temporal_order": TemporalOrder,
    "parity": Parity,
    "selective_copying": SelectiveCopying,
    "multi30k": multi30k,
    "multi30k_joined": multi30k_joined,
    "shakespeare": shakespeare,
    "translate": translate,
    "tfds": tfds,
}


def build(name: str, data_config: Mapping[str, Any], *, tokenizer_dir: str | Path | None = None) -> Task:
    """The task `name` with the values of `config.data`; text tasks keep their tokenizer in `tokenizer_dir`.

    Raises ValueError for an unknown name or a value that the task cannot have.
    """
    checks.one_of("task", name, TASKS)
    return TASKS[name](data_config, tokenizer_dir)
