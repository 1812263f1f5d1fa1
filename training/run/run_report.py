"""The report of a run, in words and in summary.json."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from models.contract import Architecture
from training.machine import provenance
from training.run.ledger import Ledger
from training.step import params


def opening(
    model: Architecture, name: str, task: str, notes: Sequence[str], weights: params.Params, done: int, workdir: Path
) -> str:
    """Which model on which task, how large, how many tokens an output sees where not all, on which devices; a line for
    each note of the task; where it resumes."""
    device = provenance.device()
    field = None if model.needs_source else getattr(model, "receptive_field", None)
    sees = f"an output sees {field:,} tokens, " if field else ""
    lines = [
        f"{name} on {task}: {params.count(weights):,} parameters "
        f"({params.count(weights, embeddings=False):,} without embeddings), "
        f"{sees}{device['count']} x {device['kind']}, {workdir}"
    ]
    lines += [f"{task}: {note}" for note in notes]
    if done:
        lines.append(f"resuming after step {done}")
    return "\n".join(lines)


def summarise(ledger: Ledger, weights: params.Params, metric: str) -> dict[str, Any]:
    """The contents of summary.json; seconds, bytes, and metrics on validation, the best by `metric`."""
    return {
        "final": ledger.latest,
        "best": {**(ledger.best or {}), "metric": metric},
        "num_params": params.count(weights),
        "num_params_non_embedding": params.count(weights, embeddings=False),
        "params_sha256": params.sha256(weights),
        **ledger.totals(),
        "peak_memory_bytes": provenance.peak_resident_bytes(),
        "device_memory_bytes": provenance.device_memory_bytes(),
        "commit": provenance.commit(),
        "versions": provenance.versions(),
        "device": provenance.device(),
    }


def closing(summary: dict[str, Any], workdir: Path) -> str:
    """One line: how good, how fast, where to read more."""
    best = summary["best"]
    return (
        f"done: best {best['metric']} {best[best['metric']]:.4g} at step {best['step']}, "
        f"{summary['target_tokens_per_second']:,.0f} target tokens per second, {workdir / 'summary.json'}"
    )
