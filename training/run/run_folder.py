"""The folder of one run: what lies in it; refuses another run.

config.json   the config, with commit, versions and device, and hashes of the text that is trained and validated on
metrics.jsonl every row that was logged
checkpoints/  the newest states, to resume from
best/         the parameters that validated best
tokenizer/    what text was cut with
init_from.json with config.init_from, which weights the run began with
profile/      with config.profile, a trace of some steps
eval/         what eval.py found
summary.json  written at the end, so an interrupted run has none
"""

import contextlib
import json
import shutil
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from data import whole_file
from models.options import flat
from training.machine import provenance, signals
from training.run import identity

ORIGIN = ("data", "versions", "device")  # of a run, beside its config and its commit


def read_record(workdir: Path, *, damaged_is_none: bool = False) -> dict[str, Any] | None:
    """config.json, where there is one. Raises ValueError where it is damaged, unless that counts as none."""
    path = workdir / "config.json"
    if not path.exists():
        return None
    way_out = "bring it back from a copy, or train.py --accept_changes writes it anew from its --config"
    try:
        found = whole_file.read_json(path, way_out)
        config = found.get("config")
        config = config if isinstance(config, dict) else {}
        groups = [config.get("data"), config.get("model"), *(found.get(name) or {} for name in ORIGIN)]
        whole = {"task", "seed"} <= config.keys() and all(isinstance(one, dict) for one in groups)
        if not (whole and isinstance(config["task"], str) and isinstance(config["model"].get("name"), str)):
            raise ValueError(f"{path} holds no config of a run; {way_out}")
    except ValueError:
        if not damaged_is_none:
            raise
        return None
    return found


def check_same_run(workdir: Path, config: ConfigDict, *, accept_changes: bool) -> None:
    """Raises ValueError when the folder holds a run with another config, naming the keys that differ.

    Keys that change no number (`identity.py`) may differ. Warns where versions or devices are others than those that
    the run began with.
    """
    path = workdir / "config.json"
    recorded = read_record(workdir, damaged_is_none=accept_changes)
    if not recorded:
        return
    there, here = (identity.values(flat(values)) for values in (recorded["config"], json.loads(config.to_json())))
    differing = identity.differing(there, here)
    if differing and not accept_changes:
        changes = ", ".join(f"{key} = {here.get(key)!r} (was {there.get(key)!r})" for key in differing)
        raise ValueError(f"{path}: this run has another config: {changes}; use another --workdir, or --accept_changes")
    shaping = [key for key in differing if _shapes_state(key)]
    if shaping:
        raise ValueError(
            f"{path}: {shaping[0]} = {here.get(shaping[0])!r} (was {there.get(shaping[0])!r}) does not fit "
            "the checkpoints of this run; use another --workdir"
        )
    for name, now in (("versions", provenance.versions()), ("device", provenance.device())):
        before = recorded.get(name) or {}
        if changed := [k for k in now if before.get(k) != now[k]]:
            was = ", ".join(f"{k} {before.get(k)} -> {now[k]}" for k in changed)
            warnings.warn(f"{path}: {was}: resuming will not be bit for bit the same", stacklevel=2)


def check_same_data(workdir: Path, content: Mapping[str, str], *, accept_changes: bool) -> None:
    """Raises ValueError, or warns where changes are accepted, when a split's text is not what the run began with."""
    path = workdir / "config.json"
    began_with = (read_record(workdir, damaged_is_none=accept_changes) or {}).get("data") or {}
    if changed := [split for split in content if began_with.get(split, content[split]) != content[split]]:
        said = f"{path}: the text of {' and '.join(changed)} has changed since this run began"
        if not accept_changes:
            raise ValueError(f"{said}; bring it back, use another --workdir, or --accept_changes")
        warnings.warn(f"{said}: it goes on with another text", stacklevel=2)


def _shapes_state(key: str) -> bool:
    """Whether a key decides which arrays a checkpoint holds."""
    if key.startswith("model."):
        return not key.endswith("_rate") and key not in ("model.dtype", "model.fused_attention", "model.remat")
    shaping = ("task", "optimizer.name", "optimizer.momentum", "optimizer.ema_decay")
    return key.startswith("data.tokenizer.") or key in shaping


def record(workdir: Path, config: ConfigDict, content: Mapping[str, str]) -> None:
    """Writes config.json. A run that is resumed as the same run keeps its first provenance."""
    path = workdir / "config.json"
    plain = json.loads(config.to_json())
    origin = {"commit": provenance.commit(), "versions": provenance.versions(), "device": provenance.device()}
    before = read_record(workdir, damaged_is_none=True) or {"config": {}}
    if not identity.differing(flat(before["config"]), flat(plain)) and before.get("data", content) == content:
        origin |= {name: before[name] for name in origin if name in before}
    whole_file.write_json(path, {"config": plain, "data": dict(content), **origin})


@contextlib.contextmanager
def restored_on_error(workdir: Path) -> Iterator[None]:
    """Takes back the tokenizer that the body wrote and the folders around it, if there can be no run after all.

    Folders go only where they are empty: what another run has put beside this one meanwhile stays.
    """
    cache = workdir.parent / ".jax_cache"
    places = (workdir / "tokenizer", workdir, cache, *workdir.parents)
    new = [path for path in places if not path.exists()] if jax.process_index() == 0 else []

    def take_back() -> None:
        for path in new:
            alone = path == cache and path.is_dir() and not any(other != cache for other in cache.parent.iterdir())
            if path.name == "tokenizer" or alone:
                shutil.rmtree(path, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):
                    path.rmdir()

    with signals.undone_at_once(take_back):
        try:
            yield
        except BaseException:
            take_back()
            raise
