"""Checkpoints through Orbax: written whole or not at all, checked when read, the newest whole one wins.

A folder holds one sub-folder a step. Orbax writes to a temporary name and renames, so a kill leaves
nothing half-written under a final name; a checksum over the arrays catches what a disk or a copy broke.
"""

import logging
import shutil
import warnings
import zlib
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

logging.getLogger("absl").setLevel(logging.CRITICAL)  # Orbax reports every file it touches, and what it raises too


class CheckpointError(OSError):
    """A checkpoint could not be written or none could be read; the message names the path."""


def checksum(state: Any) -> int:
    """CRC-32 over the bytes of every leaf, in the order of the tree."""
    value = 0
    for leaf in jax.tree.leaves(state):
        value = zlib.crc32(np.asarray(leaf).tobytes(), value)
    return value


class Checkpoints:
    """The checkpoints of one folder, of which the newest `keep` stay (None: all, and the folder is only read)."""

    def __init__(self, folder: Path, keep: int | None):
        self.folder = folder
        self._keep = keep
        self._manager_: ocp.CheckpointManager | None = None

    @property
    def _manager(self) -> ocp.CheckpointManager:
        """Made on first use, so that reading a folder that is not there leaves no trace."""
        if self._manager_ is None:
            # Whoever only reads leaves alone what a run in progress is just writing.
            reading = self._keep is None
            options = ocp.CheckpointManagerOptions(
                max_to_keep=self._keep,
                enable_async_checkpointing=False,
                cleanup_tmp_directories=not reading,
                read_only=reading,
            )
            self._manager_ = ocp.CheckpointManager(self.folder.absolute(), options=options)
        return self._manager_

    def steps(self) -> list[int]:
        """The steps that there are checkpoints of, in ascending order."""
        return sorted(self._manager.all_steps()) if self.folder.is_dir() else []

    def save(self, step: int, state: Any, meta: dict) -> None:
        """Writes `state` and the JSON-able `meta`. Raises CheckpointError; earlier ones stay untouched."""
        if self._is_there(step, state):
            return
        self._check_room(step, state)
        meta = meta | {"checksum": checksum(state)}
        try:
            for later in self.steps():
                if later >= step:  # of a course that the run no longer takes; Orbax writes none below the newest
                    self._manager.delete(later)
            args = ocp.args.Composite(state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave(meta))
            self._manager.save(step, args=args)
        except Exception as error:  # tensorstore reports a full disk as ValueError, Python as OSError
            # Orbax's unfinished tasks would complain as the process ends, after the line that says what happened.
            logging.getLogger("asyncio").setLevel(logging.CRITICAL)
            warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
            raise CheckpointError(
                f"{self.folder / str(step)}: the checkpoint could not be written ({_first_line(error)}); earlier ones "
                "are kept: free some disk and run the same command again"
            ) from error

    def _check_room(self, step: int, state: Any) -> None:
        """Says in time that a disk is full; a write that fails half-way has Orbax's threads print tracebacks."""
        needed = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
        free = shutil.disk_usage(next(p for p in (self.folder, *self.folder.absolute().parents) if p.exists())).free
        if free < needed:
            raise CheckpointError(
                f"{self.folder / str(step)}: the checkpoint could not be written ({needed:,} bytes needed, {free:,} "
                "free); earlier ones are kept: free some disk and run the same command again"
            )

    def restore(self, step: int, template: Any) -> tuple[Any, dict]:
        """State with the structure and shardings of `template`, and meta. Raises CheckpointError."""
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, template)
        try:
            args = ocp.args.Composite(state=ocp.args.StandardRestore(abstract), meta=ocp.args.JsonRestore())
            restored = self._manager.restore(step, args=args)
        except Exception as error:  # whatever a broken file raises, it is not whole
            raise CheckpointError(f"{self.folder / str(step)}: unreadable ({_first_line(error)})") from error
        meta = dict(restored.meta)
        if checksum(restored.state) != meta.pop("checksum"):
            raise CheckpointError(f"{self.folder / str(step)}: its arrays do not match their checksum")
        return restored.state, meta

    def restore_newest(self, template: Any) -> tuple[int, Any, dict] | None:
        """The newest whole checkpoint; broken ones are set aside with a warning. None where none is left."""
        for step in reversed(self.steps()):
            try:
                return step, *self.restore(step, template)
            except CheckpointError as error:
                warnings.warn(f"{error}; set aside, trying the one before", stacklevel=2)
                self._set_aside(step)
                if not self.steps():
                    warnings.warn(
                        f"{self.folder}: no whole checkpoint is left; starting again from step 0", stacklevel=2
                    )
        return None

    def _is_there(self, step: int, state: Any) -> bool:
        """Whether this very checkpoint was written before: a run killed after a save does its steps again, alike."""
        try:
            return step in self.steps() and checksum(self.restore(step, state)[0]) == checksum(state)
        except CheckpointError:
            return False

    def _set_aside(self, step: int) -> None:
        """Moves a broken checkpoint out of the way, so that its step can be saved again."""
        if jax.process_index() == 0:
            broken = self.folder / "broken"
            broken.mkdir(exist_ok=True)
            shutil.rmtree(broken / str(step), ignore_errors=True)
            shutil.move(self.folder / str(step), broken / str(step))
        self.close()

    def close(self) -> None:
        """Ends what Orbax keeps running; the next use starts it again."""
        if self._manager_ is not None:
            self._manager_.close()
            self._manager_ = None


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
