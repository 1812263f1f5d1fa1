"""Files that are there whole or not at all, through a kill, a full disk and a machine that loses its power."""

import contextlib
import errno
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside `path` for the body to write to; what it wrote takes the place of `path` when the body ends.

    Two that write at once do not meet, and the last one counts. Raises OSError naming `path`.
    """
    with naming(path):
        if path.exists() and not path.is_file() and not path.is_dir():
            raise OSError(errno.EEXIST, "it is a device or a pipe, which no file may replace")
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
        partial = Path(name)
        try:
            os.close(handle)
            yield partial
            partial.chmod(path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask())
            _to_disk(partial)
            partial.replace(path)
            _to_disk(path.parent)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


def write_bytes(path: Path, content: bytes) -> None:
    with replacing(path) as partial:
        partial.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 with Unix line ends, in any locale."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1, sort_keys=True) + "\n")


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Puts the path in front of the system's message if writing fails."""
    try:
        yield
    except OSError as error:
        raise OSError(
            f"{path}: could not be written ({error.strerror or error}); mend it and run the same command again"
        ) from None


def read_json(path: Path, way_out: str) -> dict[str, Any]:
    """What `write_json` wrote. Raises ValueError, which ends with `way_out`, for a file with other content."""
    try:
        found = json.loads(path.read_bytes().decode())
    except (ValueError, RecursionError) as error:  # no JSON, or no UTF-8
        found, why = None, "is empty" if not path.stat().st_size else f"is damaged ({error})"
    else:
        why = "holds no JSON object"
    if not isinstance(found, dict):
        raise ValueError(f"{path} {why}; {way_out}")
    return found


def _to_disk(path: Path) -> None:
    """Waits until the content is on the disk; for a folder, its names."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:
        if path.is_file():  # some file systems take no fsync of a folder
            raise
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
