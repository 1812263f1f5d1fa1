"""What a run says of itself in words and in summary.json."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from training.machine import provenance
from training.run.ledger import Ledger
from training.step import params


def opening(config: ConfigDict, weights: params.Params, task: Any, done: int, workdir: Path) -> str:
    """Which model on which task, how large, on which devices; a line for each note of the task; where it resumes."""
    device = provenance.device()
    lines = [
        f"{config.model.name} on {config.task}: {params.count(weights):,} parameters "
        f"({params.count(weights, embeddings=False):,} without embeddings), "
        f"{device['count']} x {device['kind']}, {workdir}"
    ]
    lines += [f"{config.task}: {note}" for note in task.notes]
    if done:
        lines.append(f"resuming after step {done}")
    return "\n".join(lines)


def summarise(config: ConfigDict, weights: params.Params, ledger: Ledger, *, replicas: int = 1) -> dict[str, Any]:
    """The contents of summary.json; seconds, bytes, and metrics on validation.

    Seconds and bytes are those of the program, which trained `replicas` runs.
    """
    return {
        "final": ledger.latest,
        "best": {**(ledger.best or {}), "metric": config.best.metric},
        "num_params": params.count(weights),
        "num_params_non_embedding": params.count(weights, embeddings=False),
        "params_sha256": params.sha256(weights),
        **ledger.totals(),
        "replicas": replicas,
        "peak_memory_bytes": provenance.peak_resident_bytes(),
        "device_memory_bytes": provenance.device_memory_bytes(),
        "commit": provenance.commit(),
        "versions": provenance.versions(),
        "device": provenance.device(),
    }


def opening_of_many(names: Sequence[str], axis: str, devices: int) -> str:
    """How several runs share the devices; said after the `opening` of one of them."""
    return f"{len(names)} runs as one program, {axis} on {devices} of these devices: {', '.join(names)}"


def closing_of_many(summaries: Mapping[str, dict[str, Any]], workdir: Path) -> str:
    """One line: how good the best run of several is and how good the worst, where to read more."""
    metric = next(iter(summaries.values()))["best"]["metric"]
    found = [summary["best"][metric] for summary in summaries.values()]
    return f"done: {len(found)} runs, best {metric} {min(found):.4g} to {max(found):.4g}, {workdir}/*/summary.json"


def closing(summary: dict[str, Any], workdir: Path) -> str:
    """One line: how good, how fast, where to read more."""
    best = summary["best"]
    return (
        f"done: best {best['metric']} {best[best['metric']]:.4g} at step {best['step']}, "
        f"{summary['target_tokens_per_second']:,.0f} target tokens/s, {workdir / 'summary.json'}"
    )
