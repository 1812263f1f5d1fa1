"""Reads what wandb wrote offline, `RUN/wandb/offline-run-*/run-*.wandb`: the same that `wandb sync` sends."""

import json
import struct
import time
from pathlib import Path
from typing import Any, NamedTuple

from wandb.proto import wandb_internal_pb2

HEADER, BLOCK = 7, 32768


class Offline(NamedTuple):
    ids: list[str]  # of the run, as each folder has it
    history: list[dict[str, Any]]
    summary: dict[str, Any]
    config: dict[str, Any]
    files: list[Path]  # tables and pictures
    sweeps: set[str]


def read(workdir: Path) -> Offline:
    """All folders of a run, in the order of their start."""
    found = Offline([], [], {}, {}, [], set())
    for path in sorted((workdir / "wandb").glob("offline-run-*/run-*.wandb"), key=lambda path: path.stat().st_mtime):
        for record in finished(path):
            if record.HasField("run"):
                found.ids.append(record.run.run_id)
                found.sweeps.update({record.run.sweep_id} - {""})
                found.config.update(_items(record.run.config.update))
            elif record.HasField("history"):
                found.history.append(_items(record.history.item))
            elif record.HasField("summary"):
                found.summary.update(_items(record.summary.update))
        found.files.extend(file for file in (path.parent / "files").rglob("*") if file.is_file())
    return found


def finished(path: Path) -> list[Any]:
    """The records of a run's file with the last one, which wandb's service may write a moment after the run's end."""
    deadline = time.monotonic() + 120
    there = records(path.read_bytes())
    while not any(record.HasField("exit") for record in there) and time.monotonic() < deadline:
        time.sleep(0.1)
        there = records(path.read_bytes())
    return there


def records(data: bytes) -> list[Any]:
    """The records of a log as LevelDB writes it: blocks of chunks, each with checksum, length and kind."""
    found: list[Any] = []
    parts: list[bytes] = []
    place, of_wire = HEADER, vars(wandb_internal_pb2)["Record"]
    while place + 7 <= len(data):
        if BLOCK - place % BLOCK < 7:
            place += BLOCK - place % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + 7])
        parts.append(data[place + 7 : place + 7 + length])
        place += 7 + length
        if kind in (1, 4):  # whole, or the last chunk
            found.append(of_wire.FromString(b"".join(parts)))
            parts = []
    return found


def _items(items) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}
