"""A run that fails, crashes, or is stopped costs itself and nothing else; what is due follows from what has rows."""

import os
import signal
import time
import types
from pathlib import Path

import pytest

from experiments.engine import execute as execute_module
from experiments.engine import jobs, local, process, sitting, trial
from experiments.engine.execute import execute
from experiments.engine.jobs import Job
from experiments.engine.local import Local
from experiments.engine.results import Folders
from experiments.engine.study import Study
from experiments.engine.trial import Spec
from experiments.questions.question import Probing, Run, Tuning, over_seeds
from tests.experiments.engine.in_process import Pretending
from tests.experiments.probes.restored import restored
from tests.training import runs

CONFIG = "configs/recall.py:gru"


def study(folder: Path, grid: list[Run]) -> Study:
    asked = types.SimpleNamespace(VERSION=1, PROBES=(), runs=lambda scale: grid)
    return Study(asked, "asked", "cpu", Folders(folder / "runs", folder / "results", None))


def cells(*names: str, seeds: int = 2, **options) -> list[Run]:
    return [one for name in names for one in over_seeds(Run(CONFIG, {"system": name}, **options), seeds)]


def columns(name: str) -> dict[str, object]:
    """What a row says of its run."""
    return {"run": name, "role": "report", "seed": 0, "config": "{}", "probes": "[]"}


def spec(folder: Path, task: str = "copying", probes: tuple[Probing, ...] = (), **values) -> Spec:
    config = runs.config(task, "rnn_decoder", **values).to_dict()
    return Spec(folder.name, str(folder), config, columns(folder.name), probes, in_haste=True)


# ---- which runs share a job ---------------------------------------------------------------------------------------


def test_the_seeds_of_a_cell_are_one_job_unless_a_slot_would_be_idle(tmp_path):
    asked = study(tmp_path, cells("a", "b", seeds=4))
    due = asked.plan().due
    sizes = {slots: [len(job.runs) for job in asked.jobs(due, slots)] for slots in (1, 2, 4)}
    assert sizes == {1: [4, 4], 2: [4, 4], 4: [2, 2, 2, 2]}
    names = [spec.name for job in asked.jobs(due, 1) for spec in job.runs]
    assert names == [f"{cell} seed {seed}" for cell in "ab" for seed in range(4)]


def test_what_measures_time_has_a_process_of_its_own(tmp_path):
    grid = cells("a", probes=(Probing("exposure", alone=True),)) + cells("b")
    asked = study(tmp_path, grid)
    assert [(len(job.runs), job.alone) for job in asked.jobs(asked.plan().due, 1)] == [(1, True), (1, True), (2, False)]
    assert asked.alone and not study(tmp_path, cells("b")).alone


def test_a_job_is_read_back_as_it_was_written(tmp_path):
    probes = (Probing("accuracy_by_length", options={"splits": ("test",), "beside": {"b": ("where", 1)}}),)
    job = Job("one", tmp_path, (spec(tmp_path / "run", probes=probes),), alone=True)
    read = jobs.read(job.write())
    assert read.alone and [probing.probe for probing in read.runs[0].probes] == ["accuracy_by_length"]
    assert read.runs[0].probes[0].options == {"splits": ["test"], "beside": {"b": ["where", 1]}}
    job.file.write_text("{}")
    with pytest.raises(ValueError, match=r"one.json is not a job; remove it"):
        jobs.read(job.file)


# ---- from plan to rows, whatever does the jobs --------------------------------------------------------------------


def test_trials_first_then_reports_at_the_best_value(tmp_path, capsys):
    grid = cells("a", tuning=Tuning((0.1, 0.2), extensions=0)) + cells("b")
    asked = study(tmp_path, grid)
    executor = Pretending(loss=lambda spec: spec.config["optimizer"]["learning_rate"])
    assert execute(asked, executor) == ({}, "")
    assert [name.split("-")[0:2] for name in executor.started] == [["a", "trial"], ["a", "seed0"], ["b", "seed0"]]
    assert not asked.plan().due and {due.tuned for due in asked.plan().runs if due.key.name == "a"} == {0.1, 0.2}
    said = capsys.readouterr().err
    assert "[1/6] a trial 0.1 seed 1000: 2 s" in said and "[6/6]" in said
    again = Pretending()
    assert execute(study(tmp_path, grid), again) == ({}, "") and again.started == []


