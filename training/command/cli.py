"""The command line of train.py: a config file with its argument, overrides, and errors of one line.

--config=configs/recall.py:gru_attention   a file whose `get_config(argument)` returns the config
--config.model.hidden_size=64              any value of it
"""

import argparse
import contextlib
import difflib
import errno
import json
import os
import re
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import jax
from absl import flags
from ml_collections import ConfigDict, config_flags

import data
import models
from data import whole_file
from models.options import KINDS, flat
from training.command import hints, usage
from training.command.config_file import load
from training.command.validate import LARGEST, check_fit, check_given, check_idle, check_size, validate
from training.machine import mesh, peers
from training.run import memory

MISTAKE, FAILURE = 2, 1  # exit status: the user can mend the command, or the machine or the numbers failed
INTERRUPTED, READER_GONE = 130, 141  # by Ctrl-C, and by a pipe that was closed, as shells count them
OF_PATHS = (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError, PermissionError)
KEY = re.compile(r"[a-z_]+(\.[a-z_0-9]+)* (=|is|has|,)")


OF_CACHE = re.compile(r"Error (reading|writing) persistent compilation cache entry")
said_of_cache: set[str] = set()


def plain(message: Warning | str, *where: Any, **line: Any) -> str:
    """A warning on one line. Of the programs that a full disk keeps out of the compilation cache, the first is said."""
    said = " ".join(str(message).split())
    if about := OF_CACHE.match(said):
        if about[0] in said_of_cache:
            return ""
        said_of_cache.add(about[0])
        said += "; more of these are not said"
    return f"warning: {said}\n"


warnings.formatwarning = plain


class Parser(argparse.ArgumentParser):
    """Of every program but train.py. A module's docstring is its help, which names the command as a user types it; a
    mistake is one line and status 2."""

    def __init__(self, command: str, description: str | None):
        as_written = argparse.RawDescriptionHelpFormatter
        super().__init__(prog=command, description=description, formatter_class=as_written, allow_abbrev=False)

    def parse_known_args(self, args=None, namespace=None):
        words = sys.argv[1:] if args is None else args
        for option, word in zip(("", *words), words, strict=False):
            if not word or re.fullmatch("--[^=]+=", word):  # as of a shell's variable that is not set
                self.error(f"{word[:-1] or option or 'a word of the command'} is empty; give a value, or leave it out")
        with user_errors():
            words = [usage.at_home(word) for word in words]
        return super().parse_known_args(words, namespace)

    def error(self, message: str) -> NoReturn:
        if unknown := re.fullmatch(r"unrecognized arguments: (--[^\s=]+).*", message):
            near = difflib.get_close_matches(unknown[1], self._option_string_actions, n=1)
            message += f"; did you mean {near[0]}?" if near else ""
        _exit(f"{message}; see --help", MISTAKE)


class Options(NamedTuple):
    config: ConfigDict
    config_file: str
    workdir: Path
    accept_changes: bool
    coordinator: str | None
    num_processes: int | None
    process_id: int | None


def check_folder(option: str, folder: Path) -> None:
    """Raises ValueError unless `folder`, which may not exist yet, can be written to. Leaves nothing behind."""
    try:
        there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise ValueError(f"{option} = {folder} cannot be written to ({error.strerror}); give another folder") from None


@contextlib.contextmanager
def user_errors(
    config_file: str = "", config: Mapping[str, Any] | None = None, less_memory: str = ""
) -> Iterator[None]:
    """Ends the process with one line on stderr for a mistake of the user or a failing machine.

    These are OSError, FloatingPointError, and ValueError raised by a line of this project. A ValueError of a library is
    our bug and keeps its traceback. A message about a key of `config` gets `config_file` in front. `less_memory` is
    what to do where memory runs out.
    """
    try:
        yield
    except (ValueError, *OF_PATHS) as error:
        if isinstance(error, ValueError) and not _raised_here(error):
            if said := memory.exhausted(error, less_memory):
                _exit(said, FAILURE)
            _end_with_peers(error)
            raise
        said = str(error)
        if isinstance(error, OSError) and error.filename and error.strerror:
            said = f"{error.filename}: {error.strerror.lower()}; give another path, or mend this one"
        key = KEY.match(said)
        named = key is not None and config is not None and key[0].split(" ")[0].split(".")[0] in config
        _exit(f"{config_file}: {said}" if named else said, MISTAKE)
    except BrokenPipeError:  # the reader has seen enough, as head has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(READER_GONE)
    except (OSError, FloatingPointError) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            _exit(f"{str(error.filename)[:80]}: {os.strerror(error.errno).lower()}; give another path", MISTAKE)
        _exit(str(error), FAILURE)
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        if said := memory.exhausted(error, less_memory):
            _exit(said, FAILURE)
        _end_with_peers(error)
        raise
    except KeyboardInterrupt:
        _exit("stopped", INTERRUPTED)


