"""A run that fails, crashes, or is stopped costs itself and nothing else."""

import os
import signal
import time
from pathlib import Path

import pytest

from experiments import run
from experiments.engine import schedule
from experiments.engine.trial import Job
from experiments.engine.workers import DONE, FAILED, STOPPED, Worker, first_end
from experiments.questions import QUESTIONS
from experiments.questions.question import Probing, Run
from tests.experiments.probes.restored import restored
from tests.training import runs


def job(folder: Path, task: str = "copying", probes: tuple[Probing, ...] = (), **values) -> Job:
    config = runs.config(task, "rnn_decoder", **values).to_dict()
    return Job(folder.name, str(folder), config, {"run": folder.name, "role": "report"}, probes, in_haste=True)


def ended(worker: Worker, seconds: float = 120.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if end := first_end([worker], 1.0):
            return end
    raise AssertionError("the job did not end")


def until(path: Path) -> None:
    deadline = time.monotonic() + 120
    while not (path.exists() and path.stat().st_size):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def worker():
    made = Worker(0, 1)
    yield made
    made.job = None
    made.end()


def test_one_worker_after_a_failure_a_stop_and_a_crash(worker, tmp_path):
    # A probe that cannot be: the run is reported, and the worker goes on.
    worker.give(job(tmp_path / "fails", task="parity", probes=(Probing("accuracy_by_distance"),)))
    end = ended(worker)
    assert end.how == FAILED and "answers of parity have no distance" in end.message
    assert "Traceback" in (tmp_path / "fails" / "log.txt").read_text()
    assert not (tmp_path / "fails" / "rows.json").exists()

    worker.give(job(tmp_path / "good"))
    assert ended(worker).how == DONE and (tmp_path / "good" / "rows.json").exists()

    # Asked to stop in the middle, it saves; given the same job again, it goes on from there.
    long = job(tmp_path / "long", steps=100_000, every__log=5, every__eval=100_000, every__save=100_000)
    worker.give(long)
    until(tmp_path / "long" / "metrics.jsonl")
    worker.ask_to_stop()
    assert ended(worker).how == STOPPED
    assert list((tmp_path / "long" / "checkpoints").iterdir()) and not (tmp_path / "long" / "rows.json").exists()

    # Killed, it says how it died.
    worker.give(long)
    until(tmp_path / "long" / "metrics.jsonl")
    os.kill(worker._process.pid, signal.SIGKILL)
    end = ended(worker)
    assert end.how == FAILED and "killed by signal 9 (SIGKILL)" in end.message and not worker.alive


def test_the_others_go_on(tmp_path, monkeypatch, capfd):
    """One cell's probe cannot be: its run is named, the other cell is in the table, and the status says so."""
    small = {name: values for name, values in [("data.val_examples", 32), ("data.test_examples", 32)]}
    small |= {"steps": 4, "schedule.warmup_steps": 0, "every.eval": 4, "eval_examples": 32}

    class Asked:
        VERSION = 1
        CLAIM = SOURCE = PREDICTION = CUT = UNDER_REVIEW = ""
        THRESHOLDS: dict = {}
        BUDGETS: dict = {}
        PROBES = (Probing("accuracy_by_distance"),)
        figure, verdict = QUESTIONS["long_range"].figure, lambda self, table: []

        def runs(self, scale):
            for task in ("parity", "temporal_order"):
                yield Run(f"configs/{task}.py:rnn_decoder", {"task": task, "system": "tanh RNN"}, overrides=small)

    asked = Asked()
    asked.figure = QUESTIONS["long_range"].figure
    monkeypatch.setitem(QUESTIONS, "asked", asked)
    assert run.main(["asked", "--scale=smoke", f"--runs={tmp_path}/runs", f"--results={tmp_path}/results"]) == 1
    said = capfd.readouterr().err
    assert "failed: parity-tanh-rnn seed 0: ValueError: accuracy_by_distance" in said and "log.txt" in said
    assert "temporal-order-tanh-rnn" in (tmp_path / "results/asked/smoke/table.csv").read_text()


def test_a_tuned_value_that_diverges_is_tried_and_not_chosen(tmp_path):
    from experiments.engine import trial

    trying = job(
        tmp_path / "run",
        task="adding",
        steps=40,
        optimizer__name="sgd",
        optimizer__learning_rate=1e30,
        optimizer__clip_norm=0.0,
    )
    with runs.compiled_in_haste():
        assert trial.run(Job(**{**vars(trying), "columns": {"run": "run", "role": schedule.TUNE}}))
        rows = trial.read(tmp_path / "run" / "rows.json")
        assert [(row["measure"], row["value"]) for row in rows] == [("best_loss", float("inf"))]
        with pytest.raises(FloatingPointError):
            trial.run(Job(**{**vars(trying), "workdir": str(tmp_path / "reported")}))


def test_probes_on_the_way_survive_a_resumption(tmp_path):
    from experiments.engine import trial

    probes = (Probing("gradient_by_time", at=("start", "evaluations"), options={"examples": 8, "places": 2}),)
    with runs.compiled_in_haste():
        assert trial.run(job(tmp_path / "run", probes=probes))
    rows = trial.read(tmp_path / "run" / "rows.json")
    steps = {row["step"] for row in rows if row["probe"] == "gradient_by_time"}
    assert steps == {0, 4, 8}
    path = tmp_path / "run" / "probes.jsonl"
    lines = path.read_text()
    path.write_text(lines + "\n" + lines.splitlines()[-1] + "\n" + '{"probe": "torn')
    notes = trial.Notes(path, probes)
    assert sorted({step for _, step, _ in notes.rows()}) == [0, 4, 8]
    notes.take(restored("copying", "rnn_decoder"), "evaluations")  # what comes after a torn line stands on its own
    assert sorted({step for _, step, _ in notes.rows()}) == [0, 4, 8]
    assert len(list(notes.rows())) == sum(row["probe"] == "gradient_by_time" for row in rows)


def test_a_run_began_when_it_was_first_started(tmp_path):
    from experiments.engine import trial

    began = trial.first_start(tmp_path)
    (tmp_path / "began.txt").write_text("2026-01-01T00:00:00+00:00")
    assert trial.first_start(tmp_path) == "2026-01-01T00:00:00+00:00" < began
