"""Reads a config file, which is Python that a user may have written. Every mistake in it is one line with file and key.

It holds `get_config(argument)`, which returns a ConfigDict with every key that its task's own config in configs/ has.
"""

import difflib
import importlib.util
import inspect
import os
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict, FrozenConfigDict

import models
from configs import common
from models.options import KINDS, flat
from training.command import hints, usage


def load(where: str) -> ConfigDict:
    """The config of `FILE:ARGUMENT`, its model completed by the architecture's defaults, its project by WANDB_PROJECT.

    Raises ValueError or FileNotFoundError in one line.
    """
    file, argument = usage.split(where)
    get_config = _get_config(file)
    if not argument:
        raise ValueError(f"--config = {where} names no architecture; give one, as in --config={file}:gru")
    try:
        config = _called(file, get_config, argument)
        _check_group(config, f"get_config({argument!r})")
        if isinstance(config, FrozenConfigDict):
            config = config.as_configdict()
        name = _at(config, "model.name")
        config.model = models.configured(name, config.model)
        if models.MODELS[name].counted:
            config.steps, config.schedule.warmup_steps = 1, 0
        texts = {key: value for key, value in flat(config).items() if isinstance(value, str)}
        config.update_from_flattened_dict({key: usage.at_home(value) for key, value in texts.items()})
        _complete(config, _reference(file, task := _at(config, "task"), name))
        usual = common.base(task, name).wandb.project
        if config.wandb.project == usual:
            config.wandb.project = os.environ.get("WANDB_PROJECT") or usual
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    return config


def override(config: ConfigDict, values: Mapping[str, Any]) -> None:
    """Sets values by dotted key. Widths that follow model.hidden_size follow it, as they do on the command line."""
    name, before = config.model.name, config.model.get("hidden_size", 0)
    config.update_from_flattened_dict(dict(values))
    models.follow_width(name, config.model, before, values)


def _get_config(file: str) -> Callable[[str], Any]:
    path = Path(file)
    if not path.is_file():
        here = Path.cwd() == usage.ROOT
        folder = "configs" if here else str(usage.CONFIGS)
        there = [f"{folder}/{one.name}" for one in usage.config_files()]
        near = difflib.get_close_matches(path.stem, [one.stem for one in usage.config_files()], n=1)
        hint = f"did you mean {folder}/{near[0]}.py? " if near else ""
        where = "" if here or path.is_absolute() else f" in {Path.cwd()}"
        raise FileNotFoundError(f"--config = {file} is not a file{where}; {hint}choose from {', '.join(there)}")
    spec = importlib.util.spec_from_file_location(f"config_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ValueError(f"--config = {file} is not a Python file; give one that ends in .py")
    module = importlib.util.module_from_spec(spec)
    try:
        _called(file, spec.loader.exec_module, module)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    if not callable(getattr(module, "get_config", None)):
        raise ValueError(f"{file} has no get_config(model); copy one from configs/")
    return module.get_config


def _called(file: str, function: Callable, argument: Any) -> Any:
    """function(argument). Raises ValueError in one line for any error of the file's code."""
    try:
        inspect.signature(function).bind(argument)
    except TypeError:
        raise ValueError("get_config must take one argument, the model's name: def get_config(model)") from None
    try:
        return function(argument)
    except SyntaxError as error:
        line = f"line {error.lineno} is" if error.lineno else "it is"
        raise ValueError(f"{line} not Python ({error.msg})") from None
    except (Exception, SystemExit) as error:
        if type(error) is ValueError:
            raise
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if Path(frame.filename) == Path(file).absolute()]
        line = f"line {lines[-1]}: " if lines else ""
        raise ValueError(f"{line}{type(error).__name__}: {error}") from error


def _check_group(value: Any, what: str) -> None:
    if not isinstance(value, ConfigDict):
        raise ValueError(f"{what} is a {type(value).__name__}, not a ConfigDict; start from common.base of configs/")


def _at(config: ConfigDict, key: str) -> str:
    """A name that everything else depends on."""
    value: Any = config
    for name in key.split("."):
        _check_group(value, key.rpartition(".")[0])
        if name not in value:
            raise ValueError(f"{key} is missing; start from common.base(task, model) of configs/")
        value = value[name]
    if not isinstance(value, str):
        raise ValueError(f"{key} = {value!r} is not text; start from common.base(task, model) of configs/")
    return value


def _reference(file: str, task: str, name: str) -> dict[str, Any]:
    """The keys that a config of the task must have; for a new task, the keys of every run."""
    path = usage.CONFIGS / f"{task}.py"
    if not path.is_file():
        return {key: value for key, value in flat(common.base(task, name)).items() if key != "batch_size"}
    return flat(_called(str(path), _get_config(str(path)), name)) if path != Path(file).absolute() else {}


def _complete(config: ConfigDict, reference: dict[str, Any]) -> None:
    """Raises ValueError for a key that is missing, None or of another type; makes whole numbers floats where needed."""
    given = flat(config)
    new_task = not any(key.startswith("data.") for key in reference)
    for key, value in reference.items():
        if key.startswith("model."):
            continue  # the architecture's own, and checked by it
        if key not in given:
            raise ValueError(f"{key} is missing; it is {value!r} in configs/")
        if type(value) is float and type(given[key]) is int:
            config.update_from_flattened_dict({key: float(given[key])})
        elif type(value) is not type(given[key]):
            raise ValueError(f"{key} = {given[key]!r} is not {KINDS[type(value)]}; it is {value!r} in configs/")
    for key in given:
        of_new_task = new_task and key.startswith(("data.", "batch_size", "tokens_per_batch"))
        if reference and key not in reference and not key.startswith("model.") and not of_new_task:
            near = hints.near(key, reference)
            hint = f"did you mean {' or '.join(near)}?" if near else "leave it out"
            raise ValueError(f"{key} = {given[key]!r} is not a key; {hint}")
