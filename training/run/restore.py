"""A trained run, read back from its folder: config, task, model."""

import importlib
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

import data
import models
from configs import common
from data import pipeline
from data.batch import Batch
from data.task import Task
from models.contract import Architecture
from models.options import KINDS, flat, nested
from training.run import earlier, run_folder
from training.run.checkpoint import CheckpointError, Checkpoints
from training.step import params, train_step

WHICH = ("best", "last", "average")


class Restored(NamedTuple):
    config: ConfigDict
    task: Task
    model: Architecture  # with the chosen parameters in place
    step: int  # of the checkpoint; of the newest, for an average

    def batches(self, split: str, *, limit: int = 0) -> pipeline.Batches[Batch]:
        """Every example of a split exactly once, or the first `limit` of them."""
        return pipeline.eval_batches(self.task, split, pipeline.Batching.of(self.config), limit=limit)


def read_config(workdir: Path) -> ConfigDict:
    """The run's config, with what it lacks because it was begun before there was such a key (`earlier.py`).

    Whatever reads a config finds every key. Raises FileNotFoundError where the folder holds no run, ValueError where
    its config.json is damaged.
    """
    found = run_folder.read_record(workdir)
    if found is None:
        path = workdir / "config.json"
        raise FileNotFoundError(f"--workdir = {workdir} holds no run (there is no {path}); give the folder of a run")
    _check_kinds(workdir / "config.json", flat(found["config"]))
    whole = earlier.completed(flat(found["config"]))
    config = ConfigDict({"data": {}} | nested(whole))
    config.model = models.configured(config.model.name, earlier.of_model(whole))
    return config


def _check_kinds(path: Path, config: Mapping[str, Any]) -> None:
    """Raises ValueError for a value of another kind than its key's, of the run's keys and of its task's."""
    known = flat(common.base(config["task"], config["model.name"]))
    if (Path(common.__file__).parent / f"{config['task']}.py").is_file():
        known |= flat(importlib.import_module(f"configs.{config['task']}").get_config(config["model.name"]))
    for key, value in config.items():
        group = any(other.startswith(f"{key}.") for other in known)
        kind = type(known.get(key, value))
        if group or not isinstance(value, {float: float | int, tuple: list | tuple}.get(kind, kind)):
            rule = "no group of keys" if group else f"not {KINDS[kind]}"
            raise ValueError(f"{path}: {key} = {value!r} is {rule}; bring the file back from a copy, or mend it")


def restore(workdir: Path, which: str = "best", *, data_dir: str | None = None) -> Restored:
    """The run's task, and its model with the `best` or `last` parameters, or the `average` of those kept.

    `data_dir` stands in for the recorded data.dir, for a run evaluated on another machine. The best and the last
    are of the moving average where the run keeps one. Raises ValueError for another `which`, FileNotFoundError or
    CheckpointError (an OSError) where there is nothing whole to read.
    """
    if which not in WHICH:
        raise ValueError(f"--checkpoint = {which!r} is not known; choose from {', '.join(WHICH)}")
    config = read_config(workdir)
    if data_dir is not None:
        config.data.dir = data_dir
    there = (workdir / "tokenizer").exists()
    task = data.build(config.task, config.data, tokenizer_dir=workdir / "tokenizer")
    if "tokenizer" in config.data and not there:
        _check_learned_anew(workdir, task)
    model = models.build(config.model.name, models.portable(config.model), task.spec, jax.random.key(config.seed))
    template = None if model.counted else train_step.initial_state(params.flatten(model), config.optimizer)
    weights, number = _weights(workdir, which, template)
    return Restored(config, task, params.Skeleton(model)(weights), number)


def _check_learned_anew(workdir: Path, task: Task) -> None:
    """Raises ValueError where a tokenizer that was gone has been learned from other text than the run's."""
    began_with = ((run_folder.read_record(workdir) or {}).get("data") or {}).get("train")
    if began_with and task.content_hash("train")["train"] != began_with:
        shutil.rmtree(workdir / "tokenizer")
        raise ValueError(
            f"{workdir / 'tokenizer'} is gone, and the text has changed since it was learned from it; bring either back"
        )


def _weights(workdir: Path, which: str, template: train_step.State | None) -> tuple[params.Params, int]:
    """Of a checkpoint; without a `template`, whatever it holds."""
    folder = workdir / ("best" if which == "best" else "checkpoints")
    checkpoints = Checkpoints(folder, keep=None)
    steps = checkpoints.steps()
    if not steps:
        other = which == "best" and Checkpoints(workdir / "checkpoints", keep=None).steps()
        way_out = "try --checkpoint=last" if other else "let the run get to its first one"
        raise FileNotFoundError(f"{folder} holds no checkpoint{'' if other else ' yet'}; {way_out}")
    template = template or {"params": jax.tree.map(jax.numpy.asarray, checkpoints.read(steps[-1])["params"])}
    if which == "best":
        try:
            state, _ = checkpoints.restore(steps[-1], {"params": template["params"]})
        except CheckpointError as error:
            raise CheckpointError(f"{error}; try --checkpoint=last") from None
        return state["params"], steps[-1]
    states, whole = [], []
    for number in reversed(steps):
        try:
            states.append(checkpoints.restore(number, template)[0])
            whole.append(number)
        except CheckpointError as error:
            warnings.warn(f"{error}; left out", stacklevel=2)
        if states and which == "last":
            return states[0]["ema" if "ema" in states[0] else "params"], whole[0]
    if not states:
        raise CheckpointError(f"{folder}: no checkpoint is whole; try --checkpoint=best")
    if len(states) == 1:
        return states[0]["params"], whole[0]
    # The average of the last checkpoints is of the raw parameters (Vaswani et al. 2017, section 6.1).
    mean = jax.tree.map(lambda *arrays: np.mean(arrays, axis=0, dtype=np.float32), *(s["params"] for s in states))
    return jax.tree.map(jax.numpy.asarray, mean), whole[0]
