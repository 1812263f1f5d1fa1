"""One run, from its config to its rows: it is trained and probed, and its rows are written to `RUN/rows.json`.

A stopped run goes on from its checkpoint, and a run with rows is finished. What probes measure during training is
appended to `RUN/probes.jsonl`.
"""

import contextlib
import dataclasses
import datetime
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

import data
import models
import train
from data import whole_file
from data.task import Task
from experiments.analysis.table import FORMAT
from experiments.engine import mirrored_probes, record, version
from experiments.probes import PROBES, quiet
from experiments.probes.measurement import Measurement, of_model
from experiments.questions.question import Probing
from models.contract import Architecture
from training.machine import backend, provenance
from training.mirrors.mirror import Mirror
from training.run import metrics_file
from training.run.restore import Restored, restore

OF_RUN = "run"  # the probe's name in rows that every run has
ROWS = "rows.json"
BEFORE = "rows.before.json"  # those that did not count


@dataclasses.dataclass(frozen=True)
class Spec:
    """One run, described to a process by plain values."""

    name: str  # for messages
    workdir: str
    config: Mapping[str, Any]
    columns: Mapping[str, Any]  # of the table: which run this is
    probes: tuple[Probing, ...] = ()
    in_haste: bool = False  # compile quickly rather than well: for runs of a few steps

    @property
    def rows(self) -> Path:
        """The file that marks the run as finished."""
        return Path(self.workdir) / ROWS


def run(spec: Spec) -> bool:
    """Does the run; False if asked to stop before its end. Raises what training or a probe raises."""
    with quiet.HERE.preparing() if any(one.alone for one in spec.probes) else contextlib.nullcontext():
        return _run(spec)


def _run(spec: Spec) -> bool:
    workdir = Path(spec.workdir)
    config = ConfigDict(json.loads(json.dumps(dict(spec.config)))).lock()
    if spec.in_haste:
        jax.config.update("jax_disable_most_optimizations", True)
    backend.configure(workdir, config.keep_pages, config.cpu_devices, config.deterministic)
    provenance.commit(), version.trees()  # as they are now, whatever is edited before the end
    notes = Notes(workdir / "probes.jsonl", spec.probes)
    first = Restored(config, *_build(config, workdir), 0)
    work = list(of_model(first.model, first.task.spec))

    def watch(model: Architecture, task: Task, step: int) -> Mapping[str, float]:
        notes.take(Restored(config, task, model, step), "evaluations")
        return {}

    workdir.mkdir(parents=True, exist_ok=True)
    begun = first_start(workdir)
    probing_since = time.perf_counter()
    notes.take(first, "start")
    probing_seconds = time.perf_counter() - probing_since
    try:
        summary = train.train(config, workdir, probes=[watch])
    except FloatingPointError:
        if spec.columns["role"] != "tune" and "rate" not in spec.columns:
            raise
        # A value that makes training diverge, in a trial or as one rate of several, is the worst there is.
        write(spec, begun, [(OF_RUN, config.steps, Measurement("best_loss", math.inf))], {})
        return True
    if not summary:
        return False
    probing_since = time.perf_counter()
    best = restore(workdir, "best")
    rows = [(OF_RUN, config.steps, one) for one in (*work, *record.of_training(workdir, summary))]
    rows += notes.rows()
    for probing in spec.probes:
        if "end" in probing.at:
            rows += [(probing.probe, best.step, one) for one in PROBES[probing.probe](best, **probing.options)]
    probing_seconds += time.perf_counter() - probing_since
    rows.append((OF_RUN, config.steps, Measurement("probing_seconds", probing_seconds)))
    write(spec, begun, rows, best.task.content_hash())
    with Mirror(workdir, config) as mirror:
        mirrored_probes.send(mirror, rows)
    return True


def first_start(workdir: Path) -> str:
    """When the run was started first, however often it was stopped since. A prediction has to be older."""
    path = workdir / "began.txt"
    if not path.exists():
        whole_file.write_text(path, datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"))
    return path.read_text(encoding="utf-8")


def _build(config: ConfigDict, workdir: Path) -> tuple[Task, Architecture]:
    """The task, and the model as train.py initialises it."""
    task = data.build(config.task, config.data, tokenizer_dir=workdir / "tokenizer")
    return task, models.build(config.model.name, config.model, task.spec, jax.random.key(config.seed))


class Notes:
    """What probes measure during training, kept in a file, so that a resumed run has all of it."""

    def __init__(self, path: Path, probes: Sequence[Probing]):
        self._path, self._probes = path, probes

    def take(self, run: Restored, moment: str) -> None:
        """Measures what is due at this moment, unless an earlier start did."""
        for probing in self._probes:
            if moment in probing.at and (moment != "start" or (probing.probe, run.step) not in self._read()):
                found = [list(one) for one in PROBES[probing.probe](run, **probing.options)]
                with whole_file.naming(self._path), self._path.open("a", encoding="utf-8") as file:
                    # The newline first: what a kill has torn stays a line of its own.
                    file.write("\n" + json.dumps({"kind": probing.probe, "step": run.step, "found": found}))

    def rows(self) -> Iterator[tuple[str, int, Measurement]]:
        for (probe, step), found in sorted(self._read().items()):
            yield from ((probe, step, Measurement(*one)) for one in found)

    def _read(self) -> dict[tuple[str, int], list]:
        """The last findings of each probe and step; a resumed run measures some of them again."""
        return {(row["kind"], row["step"]): row["found"] for row in metrics_file.rows(self._path)}


def write(spec: Spec, begun: str, rows: Sequence[tuple[str, int, Measurement]], probed: Mapping[str, str]) -> None:
    """`rows.json`: the run's columns once, and its measurements. `probed` are hashes of the text that probes read."""
    workdir, device = Path(spec.workdir), provenance.device()
    read = json.loads((workdir / "config.json").read_text(encoding="utf-8"))["data"] | dict(probed)
    origin = {
        "commit": provenance.commit(),
        "began": begun,
        "device": f"{device['count']} x {provenance.processor()} ({device['platform']}, {device['machine']})",
        "versions": json.dumps(provenance.versions()),
        "trees": version.trees(),
        "text": json.dumps(read, sort_keys=True),
    }
    fields = ("probe", "step", *Measurement._fields)
    listed = [[probe, step, *one] for probe, step, one in rows]
    content = {"format": FORMAT, "run": {**spec.columns, **origin}, "fields": fields, "measurements": listed}
    whole_file.write_json(workdir / ROWS, content)


def read(path: Path) -> list[dict[str, Any]]:
    """The table's rows of one run; [] where it is not finished, or the file is damaged or of another format."""
    try:
        content = whole_file.read_json(path, "")
        if content.get("format") != FORMAT:
            return []
        run, fields = content["run"], content["fields"]
        rows = [{**run, **dict(zip(fields, one, strict=True))} for one in content["measurements"]]
        return rows if all(map(_whole, rows)) else []
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return []


def _whole(row: Mapping[str, Any]) -> bool:
    """Whether a row has everything that the engine reads."""
    numbers = ("seed", "value", *(["tuned"] if row["role"] == "tune" else []))
    words = ("run", "role", "measure", "config", "probes", "text", "began", "device")
    return all(isinstance(row[n], str) for n in words) and all(isinstance(row[n], int | float) for n in numbers)
