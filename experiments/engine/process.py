"""A job's process, seen by the process that starts it. Nothing here is slow to import."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

ROOT = Path(__file__).parents[2]
LOG = ".log"  # of a job, beside its file


def start(file: Path, environment: Mapping[str, str] = MappingProxyType({})) -> subprocess.Popen:
    """Starts `work.py` on a job's file. It ends with this process, which holds the other end of its standard input. A
    terminal's Ctrl-C does not reach it; this process passes it on."""
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    with file.with_suffix(LOG).open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-u", "-m", "experiments.engine.work", str(file)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **environment, "PYTHONPATH": paths},
        )


def how(log: Path, status: int) -> str:
    """How a process ended, in one line: the signal, or the last line of its log."""
    if status < 0:
        return f"killed by signal {-status} ({signal.Signals(-status).name})"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if status and log.is_file() else []
    return next((line for line in reversed(lines) if line.strip()), f"exit status {status}")


def left(file: Path) -> list[Path]:
    """The folders of a job's runs that are not finished."""
    folders = [Path(run["workdir"]) for run in json.loads(file.read_text(encoding="utf-8"))["runs"]]
    return [folder for folder in folders if not (folder / "rows.json").exists()]
