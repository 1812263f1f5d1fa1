"""A run's folder is one process's at a time, whichever machine it is on.

A lock on RUN/.lock0 decides between processes of one machine. A network's file system may have no locks, or keep them
to each machine, so the file also says who holds it, and is touched every BEAT seconds: a holder on another machine
counts until it has been silent for STALE.
"""

import contextlib
import errno
import fcntl
import json
import os
import socket
import tempfile
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TextIO

BEAT, STALE = 10.0, 60.0  # seconds
NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)


class Holder(NamedTuple):
    host: str
    process: int
    job: str  # of Slurm, and which start of it; a start begins when the one before has ended

    @classmethod
    def here(cls) -> "Holder":
        job = [os.environ.get(name, "0") for name in ("SLURM_JOB_ID", "SLURM_RESTART_COUNT")]
        return cls(socket.gethostname(), os.getpid(), "-".join(job))

    def lives(self, silent: float, *, locks: bool) -> bool:
        """Whether it may still be at work, where the file's lock could be had, or there are no `locks`."""
        here = Holder.here()
        if self.host == here.host:
            return not locks and silent < STALE and _is_process(self.process)
        started_again = self.job != here.job and self.job.split("-")[0] == here.job.split("-")[0] != "0"
        return silent < STALE and not started_again


@contextlib.contextmanager
def claimed(workdir: Path, process_index: int = 0) -> Iterator[None]:
    """Holds the folder. Raises ValueError, in one line, while another process does."""
    workdir.mkdir(parents=True, exist_ok=True)
    path = workdir / f".lock{process_index}"
    with path.open("a+", encoding="utf-8") as file:
        lock = _lock(file.fileno())
        holder, silent = _read(file), _silent(path)
        if lock is False or (holder and holder.lives(silent, locks=lock is not None)):
            who = f" ({holder.process} on {holder.host}, last heard of {silent:.0f} s ago)" if holder else ""
            raise ValueError(f"--workdir = {workdir} is in use by another process{who}; wait for it or use another")
        if holder and holder.host != socket.gethostname():
            warnings.warn(f"{workdir}: {holder.host}, which held it, has gone; this process takes over", stacklevel=3)
        _write(file, json.dumps(Holder.here()))
        over = threading.Event()
        threading.Thread(target=_beat, args=(path, over), daemon=True, name="claim").start()
        try:
            yield
        finally:
            over.set()
            with contextlib.suppress(OSError):  # of a folder that has gone
                _write(file, "")


def _lock(file: int) -> bool | None:
    """Whether the lock could be had; None where the file system has none."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        return None
    return True


def _is_process(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True


def _write(file: TextIO, text: str) -> None:
    try:  # past the file's buffer, which would be tried again when it is closed
        os.ftruncate(file.fileno(), 0)
        os.write(file.fileno(), text.encode())
    except OSError as error:  # a full disk, which names no file
        raise OSError(f"{file.name}: could not be written ({error.strerror}); free some disk") from None


def _read(file: TextIO) -> Holder | None:
    file.seek(0)
    try:
        host, process, job = json.loads(file.read())
        return Holder(str(host), int(process), str(job))
    except (ValueError, TypeError):  # nobody, or torn by a kill
        return None


def _silent(path: Path) -> float:
    """Seconds since the file was touched, by the clock that its file system has."""
    with tempfile.TemporaryFile(dir=path.parent) as now:
        return os.fstat(now.fileno()).st_mtime - path.stat().st_mtime


def _beat(path: Path, over: threading.Event) -> None:
    while not over.wait(BEAT):
        with contextlib.suppress(OSError):
            os.utime(path)
