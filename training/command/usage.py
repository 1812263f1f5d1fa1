"""What `train.py --help` prints: flags, config files and architectures, or every key of the config that is given.

Names and comments are read from the sources, so nothing slow is imported. A key's comment follows it in its config file
or in `configs/common.py`; a model's keys are described by `options` of its class.
"""

import ast
import io
import os
import re
import sys
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs"
WORDS = {"--help", "-help", "-h"}
FLAGS: dict[str, tuple[type, Any, str]] = {
    "workdir": (str, None, "folder of the run; a run that is there already goes on"),
    "accept_changes": (bool, False, "go on with a run whose config has changed"),
    "coordinator": (str, None, "host:port of process 0, for several processes"),
    "num_processes": (int, None, "how many there are"),
    "process_id": (int, None, "which of them this is, from 0"),
}
"""Of train.py, beside --config: (type, default, what it is for)."""


def answer(argv: Sequence[str], description: str | None) -> None:
    """Prints the overview and ends the process if help is asked for without a config."""
    if WORDS & set(argv) and not any(word.lstrip("-").partition("=")[0] == "config" for word in argv):
        print(overview(description or ""))
        sys.exit(0)


def overview(description: str) -> str:
    flags = {"config=FILE:MODEL": "a file of configs/ and an architecture, or FILE:MODEL,SETTING of a paper"}
    flags |= {"config.KEY=VALUE": "any value of the config"}
    flags |= {"print_config": "print the config as JSON, and do nothing else"}
    flags |= {name if kind is bool else f"{name}=...": text for name, (kind, _, text) in FLAGS.items()}
    width = max(map(len, flags))
    lines = [description.strip(), "", *(f"  --{flag:{width}}  {text}" for flag, text in flags.items()), ""]
    lines += [f"FILE:   {', '.join(f'configs/{path.name}' for path in config_files())}"]
    lines += [f"MODEL:  {', '.join(architectures())}", ""]
    return "\n".join([*lines, "--config=FILE:MODEL --help prints every key of that config."])


def split(where: str) -> tuple[str, str]:
    """`FILE:ARGUMENT` -> (FILE, ARGUMENT); a file's path may hold colons of its own, or begin with ~."""
    found = re.fullmatch(r"(.*\.py)(?::(.*))?", where)
    file, argument = found.groups() if found else where.partition(":")[::2]
    return os.path.expanduser(file), argument or ""


def at_home(word: str) -> str:
    """A word of a command whose value is a path in the home folder, or that folder; a shell leaves the ~ in
    `--workdir=~/x`. A config's value `~` is no path. Raises ValueError where nobody knows that folder."""
    found = re.fullmatch(r"(--?[\w.-]+=)?(~[^/]*/.*)", word) or re.fullmatch(r"(--?(?!config\.)[\w-]+=)(~)", word)
    flag, path = found.groups() if found else (word, "")
    if found and (os.path.expanduser(path) == path or not os.environ.get("HOME", "unset")):
        raise ValueError(f"{word}: there is no such home folder, or HOME is not set; give the whole path")
    return (flag or "") + os.path.expanduser(path)


def config_files() -> list[Path]:
    """The configs of the tasks."""
    return [path for path in sorted(CONFIGS.glob("*.py")) if path.stem not in ("__init__", "common")]


def architectures() -> list[str]:
    """The names of `MODELS`, without importing a model."""
    tree = ast.parse((ROOT / "models" / "__init__.py").read_text(encoding="utf-8"))
    tables = [node for node in tree.body if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "MODELS"]
    return [str(key.value) for key in ast.walk(tables[0]) if isinstance(key, ast.Constant)]


def of_config(where: str, config: Mapping[str, Any], model: Mapping[str, str]) -> str:
    """Every key of a config (flat) with value, type and comment, by group; `model` describes the model's keys."""
    file = Path(split(where)[0])
    comments = {**comments_of(file), **{f"model.{key}": text for key, text in model.items()}}
    groups: dict[str, list[str]] = {}
    for key in config:
        groups.setdefault(key.partition(".")[0] if "." in key else "", []).append(key)
    width = max(len(f"{key}={value}") for key, value in config.items() if len(str(value)) < 24)
    lines = [ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "", ""]
    for group in sorted(groups):
        lines.append(f"{group or 'the run'}:")
        for key in groups[group]:
            value, text = config[key], comments.get(key) or comments.get(key.rpartition(".")[0], "")
            lines.append(f"  --config.{f'{key}={value}':{width}}  {type(value).__name__:5}  {text}".rstrip())
        lines.append("")
    return "\n".join(lines).rstrip()


def comments_of(file: Path) -> dict[str, str]:
    """The comments behind the keys of a config file and the files it imports: {dotted key: comment}."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    imported = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "configs"]
    others = [CONFIGS / f"{alias.name}.py" for node in imported for alias in node.names]
    found: dict[str, str] = {}
    for path in (file, *others):
        text = path.read_text(encoding="utf-8")
        tokens = tokenize.generate_tokens(io.StringIO(text).readline)
        behind = {t.start[0]: t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT and t.start[1]}
        for key, line in _keys(ast.parse(text)):
            if line in behind:
                found.setdefault(key, behind[line])
    return found


def _keys(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """(dotted key, the line that it ends on) of `config.KEY = ...` and of dicts. A dict that is given to no group of
    the config is of the data, and so is each of a table of dicts, which are settings."""
    groups: dict[int, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and (name := ast.unparse(node.targets[0])).startswith("config."):
            key = name.removeprefix("config.")
            yield key, node.end_lineno or 0
            groups |= {id(inner): f"{key}." for inner in ast.walk(node.value) if isinstance(inner, ast.Dict)}
        elif isinstance(node, ast.Dict) and node.lineno != node.end_lineno:
            table = all(isinstance(value, ast.Dict) for value in node.values)
            for word, value in zip(node.keys, node.values, strict=True):
                if isinstance(word, ast.Constant):
                    key = groups.get(id(node), "data.") + str(word.value)
                    yield key, value.end_lineno or 0
                    if isinstance(value, ast.Dict) and not table:
                        groups[id(value)] = f"{key}."
