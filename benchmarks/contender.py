"""A contender: a program, ours or a peer's, in a process of its own, which speaks the protocol (`protocol.py`)."""

import contextlib
import dataclasses
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from training.command import cli
from training.command.config_file import override
from training.run import restore

ROOT = Path(__file__).parents[1]
WITH_TORCH = ("torch", "joeynmt")
PYTHON = "LONGREACH_PEERS_PYTHON"  # names another interpreter that has torch, as on a machine with a GPU
PEERS_PYTHON = os.environ.get(PYTHON, str(ROOT / ".venv-peers" / "bin" / "python"))
KEEP_PAGES = {"MMAP_MAX_": 0, "TRIM_THRESHOLD_": 2**31 - 1, "TOP_PAD_": 64 << 20, "ARENA_MAX": 1}  # machine/backend.py
TUNED = {f"MALLOC_{key}": str(value) for key, value in KEEP_PAGES.items()}  # for programs that do not know `keep_pages`


def has_peers(cuda: bool = False) -> bool:
    """Whether there is an interpreter for them, and whether its torch has CUDA."""
    words = [PEERS_PYTHON, "-c", "import sys, torch; sys.exit(not torch.cuda.is_available())"]
    return bool(shutil.which(PEERS_PYTHON)) and not (cuda and subprocess.run(words, capture_output=True).returncode)


@dataclasses.dataclass(frozen=True)
class Contender:
    """A program, and the config of ours that it reads in its way."""

    program: str  # of ours a module beside this one, or flax, torch, joeynmt
    config: str  # FILE:ARGUMENT
    values: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # of it, by flat name
    setting: str = "default"  # `tuned` or another that the program knows
    name: str = "ours"  # in the table
    run: str = ""  # of ours, whose weights are taken
    split: str = ""  # that is translated instead of training
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)  # of its process, beside ours

    def but(self, name: str, **values: Any) -> "Contender":
        """The same contender with other values of the config; their names have `__` for `.`."""
        changed = {key.replace("__", "."): value for key, value in values.items()}
        return dataclasses.replace(self, name=name, values={**self.values, **changed})

    def within(self, name: str, **environment: str) -> "Contender":
        """The same contender in a process with these variables."""
        return dataclasses.replace(self, name=name, environment=environment)

    def __str__(self) -> str:
        sizes = [f"{key}={value}" for key, value in self.values.items() if key.startswith(("model", "data", "batch"))]
        variables = [f"{key}={value}" for key, value in self.environment.items()]
        return " ".join([f"{self.name}: {self.config or self.run}", *sizes, *variables])

    def beside(self, program: str, setting: str = "default", name: str = "") -> "Contender":
        """Another program with the same config."""
        environment = TUNED if program in WITH_TORCH and setting == "tuned" else {}
        called = name or f"{program} {setting}"
        return dataclasses.replace(self, program=program, setting=setting, name=called, environment=environment)


def config_of(contender: Contender) -> ConfigDict:
    config = restore.read_config(Path(contender.run)) if contender.run else cli.load(contender.config)
    override(config, contender.values)
    return config


class Running:
    """A contender's process, until it is closed."""

    def __init__(self, contender: Contender, folder: Path):
        self.contender = contender
        self.said: dict[str, float] = {}  # of itself
        self.answers: list[dict[str, float]] = []  # to each turn so far
        name, variables = contender.program, {**os.environ, **contender.environment}
        words = [PEERS_PYTHON if name in WITH_TORCH else sys.executable, "-m", "benchmarks.protocol"]
        words.append(f"benchmarks.peers.{name}_programs" if name in ("flax", *WITH_TORCH) else f"benchmarks.{name}")
        words += [json.dumps(dataclasses.asdict(contender)), str(folder)]
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (it lives as long as the process)
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self._errors}
        self._process = subprocess.Popen(words, cwd=ROOT, encoding="utf-8", env=variables, **pipes)

    def ask(self, command: str) -> dict[str, float]:
        """The program's answer. Raises RuntimeError with the last line of its errors if it died."""
        assert self._process.stdin and self._process.stdout
        with contextlib.suppress(BrokenPipeError):
            print(command, file=self._process.stdin, flush=True)
            if line := self._process.stdout.readline():
                return json.loads(line)
        self._errors.seek(0)
        raise RuntimeError((self._errors.read().decode(errors="replace").strip() or "it said nothing").splitlines()[-1])

    def turn(self, steps: int) -> float:
        """Seconds of one of so many steps."""
        self.answers.append({"steps": steps, **self.ask(f"step {steps}")})
        return self.answers[-1]["seconds"] / steps

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()
