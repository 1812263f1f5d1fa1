"""Configs of earlier code, completed: of runs that are read back or resumed, and of rows in tables of results.

Here alone. What a config lacks has the value by which things went before there was the key. Configs are given by
dotted key (`models.options.flat`).
"""

from collections.abc import Callable, Mapping
from typing import Any

from configs import common
from data.tokenizers import normalization_before
from models import MODELS
from models.options import complete, flat

Config = Mapping[str, Any]

BEFORE: dict[str, Callable[[Config], Any]] = {
    "data.test_range": lambda config: 0 if config.get("task") == "multi30k_joined" else None,
    "data.tokenizer.normalization": lambda config: (
        normalization_before(config["data.tokenizer.name"]) if "data.tokenizer.name" in config else None
    ),
    "keep_pages": lambda config: True,
    "model.fused_attention": lambda config: "never" if "fused_attention" in _options(config) else None,
}
"""Keys that came later, where things did not go before by what is the default today, or has been since (`keep_pages`,
whose default has turned); None: the config has no such key.
Whoever changes a default of `common.base` or of an architecture's options, or gives a task a key, adds a line."""

IN_TABLES: Config = {"keep_pages": False}
"""Keys that the first tables of results leave out, though their runs had them."""

GONE: Config = {"replica_axis": "auto", "replica_learning_rates": [], "replicas": 1}
"""Keys that went, with the value by which everything goes since."""


def completed(config: Config) -> dict[str, Any]:
    """The config with what it lacks, and without what has gone and changes nothing."""
    base = flat(common.base(config.get("task", ""), config.get("model.name", "")))
    del base["batch_size"]  # which some tasks have not, and no run was begun before
    given = {key.removeprefix("model."): value for key, value in config.items() if key.startswith("model.")}
    model = {f"model.{key}": value for key, value in complete(_options(config), given).items()}
    before = {key: value for key, of in BEFORE.items() if (value := of(config)) is not None}
    return base | model | before | {key: value for key, value in config.items() if not _went(key, value)}


def of_model(config: Config) -> dict[str, Any]:
    """The model's values, without those of keys that its architecture no longer has."""
    known = _options(config)
    return {key: config[whole] for key in known if (whole := f"model.{key}") in config}


def _went(key: str, value: Any) -> bool:
    return key in GONE and (list(value) if isinstance(value, tuple) else value) == GONE[key]


def _options(config: Config) -> Config:
    kind = MODELS.get(config.get("model.name", ""))
    return kind.options() if kind else {}