def parse(argv: Sequence[str], description: str = "", *, alone: bool = True) -> Options:
    """The options of a run from the words after the program's name; the config is locked and checked.

    A run that is not `alone` may have keys that do nothing beside its other values, and count in the next of a sweep.

    Raises SystemExit with status 2 and one line on stderr for whatever cannot be run.
    """
    usage.answer(argv, description)
    values = _flags()
    with user_errors():
        words = [usage.at_home(word) for word in argv if word not in (*usage.WORDS, "--print_config")]
    where, words = _take_config(words)
    file, _ = usage.split(where)
    with user_errors(file):
        config = load(where)
        name, task, width = config.model.name, config.task, config.model.get("hidden_size", 0)
        _check_keys(file, words, config)
        config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=["", *words])
        _read(values, file, words, config)
        config = values.config
    given = [match[1] for word in words if (match := re.match(r"--?config\.([\w.]+)", word))]
    with user_errors(file, config):
        for key in given:  # before other keys follow them
            check_size(key, flat(config).get(key))
    models.follow_width(name, config.model, width, given)
    if "schedule.warmup_steps" not in given:
        config.schedule.warmup_steps = min(config.schedule.warmup_steps, config.steps)
    if usage.WORDS & set(argv):
        print(usage.of_config(where, flat(config), models.described(name)))
        sys.exit(0)
    with user_errors(file, config):
        if config.model.name != name:
            raise ValueError(f"model.name = {config.model.name!r} is set by the argument; use --config={file}:MODEL")
        if config.task != task:
            raise ValueError(f"task = {config.task!r} is set by the file; use {_file_of(config.task, file)}:{name}")
        check_given(config, given)
        check_idle(config, given if alone else [])
        validate(config)
        if "--print_config" in argv:
            check_fit(config)
            with whole_file.naming(Path("standard output")):
                print(json.dumps(config.to_dict(), indent=1), flush=True)
            sys.exit(0)
        if not values.workdir:
            raise ValueError(f"--workdir is missing; give the run's folder, such as --workdir=runs/{task}-{name}")
        if (values.num_processes is None) != (values.process_id is None):
            raise ValueError("--num_processes and --process_id go together; give both or neither")
        workdir = Path(values.workdir)
        if workdir.exists() and not workdir.is_dir():
            raise ValueError(f"--workdir = {workdir} is a file; give a folder")
        check_folder("--workdir", workdir)
    return Options(
        config,
        file,
        workdir,
        values.accept_changes,
        values.coordinator,
        values.num_processes,
        values.process_id,
    )


def _flags() -> flags.FlagValues:
    values = flags.FlagValues()
    define: dict[type, Callable] = {str: flags.DEFINE_string, bool: flags.DEFINE_bool, int: flags.DEFINE_integer}
    for name, (kind, default, text) in usage.FLAGS.items():
        define[kind](name, default, text, flag_values=values)
    return values


def _take_config(argv: Sequence[str]) -> tuple[str, list[str]]:
    """`FILE:ARGUMENT` of the last --config, and the other words."""
    words, where = list(argv), ""
    for flag in ("--config", "-config"):
        while flag in words[:-1]:
            place = words.index(flag)
            where = words[place + 1]
            del words[place : place + 2]
    for word in [w for w in words if re.match(r"--?config=", w)]:
        words.remove(word)
        where = word.partition("=")[2]
    if not where:
        _exit("--config is missing; give a file and an architecture, as in --config=configs/recall.py:gru_attention")
    return where, words