def test_the_first_without_rows_has_failed_and_the_others_go_on(tmp_path, capsys):
    class Crashing(Pretending):
        def do(self, spec):
            if spec.name == "a seed 1":
                raise MemoryError("none left")
            super().do(spec)

    asked = study(tmp_path, cells("a", "b", seeds=3))
    outcome = execute(asked, Crashing())
    assert list(outcome.failed) == ["a seed 1"] and [due.key.seed for due in asked.plan().due] == [1]
    assert "MemoryError: none left; see " in outcome.failed["a seed 1"] and ".log" in outcome.failed["a seed 1"]
    assert "a seed 1: failed: MemoryError: none left" in capsys.readouterr().err


def test_a_run_without_its_text_names_the_command_s_option(tmp_path, capsys):
    class Offline(Pretending):
        def do(self, spec):
            raise ValueError("data.name = 'x' cannot be downloaded; point data.dir at a folder")

    outcome = execute(study(tmp_path, cells("a", seeds=1)), Offline())
    assert "cannot be downloaded; point --data at a folder; see " in outcome.failed["a seed 0"]
    assert "point --data at a folder" in capsys.readouterr().err


def test_success_is_rows_and_no_exit_status(tmp_path):
    class Empty(Pretending):
        def do(self, spec):
            pass

    outcome = execute(study(tmp_path, cells("a", seeds=1)), Empty())
    assert "exit status 0" in outcome.failed["a seed 0"]


def test_after_the_time_limit_nothing_more_starts(tmp_path, capsys):
    asked = study(tmp_path, cells("a", "b"))
    outcome = execute(asked, Pretending(), minutes=1e-9)
    assert outcome.stopped == "the time limit is reached" and outcome.failed == {} and asked.plan().due
    assert "the time limit is reached; nothing is saved" in capsys.readouterr().err
    assert sitting.close(asked, outcome) == 75  # try again later, to a scheduler
    assert "not finished (the time limit is reached); the same command goes on from here" in capsys.readouterr().err
    assert sitting.close(asked, execute(asked, Pretending())) == 0


def test_jobs_that_do_not_end_when_asked_are_named(tmp_path, capsys, monkeypatch):
    class Slow(Pretending):
        looks = 0

        def stop(self) -> str:
            return "saving what is running"

        def wait(self, seconds):
            self.looks += 1
            return super().wait(seconds) if self.looks == 3 else []

    monkeypatch.setattr(execute_module, "SILENT", 0.0)
    asked = study(tmp_path, cells("a", seeds=1))
    assert execute(asked, Slow(), minutes=1e-9).stopped
    said = capsys.readouterr().err
    assert said.count(" to save and end; Ctrl-C twice ends them by force") == 1


# ---- processes of this machine ------------------------------------------------------------------------------------


def ended(executor: Local, seconds: float = 600.0) -> str:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := executor.wait(1.0):
            return found[0].how
    raise AssertionError("the job did not end")


def until(path: Path) -> None:
    deadline = time.monotonic() + 600
    while not (path.exists() and path.stat().st_size):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_failure_a_stop_and_a_kill(tmp_path, monkeypatch):
    """Side by side, to start Python once: a probe that cannot be, after a run that can; and a long run, asked to stop
    in the middle, which saves; given again it goes on, and killed it says so."""
    monkeypatch.setattr(local, "PATIENCE", 30.0)
    fails = spec(tmp_path / "fails", task="parity", probes=(Probing("accuracy_by_distance"),))
    first = Job("first", tmp_path / "jobs", (spec(tmp_path / "good"), fails))
    values = {"steps": 100_000, "every__log": 5, "every__eval": 100_000, "every__save": 100_000}
    long = Job("long", tmp_path / "jobs", (spec(tmp_path / "long", **values),))
    executor = Local(2)
    executor.start([first, long])
    assert [job.name for job in executor.running] == ["first", "long"]
    mine, theirs = os.sched_getaffinity(0), [one.pid for _, one in executor._processes.values()]
    assert len(mine) == 1 or os.sched_getaffinity(theirs[0]).isdisjoint(os.sched_getaffinity(theirs[1]))

    assert "ValueError: accuracy_by_distance" in ended(executor)
    assert (tmp_path / "good" / "rows.json").exists() and first.left == [fails]
    assert "Traceback" in first.log.read_text() and "-- good: " in first.log.read_text()

    until(tmp_path / "long" / "metrics.jsonl")
    executor.stop()
    ended(executor)
    assert list((tmp_path / "long" / "checkpoints").iterdir()) and long.left

    executor.start([long])
    until(tmp_path / "long" / "metrics.jsonl")
    os.kill(executor._processes[0][1].pid, signal.SIGKILL)
    assert ended(executor) == "killed by signal 9 (SIGKILL)" and executor.running == []
    executor.close()


