"""Tasks, corpora, tokenizers and batches, in numpy. This room knows no model."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from data import checks, tokenizers
from data.spec import Spec
from data.task import Task
from data.tasks.adding import Adding
from data.tasks.bucket_sort import BucketSort
from data.tasks.compression import Compression
from data.tasks.copying import Copying
from data.tasks.cycle_navigation import CycleNavigation
from data.tasks.duplicate_string import DuplicateString
from data.tasks.even_pairs import EvenPairs
from data.tasks.fuzzy_recall import FuzzyRecall
from data.tasks.induction_heads import InductionHeads
from data.tasks.language import shakespeare
from data.tasks.language_of_numbers import language_of_numbers
from data.tasks.masked_text import masked_text
from data.tasks.memorization import Memorization
from data.tasks.modular_arithmetic import ModularArithmetic
from data.tasks.multi30k import multi30k
from data.tasks.multi30k_joined import multi30k_joined
from data.tasks.noisy_recall import NoisyRecall
from data.tasks.odds_first import OddsFirst
from data.tasks.parity import Parity
from data.tasks.recall import Recall
from data.tasks.reverse import Reverse
from data.tasks.selective_copying import SelectiveCopying
from data.tasks.state_tracking import StateTracking
from data.tasks.temporal_order import TemporalOrder
from data.tasks.tfds import tfds
from data.tasks.translation import FILES, translate
from data.tasks.word_order import word_order

TASKS: dict[str, Callable[..., Task]] = {
    "recall": Recall,
    "copying": Copying,
    "reverse": Reverse,
    "adding": Adding,
    "temporal_order": TemporalOrder,
    "parity": Parity,
    "even_pairs": EvenPairs,
    "cycle_navigation": CycleNavigation,
    "modular_arithmetic": ModularArithmetic,
    "odds_first": OddsFirst,
    "duplicate_string": DuplicateString,
    "bucket_sort": BucketSort,
    "state_tracking": StateTracking,
    "selective_copying": SelectiveCopying,
    "induction_heads": InductionHeads,
    "noisy_recall": NoisyRecall,
    "fuzzy_recall": FuzzyRecall,
    "compression": Compression,
    "memorization": Memorization,
    "multi30k": multi30k,
    "multi30k_joined": multi30k_joined,
    "language_of_numbers": language_of_numbers,
    "shakespeare": shakespeare,
    "masked_text": masked_text,
    "word_order": word_order,
    "translate": translate,
    "tfds": tfds,
}


def build(name: str, data_config: Mapping[str, Any], *, tokenizer_dir: str | Path | None = None) -> Task:
    """The task `name` with the values of `config.data`; text tasks keep their tokenizer in `tokenizer_dir`.

    Raises ValueError for an unknown name or a value that the task cannot have.
    """
    checks.one_of("task", name, TASKS)
    return TASKS[name](data_config, tokenizer_dir)


def outline(name: str, data_config: Mapping[str, Any]) -> Spec:
    """The spec of the task as far as its values tell it, without reading text or learning a tokenizer: a vocabulary has
    the size that is asked for, or that of bytes.

    Raises ValueError as `build`, for what is wrong with the values alone.
    """
    values = {key: data_config[key] for key in data_config}
    if "tokenizer" not in values:
        return build(name, values).spec
    wanted = tokenizers.settings(values["tokenizer"])
    unlearned = {"name": "byte", "vocab_size": 0, "normalization": tokenizers.IDENTITY}
    values["tokenizer"] = {key: unlearned.get(key, values["tokenizer"][key]) for key in values["tokenizer"]}
    if name == "tfds":  # which says itself what it is, and may have to be downloaded for that
        name, values = "translate", values | dict.fromkeys(FILES, "")
    spec = build(name, values).spec
    if tokenizers.KINDS[wanted.name] is not tokenizers.SentencePiece:  # whose size is not the text's to decide
        return spec
    return dataclasses.replace(
        spec,
        source_size=wanted.vocab_size if spec.source_size else 0,
        target_size=wanted.vocab_size if spec.target_size else 0,
        output_size=wanted.vocab_size if spec.output_size else 0,
    )