def _check_keys(file: str, words: Sequence[str], config: ConfigDict) -> None:
    """Raises ValueError for the first override that is not a key of the config."""
    leaves = list(flat(config.to_dict()))
    if absl_own := next((word for word in words if re.match(r"--?(flagfile|undefok)\b", word)), ""):
        raise ValueError(f"{absl_own.partition('=')[0]} is not a flag; set values as --config.KEY=VALUE")
    for word in words:
        match = re.match(r"--?(?:no)?config\.([^=]*)=?(.*)", word)
        if not match or match[1] in leaves:
            continue
        key, value = match.groups()
        below = [leaf for leaf in leaves if leaf.startswith(f"{key}.")]
        if below:
            named = key == "model" and value in models.MODELS
            way_out = f"use --config={file}:{value}" if named else f"set one of {', '.join(below)}"
            raise ValueError(f"{file}: {key} = {value!r} is a group of keys; {way_out}")
        group = key.rpartition(".")[0] + "." if "." in key else ""
        siblings = [leaf for leaf in leaves if group and leaf.startswith(group)] or list(config)
        way_out = hints.way_out(key, config.to_dict()) or f"choose from {', '.join(siblings)}"
        raise ValueError(f"{file}: {f'{key} = {value!r}' if value else key} is not a key; {way_out}")


def _read(values: flags.FlagValues, file: str, words: Sequence[str], config: ConfigDict) -> None:
    """Parses `words` into `values`. Raises ValueError in one line."""
    try:
        left = values(["train.py", *words])[1:]
    except flags.UnrecognizedFlagError as error:
        known = [flag for flag in values if "." not in flag]
        way_out = hints.way_out(error.flagname, config.to_dict(), known)
        way_out = way_out or f"choose from {', '.join(f'--{flag}' for flag in known)}"
        raise ValueError(f"--{error.flagname} is not a flag; {way_out}") from None
    except (flags.Error, TypeError, ValueError) as error:
        match = re.search(r"flag --([^\s=]+)=(.*?): ", str(error))
        if bare := re.match(r"Missing value for flag (\S+)", str(error)):
            raise ValueError(f"{bare[1]} has no value; give it as {bare[1]}=VALUE") from None
        if not match:
            raise ValueError(f"{file}: {error}") from None
        flag, text = match.groups()
        key = flag.removeprefix("config.")
        where = f"--{flag}" if key == flag else f"{file}: {key}"
        now = flat(config.to_dict()).get(key, values[flag].default)
        kind = KINDS.get(type(now), KINDS[int])
        raise ValueError(f"{where} = {text!r} is not {kind}; {_as_kind(text, now)}") from None
    if left:
        raise ValueError(f"{left[0]} is not a flag; set values as --config.KEY=VALUE and the run's folder as --workdir")


def _file_of(task: str, file: str) -> str:
    """--config of a task, or that of the run where there is no such task."""
    return f"--config={f'configs/{task}.py' if task in data.TASKS else file}"


def _as_kind(text: str, now: Any) -> str:
    """The nearest valid choice to a value of the wrong type."""
    if isinstance(now, bool):
        return "use true or false"
    with contextlib.suppress(ValueError, OverflowError):
        if isinstance(now, int) and abs(near := round(float(text))) <= LARGEST:
            return f"did you mean {near}?"
    return f"it is {now!r} now" if now is not None else "use 0 or more"


def _raised_here(error: BaseException) -> bool:
    """Whether a line of this project raised the error, rather than a library."""
    frames = traceback.extract_tb(error.__traceback__)
    path = Path(frames[-1].filename).resolve()
    return path.is_relative_to(usage.ROOT) and "site-packages" not in path.parts


def _end_with_peers(error: BaseException) -> None:
    """Ends at once if a process of the run is gone: an orderly end would wait for it."""
    if mesh.lost_peer(error):
        print(f"error: {peers.LOST}", file=sys.stderr, flush=True)
        os._exit(FAILURE)


def _exit(message: str, status: int = MISTAKE) -> NoReturn:
    print(f"error: {' '.join(message.split())}", file=sys.stderr, flush=True)
    sys.exit(status)