def test_a_job_ends_when_nobody_is_there_for_it_any_more(tmp_path):
    job = Job("long", tmp_path / "jobs", (spec(tmp_path / "long", steps=100_000),))
    started = process.start(job.write())
    started.stdin.close()
    assert started.wait(60) == -signal.SIGTERM or started.returncode == 128 + signal.SIGTERM


# ---- one run -------------------------------------------------------------------------------------------------------


def test_a_tuned_value_that_diverges_is_tried_and_not_chosen(tmp_path):
    diverging = {"optimizer__name": "sgd", "optimizer__learning_rate": 1e30, "optimizer__clip_norm": 0.0}
    trying = spec(tmp_path / "run", task="adding", steps=40, **diverging)
    with runs.compiled_in_haste():
        assert trial.run(Spec(**{**vars(trying), "columns": columns("run") | {"role": "tune", "tuned": 1e30}}))
        rows = trial.read(tmp_path / "run" / "rows.json")
        assert [(row["measure"], row["value"]) for row in rows] == [("best_loss", float("inf"))]
        with pytest.raises(FloatingPointError):
            trial.run(Spec(**{**vars(trying), "workdir": str(tmp_path / "reported")}))


def test_probes_on_the_way_survive_a_resumption(tmp_path):
    probes = (Probing("gradient_by_time", at=("start", "evaluations"), options={"examples": 8, "places": 2}),)
    with runs.compiled_in_haste():
        assert trial.run(spec(tmp_path / "run", probes=probes))
    rows = trial.read(tmp_path / "run" / "rows.json")
    steps = {row["step"] for row in rows if row["probe"] == "gradient_by_time"}
    assert steps == {0, 4, 8}
    path = tmp_path / "run" / "probes.jsonl"
    lines = path.read_text()
    path.write_text(lines + "\n" + lines.splitlines()[-1] + "\n" + '{"kind": "torn')
    notes = trial.Notes(path, probes)
    assert sorted({step for _, step, _ in notes.rows()}) == [0, 4, 8]
    notes.take(restored("copying", "rnn_decoder"), "evaluations")  # what comes after a torn line stands on its own
    assert sorted({step for _, step, _ in notes.rows()}) == [0, 4, 8]
    assert len(list(notes.rows())) == sum(row["probe"] == "gradient_by_time" for row in rows)


def test_a_run_began_when_it_was_first_started(tmp_path):
    began = trial.first_start(tmp_path)
    (tmp_path / "began.txt").write_text("2026-01-01T00:00:00+00:00")
    assert trial.first_start(tmp_path) == "2026-01-01T00:00:00+00:00" < began


@pytest.mark.processes
def test_hardware_that_is_not_there_is_said_once_before_any_job(monkeypatch):
    sitting._check_devices()
    monkeypatch.setenv("JAX_PLATFORMS", "nosuch")
    with pytest.raises(ValueError, match="JAX_PLATFORMS = 'nosuch' is not to be had on this machine; use cpu"):
        sitting._check_devices()
    monkeypatch.setattr(sitting, "ASK", "import os; os.abort()")
    with pytest.raises(ValueError, match="JAX_PLATFORMS = nosuch ends Python with status -6; use cpu, or unset it"):
        sitting._check_devices()
