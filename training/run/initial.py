"""Begins a run with the weights of another: `--config.init_from=RUN`.

An array is taken where the other run has one of the same name and shape. Tables of tokens, and an output layer over
them, mean something else under another tokenizer, so that they are taken under the same one alone. A run that has no
tokenizer yet takes the other's, if its config asks for one like it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax

from data import whole_file
from training.run import run_folder
from training.run.checkpoint import Checkpoints
from training.step import params

FILE = "init_from.json"  # in the run's folder: what was taken from where


class Source(NamedTuple):
    """Weights of another run."""

    workdir: Path
    kind: str  # of checkpoint: best or newest
    step: int
    model: str  # its architecture
    weights: params.Params


class Start(NamedTuple):
    weights: params.Params  # all of the new run's
    lines: list[str]  # what was taken, what was not and why
    record: dict[str, Any]  # the contents of FILE


def read(workdir: Path) -> Source:
    """The best weights of a run, or the newest where it has no best. Raises ValueError or OSError in one line."""
    said = f"init_from = {workdir}"
    try:
        recorded = run_folder.read_record(workdir)
    except ValueError as error:
        raise ValueError(f"{said}: {error}") from None
    if recorded is None:
        raise ValueError(f"{said} holds no run (there is no config.json); give the folder of one")
    for kind, folder in (("best", "best"), ("newest", "checkpoints")):
        checkpoints = Checkpoints(workdir / folder, keep=None)
        if steps := checkpoints.steps():
            state = checkpoints.read(steps[-1])
            weights = state.get("ema", state.get("params", {}))
            return Source(workdir, kind, steps[-1], recorded["config"]["model"]["name"], weights)
    raise ValueError(f"{said} has no checkpoint; let that run get to its first, or give another")


def take_tokenizer(source: Path, workdir: Path, wanted: Mapping[str, Any]) -> None:
    """Copies the tokenizers of `source` that are like the `wanted` one into a folder that has none."""
    there, here = source / "tokenizer", workdir / "tokenizer"
    if here.exists() or not there.is_dir():
        return
    for description in _descriptions(there):
        stored = whole_file.read_json(description, f"init_from = {source} is damaged; give another run")
        if all(stored.get(key) == wanted[key] for key in ("name", "normalization")) and (
            stored.get("vocab_size") == wanted["vocab_size"] or wanted["name"] == "byte"
        ):
            here.mkdir(parents=True, exist_ok=True)
            for path in (description.with_suffix(".model"), description):
                whole_file.write_bytes(here / path.name, path.read_bytes())


def start(source: Source, workdir: Path, own: params.Params) -> Start:
    """The weights to begin with: those of `source` that fit, and `own` for the rest.

    Raises ValueError where none fits, and where the run began with other weights before it was cut off.
    """
    same_text = _tokenizers(source.workdir) == _tokenizers(workdir)
    taken: dict[str, jax.Array] = {}
    left: list[str] = []
    for name, array in sorted(own.items()):
        theirs = source.weights.get(name)
        if theirs is None:
            left.append(f"{name}: it has none of this name")
        elif theirs.shape != array.shape:
            left.append(f"{name}: its shape is {tuple(theirs.shape)} and not {tuple(array.shape)}")
        elif not same_text and _of_tokens(name):
            left.append(f"{name}: its tokenizer is another")
        else:
            taken[name] = jax.numpy.asarray(theirs, array.dtype)
    said = f"init_from = {source.workdir}"
    if not taken:
        raise ValueError(
            f"{said}: none of the {len(source.weights)} arrays of {source.model} has the name and shape of one here "
            f"(such as {left[0]}); give a run of an architecture like this one"
        )
    digest = params.sha256(source.weights)
    if (workdir / FILE).is_file():
        before = whole_file.read_json(workdir / FILE, f"use another --workdir than {workdir}")
        if before.get("params_sha256") != digest:
            raise ValueError(
                f"{said}: its {source.kind} checkpoint is another than when this run began (step {source.step}, then "
                f"{before.get('step')}); use another --workdir"
            )
    unused = sorted(source.weights.keys() - own.keys())
    count = sum(array.size for array in taken.values())
    lines = [
        f"started from {source.workdir} ({source.model}, {source.kind} checkpoint, step {source.step}): "
        f"{len(taken)} of {len(own)} arrays, {count:,} of {params.count(own):,} parameters"
    ]
    lines += [f"not loaded: {line}" for line in left]
    if unused:
        lines.append(f"it has besides: {', '.join(unused)}")
    record = {
        "workdir": str(source.workdir),
        "checkpoint": source.kind,
        "step": source.step,
        "params_sha256": digest,
        "loaded": sorted(taken),
        "not_loaded": left,
        "not_used": unused,
    }
    return Start(own | taken, lines, record)


def note(workdir: Path, record: Mapping[str, Any]) -> None:
    whole_file.write_json(workdir / FILE, dict(record))


def _tokenizers(workdir: Path) -> set[str]:
    """What the tokenizers of a run are, by their hashes."""
    way_out = "bring it back from a copy, or give another run"
    return {str(whole_file.read_json(path, way_out).get("sha256")) for path in _descriptions(workdir / "tokenizer")}


def _descriptions(folder: Path) -> list[Path]:
    """Of the tokenizers in a folder, without what a killed process left half-written."""
    return sorted(folder.glob("[!.]*.json"))


def _of_tokens(name: str) -> bool:
    return name.startswith(("inputs/", "head/"))
