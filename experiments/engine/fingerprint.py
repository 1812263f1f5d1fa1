"""What a result depends on: the values of its config, and the code that made it.

A change of either makes a result one of another version. Code is hashed as its syntax tree, without comments and
docstrings, and only the modules that this run could have used count: another architecture, task or question, or a
better message, leaves results as they are.
"""

import ast
import functools
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import data
import models
from experiments.probes import PROBES
from models.options import flat

ROOT = Path(__file__).parents[2]
ROOMS = ("data", "models", "training", "experiments")
TABLES = ("data", "models", "experiments.probes")  # modules that name all of a kind; a run uses only what it names

ALWAYS = ("training.trainer", "training.step.optimizer", "data.pipeline", "experiments.engine.record")
"""What every run passes through. What is printed, tracked and stored changes no number."""
NO_NUMBERS = (
    "training.machine.clock",
    "training.machine.programs",
    "training.machine.backend",
    "training.machine.lasting_stderr",
    "training.machine.signals",
    "training.machine.watchdog",
    "training.run.metrics_file",
    "training.machine.provenance",
    "training.run.run_folder",
    "training.run.tracking",
    "training.run.display",
    "training.mirrors.mirror",
    "training.mirrors.wandb_account",
    "training.run.checkpoint",
    "training.run.resume",
    "training.run.restore",
    "training.run.ledger",
    "training.command.cli",
    "training.command.validate",
    "data.checks",
    "data.whole_file",
    "models.shapes",
    "experiments.questions.question",
    "experiments.engine.fingerprint",
    "experiments.engine.schedule",
    "experiments.analysis.table",
)

NOT_A_RESULT = (
    "wandb.",
    "tracker.",
    "profile",
    "keep",
    "workers",
    "every.log",
    "every.save",
    "every.decode",
    "decode_examples",
    "model.remat",
)
"""Keys that change what is written or how fast, and no number beyond rounding."""
WHERE_TEXT_LIES = ("data.dir", "data.cache_dir")
"""What the text is, the task says; but for `translate`, whose folder is all that says it."""


def config_values(config: Mapping[str, Any]) -> dict[str, Any]:
    """The values that a result depends on, by dotted key, as JSON would give them back."""
    values = json.loads(json.dumps(flat(dict(config))))
    elsewhere = () if values.get("task") == "translate" else WHERE_TEXT_LIES
    return {k: value for k, value in sorted(values.items()) if not k.startswith(NOT_A_RESULT) and k not in elsewhere}


def config_hash(config: Mapping[str, Any]) -> str:
    return _digest(json.dumps(config_values(config)))


def differing(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The keys whose values differ. A key that only one of two configs has came or went with the code, not the run."""
    there, here = config_values(recorded), config_values(now)
    return [key for key in there if key in here and there[key] != here[key]]


def modules(task: str, architectures: Iterable[str], probes: Iterable[str]) -> dict[str, str]:
    """Module -> hash of its code, for every module of this project that a run could have used."""
    return dict(_modules(task, tuple(sorted(set(architectures))), tuple(sorted(set(probes)))))


@functools.lru_cache(maxsize=256)
def _modules(task: str, architectures: tuple[str, ...], probes: tuple[str, ...]) -> dict[str, str]:
    roots = {*ALWAYS, data.TASKS[task].__module__}
    roots |= {models.MODELS[name].__module__ for name in architectures}
    roots |= {PROBES[name].__module__ for name in probes}
    found: set[str] = set()
    waiting = [name for name in roots if name.split(".")[0] in ROOMS]
    while waiting:
        name = waiting.pop()
        if name not in found and name not in NO_NUMBERS:
            found.add(name)
            waiting += _code(name)[1]
    return {name: _code(name)[0] for name in sorted(found)}


def changed(there: Mapping[str, str], here: Mapping[str, str]) -> list[str]:
    """The modules that differ, or that only one has."""
    return sorted(name for name in there.keys() | here.keys() if there.get(name) != here.get(name))


def code_hash(of_modules: Mapping[str, str]) -> str:
    return _digest(json.dumps(dict(sorted(of_modules.items()))))


@functools.cache
def _code(name: str) -> tuple[str, tuple[str, ...]]:
    """(hash, the modules of this project that it imports)."""
    path = _path(name)
    tree = ast.parse((path or ROOT).read_text()) if path else ast.Module([], [])
    return _digest(json.dumps(_shape(tree))), tuple(sorted(_imports(tree)))


def _imports(tree: ast.Module) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name for name in whole if _path(name)} or {node.module}
    return {name for name in names if name.split(".")[0] in ROOMS and name not in TABLES and _path(name)}


def _path(name: str) -> Path | None:
    base = ROOT.joinpath(*name.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


def _shape(node: Any) -> Any:
    """A syntax tree as lists, the same in every version of Python; docstrings are left out."""
    if isinstance(node, list):
        return [_shape(one) for one in node if not _is_docstring(one)]
    if isinstance(node, ast.AST):
        fields = [[name, _shape(value)] for name, value in ast.iter_fields(node) if value not in (None, [])]
        return [type(node).__name__, *fields]
    return repr(node)


def _is_docstring(node: Any) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
