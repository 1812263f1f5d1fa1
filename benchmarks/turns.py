"""Processes that live together and step in turn, and what their times say.

Whatever slows the machine for a while slows every program of the round alike, so ratios are steadier than times.
"""

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np

from benchmarks.cases import Case
from benchmarks.text_case import PROGRAMS, TextCase

ROOT = Path(__file__).parents[1]
PEERS = ROOT / ".venv-peers"
PYTHON = "LONGREACH_PEERS_PYTHON"  # names another interpreter that has torch, as on a machine with a GPU
MODULES = {
    "ours": "benchmarks.ours",
    "flax": "benchmarks.peers.flax_programs",
    "torch": "benchmarks.peers.torch_programs",
}


def has_peers() -> bool:
    """Whether `make peers` has been run to its end, or another interpreter is named."""
    return PYTHON in os.environ or (PEERS / ".installed").exists()


@dataclasses.dataclass(frozen=True)
class Contender:
    """A program in one setting: `ours`, `ours, pages freed` (`keep_pages` is off), `torch default`, `flax tuned` ..."""

    program: str
    setting: str = "default"

    @property
    def name(self) -> str:
        if self.program == "ours":
            return "ours, pages freed" if self.setting == "freed" else "ours"
        return f"{self.program} {self.setting}"


class Running:
    """A contender's process. Use as a context manager."""

    def __init__(self, contender: Contender, case: Case | TextCase, files: Path):
        self.contender = contender
        peers_python = os.environ.get(PYTHON, str(PEERS / "bin" / "python"))
        python = peers_python if contender.program in ("torch", "joeynmt") else sys.executable
        module = (PROGRAMS if isinstance(case, TextCase) else MODULES)[contender.program]
        words = [python, "-m", module, json.dumps(dataclasses.asdict(case)), contender.setting]
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (it lives as long as the process)
        self._process = subprocess.Popen(
            [*words, str(files)],
            cwd=ROOT,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )

    def ask(self, command: str) -> dict[str, float]:
        """The program's answer. Raises RuntimeError with the last line of its errors if it died."""
        assert self._process.stdin and self._process.stdout
        try:
            self._process.stdin.write(command + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass
        line = self._process.stdout.readline()
        if not line:
            self._errors.seek(0)
            said = self._errors.read().decode(errors="replace").strip().splitlines() or ["it said nothing"]
            raise RuntimeError(f"{self.contender.name}: {said[-1]}")
        return json.loads(line)

    def warm_up(self, seconds: float) -> float:
        """Steps for so long, and at least three times; returns the least time of a step."""
        begun = time.monotonic()
        found: list[float] = []
        while len(found) < 3 or time.monotonic() - begun < seconds:
            found.append(self.ask("step 1")["seconds"])
        return min(found)

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()
        self._errors.close()


@dataclasses.dataclass
class Measured:
    """One contender in one case; `seconds` a step, one entry a turn, entries of one round together."""

    name: str
    num_params: int
    loss: float
    peak_memory_bytes: int
    seconds: list[float]

    def quantile(self, share: float) -> float:
        return float(np.quantile(self.seconds, share))


def rounds(running: Sequence[Running], steps: int, seconds: float) -> Iterator[list[float]]:
    """Seconds a step of every process, round after round, for so many seconds and at least 10 rounds."""
    begun, number = time.monotonic(), 0
    while number < 10 or time.monotonic() - begun < seconds:
        turn = [process.ask(f"step {steps}")["seconds"] / steps for process in running]
        number += 1
        yield turn


def ratio_interval(ours: Sequence[float], theirs: Sequence[float], draws: int = 2000) -> tuple[float, float, float]:
    """Ratio of medians (above 1: ours is faster) with a 95 % interval, by a bootstrap over rounds."""
    a, b = np.asarray(ours), np.asarray(theirs)
    picked = np.random.default_rng(0).integers(len(a), size=(draws, len(a)))
    low, high = np.quantile(np.median(b[picked], axis=1) / np.median(a[picked], axis=1), [0.025, 0.975])
    return float(np.median(b) / np.median(a)), float(low), float(high)
