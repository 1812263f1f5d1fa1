"""Runs in this process that take seconds: tiny tasks, tiny models."""

import contextlib
import gzip
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import pytest
from ml_collections import ConfigDict

import models
import train
from tests.training.processes import ROOT
from training.command import cli

TASKS: dict[str, dict[str, Any]] = {
    "recall": {
        "num_pairs": 2,
        "min_pairs": 2,
        "num_queries": 2,
        "num_keys": 8,
        "num_values": 8,
        "source_length": 8,
        "target_length": 2,
    },
    "copying": {"num_symbols": 4, "block_length": 3, "num_blanks": 4},
    "reverse": {"num_symbols": 12, "min_length": 4, "max_length": 6},
    "adding": {"length": 8},
    "temporal_order": {"length": 12},
    "parity": {"max_length": 8, "long_length": 12},
    "selective_copying": {"num_symbols": 8, "num_kept": 4, "num_blanks": 4},
    "even_pairs": {"max_length": 8, "long_length": 12},
    "cycle_navigation": {"max_length": 8, "long_length": 12},
    "modular_arithmetic": {"max_length": 8, "long_length": 12},
    "odds_first": {"max_length": 8, "long_length": 12},
    "duplicate_string": {"max_length": 6, "long_length": 8},
    "bucket_sort": {"max_length": 8, "long_length": 12},
    "state_tracking": {"source_length": 6, "min_source_length": 2, "target_length": 4, "long_length": 6},
    "induction_heads": {"length": 8, "long_length": 12},
    "noisy_recall": {"num_keys": 3, "num_noise": 4, "length": 16, "source_length": 8},
    "fuzzy_recall": {"length": 16, "source_length": 6},
    "compression": {"length": 6},
    "memorization": {"num_keys": 16, "num_values": 16, "length": 12, "source_length": 6},
}
"""Values that make each synthetic task small."""

TEXT = """It was a bright cold day in April, and the clocks were striking thirteen. A child ran along the shore,
counting the boats: one, two, three! "Four," said the old man; but nobody heard him over the wind – naïve as it was.
"""


def trained(words: list[str]) -> None:
    """Does what a command line of `tests.training.processes.command` asks, in this process: one of its own costs five
    seconds before its first step."""
    with compiled_in_haste():
        train.main(words[2:])


def here(words: list[str], capsys: pytest.CaptureFixture[str], status: int = 0) -> str:
    """What a command line prints that is run in this process; checks its exit status."""
    capsys.readouterr()
    ended: int | str | None = 0
    try:
        trained(words)
    except SystemExit as stopped:
        ended = stopped.code
    printed = "".join(capsys.readouterr())
    assert ended == status, f"exit {ended}:\n{printed}"
    return printed


@contextlib.contextmanager
def compiled_in_haste() -> Iterator[None]:
    """For programs that run for some steps only, where most of the time would go into making them fast."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


def config(task: str, model: str, **values: Any) -> ConfigDict:
    """A locked config of a few steps; `values` by flat name with __ for dots, such as model__num_layers=2."""
    c = cli.load(f"{ROOT}/configs/{task}.py:{model}")
    c.data.update(TASKS.get(task, {}))
    if task in TASKS:
        c.data.update(val_examples=32, test_examples=32)
        c.batch_size, c.eval_examples = 16, 32
    models.set_width(c.model, 8)
    if "num_layers" in c.model:
        c.model.num_layers = 1
    if "num_heads" in c.model:
        c.model.num_heads, c.model.mlp_dim = 2, 16
    c.steps, c.schedule.warmup_steps, c.wandb.mode = 8, 0, "disabled"
    c.every.update(log=2, eval=4, save=4)
    c.update_from_flattened_dict({name.replace("__", "."): value for name, value in values.items()})
    return c.lock()


def text_config(folder: Path, model: str = "rnn_attention", **values: Any) -> ConfigDict:
    """Translation by characters of what `tests.training.processes.write_text` wrote to `folder`."""
    data = {"dir": str(folder), "tokenizer__name": "char", "num_buckets": 2, "max_length": 64, "cache_dir": ""}
    named = {f"data__{name}": value for name, value in data.items()}
    return config("translate", model, **{"tokens_per_batch": 1024, **named, **values})


def language_config(folder: Path, model: str = "gru_decoder", **values: Any) -> ConfigDict:
    """A language model by characters of the text that `write_language` wrote to `folder`."""
    return config("shakespeare", model, **{"data__dir": str(folder), "data__length": 16, "batch_size": 16, **values})


def write_language(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "input.txt").write_text(TEXT * 8)
    return folder


def zipped(path: Path) -> Path:
    """A .gz copy of a file, beside it."""
    copy = path.with_name(f"{path.name}.gz")
    copy.write_bytes(gzip.compress(path.read_bytes()))
    return copy


def wandb_record(workdir: Path, *names: bytes) -> bytes:
    """The one offline run of wandb in a run's folder, which its service may finish a moment after the run."""
    (path,) = (workdir / "wandb").glob("offline-run-*/run-*.wandb")
    deadline = time.monotonic() + 60
    while not all(name in (record := path.read_bytes()) for name in names):
        assert time.monotonic() < deadline, f"{path} has {len(record)} bytes without {names}"
        time.sleep(0.05)
    return record
