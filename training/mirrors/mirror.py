"""Mirrors a run to wandb, TensorBoard's event files or Trackio, by `tracker.name`.

The folder is the record. A mirror is never read back and never ends a run: an error or a timeout is reported once, and
the run goes on without it.
"""

import contextlib
import functools
import sys
import textwrap
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from training.machine.watchdog import still
from training.mirrors.writer import NotInstalled, Row, Writer

TRACKERS = ("wandb", "tensorboard", "trackio")
LONGEST = 300  # characters of what a library says when it fails
SILENT = 20.0  # seconds until it is said that a run waits for it
START, CALL, FINISH, LEAVE = 90.0, 60.0, 120.0, 10.0  # seconds that a mirror may take


class Mirror:
    """A writer that cannot end a run, or none. Use as a context manager, or call `close`."""

    def __init__(self, workdir: Path, config: ConfigDict, *, first_step: int = 0):
        self._name = config.tracker.name
        self._writer: Writer | None = None
        with still(f"{self._name} starts", limit=SILENT):
            self._writer = self._tried(START, start, self._name, workdir, config, first_step)

    @property
    def listens(self) -> bool:
        return self._writer is not None

    def log(self, step: int, row: Row) -> None:
        if self._writer:
            self._tried(CALL, self._writer.log, step, row)

    def show(self, step: int, columns: Sequence[str], rows: Sequence[Sequence[str]], pictures: Mapping[str, Path]):
        if self._writer:
            self._tried(CALL, self._writer.show, step, columns, rows, pictures)

    def curve(self, name: str, x: str, rows: Sequence[Row]) -> None:
        if self._writer and rows:
            self._tried(CALL, self._writer.curve, name, x, rows)

    def summarise(self, values: Mapping[str, Any]) -> None:
        if self._writer:
            self._tried(CALL, self._writer.summarise, values)

    def close(self, *, failed: bool = False) -> None:
        if self._writer:
            with still(f"{self._name} takes in the rest", limit=SILENT):
                self._tried(FINISH, functools.partial(self._writer.finish, failed=failed))
        self._writer = None

    def __enter__(self) -> "Mirror":
        return self

    def __exit__(self, *error: object) -> None:
        self.close(failed=error[0] is not None)

    def _tried(self, seconds: float, function: Callable, *arguments: Any) -> Any:
        """What the function returns; None, said on stderr, where it raises or is still busy after so many seconds."""
        try:
            return within(seconds, function, *arguments)
        except NotInstalled as missing:
            said = str(missing)
        except TimeoutError as error:
            said = f"{self._name}: {error}; going on without it"
            leave_behind(self._name)
        except Exception as error:  # of a library, a service, a network or a disk: anything
            what = textwrap.shorten(str(error), LONGEST, placeholder=" ...") or type(error).__name__
            said = f"{self._name}: {what}; going on without it"
        print(f"{said} (the run's folder has everything)", file=sys.stderr, flush=True)
        self._writer = None
        return None


def within(seconds: float, function: Callable, *arguments: Any) -> Any:
    """Calls in a thread of its own. Raises what the function raises, or TimeoutError, and then leaves it behind."""
    found: list[Any] = []
    raised: list[BaseException] = []

    def call() -> None:
        try:
            found.append(function(*arguments))
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(seconds)
    if raised:
        raise raised[0] if isinstance(raised[0], Exception) else RuntimeError(repr(raised[0]))
    if not found:
        raise TimeoutError(f"no answer in {seconds:.0f} seconds")
    return found[0]


def leave_behind(name: str) -> None:
    """Ends what would keep this process from ending: wandb's own process, for which its hook at exit waits."""
    if name == "wandb":
        from training.mirrors import wandb_run

        with contextlib.suppress(Exception):
            within(LEAVE, wandb_run.kill)


def start(name: str, workdir: Path, config: ConfigDict, first_step: int) -> Writer | None:
    """The writer of that name. None where it is switched off. Raises NotInstalled, or whatever the library raises."""
    try:
        if name == "tensorboard":
            from training.mirrors.tensorboard import TensorBoard

            return TensorBoard(workdir, config, first_step)
        if name == "trackio":
            from training.mirrors.trackio import Trackio

            return Trackio(workdir, config)
        from training.mirrors.wandb_run import start_wandb

        return start_wandb(workdir, config)
    except ModuleNotFoundError as error:
        package = {"tensorboard": "tensorboardX"}.get(name, name)
        missing = (error.name or package).partition(".")[0]
        without = f" without {missing}" * (missing != package)
        raise NotInstalled(f"{name} is not installed{without}; run python -m pip install {package}") from error
