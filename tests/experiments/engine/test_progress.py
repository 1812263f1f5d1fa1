"""The bar counts the steps of what is running, and of nothing that is finished."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from experiments.engine import progress
from experiments.engine.execute import _Sitting
from experiments.engine.jobs import Job
from experiments.engine.trial import Spec


class Bar:
    def __init__(self):
        self.shown: list[tuple[float, ...]] = []

    def show(self, *numbers: float) -> None:
        self.shown.append(numbers)

    def say(self, line: str) -> None:
        pass


def test_a_finished_run_of_a_job_that_goes_on_counts_once(tmp_path):
    specs = tuple(Spec(name, str(tmp_path / name), {"steps": 100}, {}) for name in ("first", "second"))
    for one, steps in zip(specs, (100, 25), strict=True):
        Path(one.workdir).mkdir()
        (Path(one.workdir) / "metrics.jsonl").write_text(json.dumps({"kind": "train", "step": steps}) + "\n")
    executor = SimpleNamespace(running=[Job("both", tmp_path, specs)], slots=1, start=lambda jobs: None)
    plan = SimpleNamespace(due=list(specs), waiting=[])
    study = SimpleNamespace(
        plan=lambda: plan,
        workdir=lambda one: one.workdir,
        jobs=lambda due, slots: [],
        clock=SimpleNamespace(total=lambda due: 60.0 * len(due)),
    )
    bar = Bar()
    sitting = _Sitting(study, executor, bar)
    sitting.show()
    assert bar.shown[-1] == (0, 2, pytest.approx(75.0), pytest.approx(45.0), 1)
    specs[0].rows.write_text("{}")
    assert sitting.news([], "")
    plan.due = [specs[1]]
    sitting.replan(start=False)
    sitting.show()
    assert bar.shown[-1] == (1, 2, pytest.approx(15.0), pytest.approx(45.0), 1)


def test_on_a_terminal_it_names_what_it_does_until_it_ends(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", "60")
    with progress.Progress() as bar:
        bar.show(1, 4, 30.0, 90.0, 2)
        bar.end()
        bar.say("[saving]")
    said = capsys.readouterr().err
    assert "starting" in said and "1 of 4 runs" in said and "about 45 s left" in said and said.endswith("[saving]\n")
