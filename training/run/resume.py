"""Finds how far earlier starts of a run got, or why the run cannot go on from there."""

import dataclasses
import warnings
from pathlib import Path
from typing import Any, NamedTuple

from data import whole_file
from training.run import metrics_file
from training.run.checkpoint import Checkpoints, MisfitError
from training.run.ledger import Ledger
from training.step import params
from training.step.train_step import State


class Past(NamedTuple):
    done: int  # steps
    state: State
    ledger: Ledger
    summary: dict[str, Any] | None  # of a run that is finished


def find(
    workdir: Path,
    newest: Checkpoints,
    best: Checkpoints,
    state: State,
    weights: params.Params,
    steps: int,
    patience: int,
) -> Past:
    """What the newest whole checkpoint holds; a run that has none begins with `state`.

    Only damaged checkpoints are moved, and nothing else is touched. Raises MisfitError where a whole one holds other
    arrays than `state` or `weights`, ValueError where the run has gone beyond `steps` or is finished and
    nothing of it can go on.
    """
    there = newest.steps()
    restored = newest.restore_newest(state)
    best.check_fits({"params": weights})
    path = workdir / "summary.json"
    if restored is None:
        if path.is_file():
            summary = whole_file.read_json(path, "move it away to train again from step 0, or use another --workdir")
            if isinstance(summary.get("final"), dict) and summary["final"].get("step") == steps:
                return Past(steps, state, Ledger(), summary)
            raise ValueError(
                f"{newest.folder} holds no checkpoint to go on from, and {path} is of a finished run; "
                "use another --workdir"
            )
        if there:
            warnings.warn(f"{newest.folder}: no whole checkpoint is left; starting again from step 0", stacklevel=2)
        return Past(0, state, Ledger(), None)

    done, state, meta = restored
    if unknown := meta.keys() - {field.name for field in dataclasses.fields(Ledger)}:
        raise MisfitError(
            f"{newest.folder / str(done)} counts {', '.join(unknown)}, which this code does not; go back to "
            "the code of that run (its commit is in config.json), or use another --workdir"
        )
    ledger = Ledger(**meta)
    evaluated = (ledger.latest or {}).get("step")
    if done > steps or (done == steps != evaluated):
        raise ValueError(
            f"steps = {steps} is not more than the {done} that {workdir} has done already; "
            "use more, or another --workdir"
        )
    written = {"train": len(ledger.step_seconds), "val": ledger.evaluations}
    if said := metrics_file.lost(workdir / "metrics.jsonl", done, **written):
        warnings.warn(said + "; training goes on, and so does the file" * (done < steps), stacklevel=2)
    if best.restore_newest({"params": weights}) is None and done < steps and ledger.best:
        warnings.warn(f"{best.folder} is gone, empty or damaged; the best from here on is kept instead", stacklevel=2)
        ledger.best = None
    found: dict[str, Any] | None = None
    if path.is_file() and (done == steps or ledger.out_of_patience(patience)):
        try:
            read = whole_file.read_json(path, "it is written anew")
            if not all(isinstance(read.get(name), dict) for name in ("final", "best")):
                raise ValueError(f"{path} holds no summary of a run; it is written anew")
            found = read
        except ValueError as error:
            warnings.warn(str(error), stacklevel=2)
    return Past(done, state, ledger, found)
