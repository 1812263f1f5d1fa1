"""Checkpoints through Orbax: written whole or not at all, checked when read, the newest whole one wins.

A folder holds one sub-folder per step. Orbax writes to a temporary name and renames, so a kill leaves nothing
half-written under a final name. Checksums over the arrays and their metadata tell a damaged checkpoint, which is set
aside, from a whole one of other code, which is left alone.
"""

import contextlib
import errno
import json
import logging
import shutil
import warnings
import zlib
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from training.step.train_step import State

logging.getLogger("absl").setLevel(logging.CRITICAL)  # Orbax reports every file it touches, and what it raises too


ELSEWHERE = (errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
SAID_OF_IT = ("PERMISSION_DENIED", "RESOURCE_EXHAUSTED")
"""What a folder, a disk or a process lacks, by number and in TensorStore's words: no sign of damaged bytes."""


class CheckpointError(OSError):
    """A checkpoint could not be written, or its bytes are damaged; the message names the path."""


class MisfitError(ValueError):
    """A whole checkpoint holds other arrays than this run; the message names one of them."""


def checksum(state: Any) -> int:
    """CRC-32 over the bytes of every leaf, in the order of the tree."""
    value = 0
    for leaf in jax.tree.leaves(state):
        value = zlib.crc32(np.asarray(leaf).tobytes(), value)
    return value


def arrays(state: Any) -> dict[str, str]:
    """Name -> type and shape of every leaf, such as `params/decoder/bias` -> `float32[64]`."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(state)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): f"{leaf.dtype}{list(leaf.shape)}"
        for path, leaf in leaves
    }


def _meta_checksum(meta: dict) -> int:
    """CRC-32 over everything that is kept beside the arrays, but this number itself."""
    rest = {name: value for name, value in meta.items() if name != "checksum"}
    return zlib.crc32(json.dumps(rest, sort_keys=True).encode())


class Checkpoints:
    """The checkpoints of one folder, of which the newest `keep` stay (None: all, and the folder is only read)."""

    def __init__(self, folder: Path, keep: int | None):
        """Raises ValueError for a path whose checkpoints could not be read back."""
        # Orbax looks for what it wrote by a pattern, to which brackets mean a choice, and takes `gs:/` for a bucket;
        # tensorstore turns \\ into / and reads UTF-8.
        path = str(folder.absolute())
        odd = [part for part in ("[", "]", "\\", "gs:/") if part in path]
        if path.encode(errors="replace").decode() != path:
            odd.append("bytes that are no UTF-8")
        if odd and (keep is not None or not {*odd} <= {*"[]"}):
            raise ValueError(
                f"{path}: the path holds {' and '.join(odd)}, and checkpoints there cannot be read back; "
                "give a folder without"
            )
        self.folder = folder
        self._keep = keep
        self._reads_back = keep is None  # whether what this process wrote here has been read once
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

    def save(self, step: int, state: State, meta: dict) -> None:
        """Writes `state` and the JSON-able `meta`. Raises CheckpointError; earlier ones stay untouched.

        Later ones, of a course that the run no longer takes, are deleted.
        """
        if self._is_there(step, state):
            return
        self._check_room(step, state)
        meta = meta | {"arrays": arrays(state), "arrays_checksum": checksum(state)}
        meta["checksum"] = _meta_checksum(meta)
        try:
            for later in self.steps():
                if later >= step:  # of a course that the run no longer takes; Orbax writes none below the newest
                    self._manager.delete(later)
            args = ocp.args.Composite(state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave(meta))
            self._manager.save(step, args=args)
        except Exception as error:  # tensorstore reports a full disk as ValueError, Python as OSError
            _silence_what_is_unfinished()
            raise CheckpointError(
                f"{self.folder / str(step)}: the checkpoint could not be written ({_first_line(error)}); earlier ones "
                "are kept: free some disk and run the same command again"
            ) from error
        if not self._reads_back:
            self.restore(step, state)
            self._reads_back = True

    def _check_room(self, step: int, state: State) -> None:
        """Says in time that a disk is full; a write that fails half-way has Orbax's threads print tracebacks."""
        needed = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
        free = shutil.disk_usage(next(p for p in (self.folder, *self.folder.absolute().parents) if p.exists())).free
        if free < needed:
            raise CheckpointError(
                f"{self.folder / str(step)}: the checkpoint could not be written ({needed:,} bytes needed, {free:,} "
                "free); earlier ones are kept: free some disk and run the same command again"
            )

    def restore(self, step: int, template: State) -> tuple[State, dict]:
        """State with the structure and shardings of `template`, and meta.

        Raises CheckpointError where the bytes are damaged, MisfitError where they are whole and of other arrays.
        """
        meta = self._read_meta(step, template)
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, template)
        try:
            state = self._read(step, state=ocp.args.StandardRestore(abstract)).state
        except CheckpointError as error:
            if "arrays" in meta:
                raise
            raise MisfitError(f"{error}, or of other code; use another --workdir") from error
        meta.pop("arrays", None)
        if checksum(state) != meta.pop("arrays_checksum"):
            raise CheckpointError(f"{self.folder / str(step)}: its arrays do not match their checksum")
        return state, meta

    def read(self, step: int) -> dict:
        """The arrays as they lie there, without a template, on the host. Raises CheckpointError where the bytes are
        damaged."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Orbax's, that sharding is unknown
            state = self._read(step, state=ocp.args.StandardRestore()).state
            meta = self._read(step, meta=ocp.args.JsonRestore()).meta
        whole = isinstance(state, dict) and isinstance(meta, dict)
        if not whole or checksum(state) != meta.get("arrays_checksum", meta.get("checksum")):
            raise CheckpointError(f"{self.folder / str(step)}: its arrays do not match their checksum")
        return state

    def check_fits(self, template: State) -> None:
        """Raises MisfitError where the newest checkpoint is whole and holds other arrays than `template`."""
        with contextlib.suppress(CheckpointError):
            for step in self.steps()[-1:]:
                self._read_meta(step, template)

    def _read_meta(self, step: int, template: State) -> dict:
        """What was saved beside the arrays, and the arrays' checksum. Raises as `restore`."""
        path = self.folder / str(step)
        meta = self._read(step, meta=ocp.args.JsonRestore()).meta
        if not isinstance(meta, dict):
            raise CheckpointError(f"{path}: unreadable (its metadata are {meta!r:.20})")
        if "checksum" in meta and not {"arrays", "arrays_checksum"} & meta.keys():  # of an earlier version
            meta["arrays_checksum"] = meta.pop("checksum")
            return meta
        if _meta_checksum(meta) != meta.pop("checksum", None):
            raise CheckpointError(f"{path}: its metadata do not match their checksum")
        there, here = meta["arrays"], arrays(template)
        for name in sorted(there.keys() | here.keys(), key=lambda name: (not name.startswith("params"), name)):
            was, now = there.get(name, "missing"), here.get(name, "missing")
            if was != now:
                raise MisfitError(
                    f"{path} does not fit: {name} is {was} there and {now} here; go back to the code "
                    "and the config of that run (its config.json has both), or use another --workdir"
                )
        return meta

    def _read(self, step: int, **items: Any) -> Any:
        """Raises CheckpointError for what a broken file raises, and OSError where something else is in the way."""
        try:
            return self._manager.restore(step, args=ocp.args.Composite(**items))
        except Exception as error:
            _silence_what_is_unfinished()
            path, said = self.folder / str(step), _first_line(error)
            if isinstance(error, MemoryError):
                raise
            if getattr(error, "errno", None) in ELSEWHERE or any(word in str(error) for word in SAID_OF_IT):
                way_out = "nothing was touched; mend this and run the same command again"
                raise OSError(f"{path}: could not be read ({said}); {way_out}") from error
            raise CheckpointError(f"{path}: unreadable ({said})") from error

    def restore_newest(self, template: State) -> tuple[int, State, dict] | None:
        """The newest whole checkpoint; damaged ones are set aside with a warning. None where none is left.

        Raises MisfitError where it holds other arrays than `template`.
        """
        for step in reversed(self.steps()):
            try:
                return step, *self.restore(step, template)
            except CheckpointError as error:
                warnings.warn(f"{error}; set aside, trying the one before", stacklevel=2)
                self._set_aside(step)
        return None

    def _is_there(self, step: int, state: State) -> bool:
        """Whether this very checkpoint was written before: a run killed after a save does its steps again, alike."""
        try:
            return step in self.steps() and checksum(self.restore(step, state)[0]) == checksum(state)
        except (CheckpointError, MisfitError):
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


def _silence_what_is_unfinished() -> None:
    """Orbax's unfinished tasks would complain as the process ends, after the line that says what happened."""
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
