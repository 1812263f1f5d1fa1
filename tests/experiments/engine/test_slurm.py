"""Jobs on a real Slurm, of one machine: `.ci/slurm` starts it. What can be told without one is told without one."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest
import submitit  # here: importing it configures logging, which closes what a test's capsys has put aside

from experiments.engine import slurm, supervise, trial
from experiments.engine.execute import execute
from experiments.engine.jobs import Job
from experiments.engine.results import Folders
from experiments.engine.slurm import Slurm
from experiments.engine.study import Study
from experiments.engine.trial import Spec
from experiments.questions.question import Probing, Run, Tuning
from tests.training import runs
from tests.training.processes import ROOT
from training.command.cli import Parser
from training.run.restore import restore
from training.step import params

SMALL = {"steps": 4, "schedule.warmup_steps": 0, "every.eval": 4, "eval_examples": 32, "data.val_examples": 32}
WANTED = {"minutes": 10, "parallel": 2}
WAIT = 600  # seconds


@pytest.fixture
def cluster(monkeypatch):
    """Skips where no Slurm answers."""
    asked = subprocess.run(["sinfo", "-h"], capture_output=True, check=False) if shutil.which("sinfo") else None
    if asked is None or asked.returncode or not asked.stdout:
        pytest.skip("no Slurm answers; as root on Debian, export SLURM_CONF=$(.ci/slurm) starts one of this machine")
    monkeypatch.setattr(slurm, "LOOK", 0.3)
    monkeypatch.setattr(slurm, "GRACE", 1.0)


def until(condition, what: str) -> None:
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def columns(name: str) -> dict[str, object]:
    """What a row says of its run."""
    return {"run": name, "role": "report", "seed": 0, "config": "{}", "probes": "[]"}


def spec(folder: Path, **values) -> Spec:
    config = runs.config("copying", "rnn_decoder", **values).to_dict()
    return Spec(folder.name, str(folder), config, columns(folder.name), in_haste=True)


def losses(folder: Path, kind: str = "train") -> list[tuple[int, float]]:
    rows = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [(row["step"], row["loss"]) for row in rows if row["kind"] == kind]


def test_two_waves_with_a_failure_that_costs_itself(cluster, tmp_path):
    """Reports wait for their trials; a probe that cannot be is named with its log, which is the process's own."""
    tuning = Tuning((1e-3,), extensions=0)
    grid = [Run("configs/temporal_order.py:rnn_decoder", {"system": "good"}, overrides=SMALL, tuning=tuning)]
    grid.append(Run("configs/parity.py:rnn_decoder", {"system": "bad"}, overrides=SMALL))
    asked = types.SimpleNamespace(VERSION=1, PROBES=(Probing("accuracy_by_distance"),), runs=lambda scale: grid)
    study = Study(asked, "asked", "smoke", Folders(tmp_path / "runs", tmp_path / "results", None))
    outcome = execute(study, Slurm(tmp_path / "runs" / "jobs", WANTED))
    (bad,) = outcome.failed.values()
    assert list(outcome.failed) == ["bad seed 0"] and "answers of parity have no distance" in bad
    assert "Traceback" in Path(bad.rpartition("; see ")[2]).read_text()
    done, table = study.table()
    assert [due.role for due in done] == ["tune", "report"] and set(table["role"]) == {"tune", "report"}
    ids = [json.loads(path.read_text())["id"] for path in (tmp_path / "runs/jobs").glob("good*.slurm")]
    assert len({number.split("_")[0] for number in ids}) == 2  # one wave, then another


def test_a_run_is_left_adopted_requeued_and_ends_as_if_nothing_had_been(cluster, tmp_path, capsys, monkeypatch):
    long = {"steps": 2000, "every__log": 20, "every__eval": 1000, "every__save": 1000}
    mine = spec(tmp_path / "mine", **long)
    job = Job("long", tmp_path / "jobs", (mine,))
    study = types.SimpleNamespace(
        plan=lambda: types.SimpleNamespace(due=[] if mine.rows.exists() else [mine], waiting=[]),
        workdir=lambda one: one.workdir,
        clock=types.SimpleNamespace(total=lambda due: 1.0),
        jobs=lambda due, slots: [job] if due else [],
    )
    left = Slurm(job.folder, WANTED)
    monkeypatch.setattr(left, "wait", lambda seconds: os.kill(os.getpid(), signal.SIGINT) or [])  # Ctrl-C
    assert execute(study, left).stopped == "stopped as asked"
    assert "1 job goes on in Slurm; the same command comes back to them" in capsys.readouterr().err

    again = Slurm(job.folder, WANTED)
    assert [one.name for one in again.running] == ["long"]
    metrics = tmp_path / "mine" / "metrics.jsonl"
    until(lambda: metrics.exists() and metrics.stat().st_size, "it does not train")
    number = json.loads((job.folder / "long.slurm").read_text())["id"]
    subprocess.run(["scancel", "--signal=USR2", number], check=True)  # as before a time limit
    assert execute(study, again) == ({}, "")  # it never left the queue
    log = job.log.read_text()
    assert "as asked, and saved" in log and log.count("-- mine") == 2

    with runs.compiled_in_haste():
        assert trial.run(spec(tmp_path / "other", **long))
    one, other = (params.flatten(restore(tmp_path / name, "best").model) for name in ("mine", "other"))
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])
    assert losses(tmp_path / "mine", "val") == losses(tmp_path / "other", "val")


def test_a_cancelled_job_leaves_its_run_to_a_later_start(cluster, tmp_path):
    job = Job("long", tmp_path / "jobs", (spec(tmp_path / "run", steps=1_000_000, every__save=100_000),), alone=True)
    executor = Slurm(job.folder, WANTED)
    assert executor.cancel() == "no job of these runs is in Slurm"
    executor.start([job])
    until(lambda: job.log.exists(), "it does not start")
    number = json.loads((job.folder / "long.slurm").read_text())["id"]
    shown = subprocess.run(["scontrol", "show", "job", number], capture_output=True, text=True, check=True).stdout
    assert "OverSubscribe=NO" in shown  # it measures time: a node of its own
    assert Slurm(job.folder, WANTED).cancel() == "cancelled 1 jobs"
    ended = []
    until(lambda: ended.extend(executor.wait(0)) or ended, "it does not end")
    assert job.left and executor.running == [] and Slurm(job.folder, WANTED).running == []


@pytest.mark.parametrize("handed_over", [True, False])
def test_a_start_that_was_killed_after_submitting_is_followed_by_one_that_submits_nothing_twice(
    cluster, tmp_path, monkeypatch, handed_over
):
    """What submitit had not given its work yet is cancelled, since that would wait for it in vain."""
    endless = {"steps": 1_000_000, "every__save": 100_000}
    wave = [Job(name, tmp_path / "jobs", (spec(tmp_path / name, **endless),)) for name in ("one", "other")]
    submit, hand_over = submitit.SlurmExecutor.map_array, "submitit.core.utils.JobPaths.move_temporary_file"
    with monkeypatch.context() as killed:
        if handed_over:
            killed.setattr(submitit.SlurmExecutor, "map_array", lambda *given: (submit(*given), die()))
        else:
            killed.setattr(hand_over, lambda *given, **more: die())
        with pytest.raises(Killed):
            Slurm(tmp_path / "jobs", WANTED).start(wave)
    again = Slurm(tmp_path / "jobs", WANTED)
    assert [job.name for job in again.running] == (["one", "other"] if handed_over else [])
    again.cancel()
    until(lambda: not Slurm(tmp_path / "jobs", WANTED).running and not slurm.queued(), "they do not end")


class Killed(BaseException):
    """In place of SIGKILL."""


def die():
    raise Killed


def test_two_processes_by_srun_have_the_losses_of_one(cluster, tmp_path):
    """Under sbatch with two tasks: the plain command is one process, by srun it is two."""
    values = {**SMALL, "every.log": 1, "batch_size": 16, "wandb.mode": "disabled", "model.hidden_size": 8}
    flags = " ".join(f"--config.{key}={value}" for key, value in values.items())
    train = f"{sys.executable} train.py --config=configs/temporal_order.py:rnn_decoder {flags}"
    script = f"{train} --workdir={tmp_path}/plain && srun {train} --workdir={tmp_path}/both"
    submit = ["sbatch", "--wait", "--ntasks=2", f"--chdir={ROOT}", f"--output={tmp_path}/log", f"--wrap={script}"]
    done = subprocess.run(submit, capture_output=True, text=True, timeout=WAIT)
    log = (tmp_path / "log").read_text()
    assert done.returncode == 0 and "1 x cpu" in log and "2 x cpu" in log, log
    np.testing.assert_allclose(losses(tmp_path / "plain"), losses(tmp_path / "both"), rtol=1e-5)


# ---- without a cluster ---------------------------------------------------------------------------------------------


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """A folder of programs that stand for Slurm's: squeue tells what the file `queue` holds, scancel notes what it was
    told in `cancelled`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, does in (
        ("sbatch", "echo Submitted batch job 7"),
        ("srun", "true"),
        ("squeue", f"cat {folder}/queue"),
        ("scancel", f"echo $* >> {folder}/cancelled"),
    ):
        pretend(folder, name, does)
    (folder / "queue").write_text("")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr(slurm, "LOOK", 0.01)
    return folder


def pretend(folder: Path, name: str, does: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{does}\n")
    (folder / name).chmod(0o755)


REFUSES = "echo slurm_load_jobs error: Unable to contact slurm controller >&2; exit 1"


@pytest.mark.parametrize(("does", "said"), [(REFUSES, "Unable to contact"), ("exec sleep 60", "took more than 0 s")])
def test_a_queue_that_does_not_answer_is_told_and_given_up_in_one_line(
    commands, tmp_path, monkeypatch, capsys, does, said
):
    pretend(commands, "squeue", does)
    monkeypatch.setattr(slurm, "PATIENCE", 0.1)
    monkeypatch.setattr(slurm, "ANSWER", 0.2)
    with pytest.raises(OSError, match="squeue has not answered for .* the same command comes back to it") as error:
        Slurm(tmp_path / "jobs", WANTED)
    assert said in str(error.value) and "\n" not in str(error.value)
    assert capsys.readouterr().err.count("waiting for squeue") == 1


def test_a_queue_that_answers_again_has_cost_nothing(commands, tmp_path, capsys):
    executor = Slurm(tmp_path / "jobs", WANTED)
    executor.start([Job("one", tmp_path / "jobs", (spec(tmp_path / "run"),))])
    pretend(commands, "squeue", REFUSES)
    assert [executor.wait(0), executor.wait(0)] == [[], []] and [job.name for job in executor.running] == ["one"]
    assert capsys.readouterr().err.count("waiting for squeue") == 1
    (commands / "queue").write_text("7 longreach\n")
    pretend(commands, "squeue", f"cat {commands}/queue")
    assert executor.wait(0) == [] and len(executor.running) == 1


def test_a_job_that_was_submitted_but_not_noted_is_found_by_the_name_of_its_wave(commands, tmp_path):
    jobs = [Job(name, tmp_path / "jobs", (spec(tmp_path / name),)) for name in ("one", "other", "third")]
    for place, job in enumerate(jobs):
        job.write()
        (tmp_path / "jobs" / f"{job.name}.slurm").write_text(json.dumps({"wave": "longreach-1", "place": place}))
    (tmp_path / "jobs" / "submitit").mkdir()
    for number in ("7_0", "7_1", "8_2"):
        (tmp_path / "jobs" / "submitit" / f"{number}_submitted.pkl").touch()
    (commands / "queue").write_text("7_0 longreach-1\n7_1 longreach-1\n8_2 longreach-2\n")
    assert [job.name for job in Slurm(tmp_path / "jobs", WANTED).running] == ["one", "other"]
    (tmp_path / "jobs" / "submitit" / "7_1_submitted.pkl").unlink()  # it would wait for what it is to do
    assert [job.name for job in Slurm(tmp_path / "jobs", WANTED).running] == ["one"]
    assert (commands / "cancelled").read_text() == "7_1\n"


def test_no_more_jobs_than_an_array_may_have(commands, tmp_path, monkeypatch):
    monkeypatch.setattr(slurm, "ARRAY", 2)
    jobs = [Job(name, tmp_path / "jobs", (spec(tmp_path / name),)) for name in ("one", "other", "third")]
    executor = Slurm(tmp_path / "jobs", WANTED)
    executor.start(jobs)
    executor.start(jobs[2:])  # there is no room yet
    assert [job.name for job in executor.running] == ["one", "other"]
    executor.running.clear()
    executor.start(jobs[2:])
    assert [job.name for job in executor.running] == ["third"]


def test_no_progress_within_the_time_limit_is_not_tried_again(tmp_path, monkeypatch):
    job = Job("one", tmp_path / "jobs", (spec(tmp_path / "run"),))
    asleep = [sys.executable, "-c", "import time; time.sleep(60)"]

    def start(file):
        os.kill(os.getpid(), signal.SIGUSR2)  # which is taken once the job's process is there
        return subprocess.Popen(asleep)

    monkeypatch.setattr(supervise.process, "start", start)
    before = {number: signal.getsignal(number) for number in (signal.SIGUSR2, signal.SIGTERM, signal.SIGINT)}
    try:
        with pytest.raises(SystemExit) as ended:
            supervise.supervise(str(job.write()))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert ended.value.code == 1 and "give more minutes" in job.log.read_text()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("partition = 'gpu'", "minutes is missing; give the time limit of a job, such as minutes = 240"),
        ("minutes = 240\npartitoin = 'gpu'", "key = 'partitoin' is not known; did you mean partition?"),
        ("minutes = 'long'", "minutes = 'long' is not a whole number above 0"),
        ("minutes = 0", "minutes = 0 is not a whole number above 0"),
        ("minutes = 2", "minutes = 2 is too few; a run saves 120 s before the limit"),
        ("minutes =", "is not TOML"),
        ("minutes = 240\ncpus = -1", "cpus = -1 is below 0; use a positive number"),
        ("minutes = 240\nsetup = [1]", "setup = [1] is not plain text"),
        ('minutes = 240\npartition = "a\\nb"', "is not plain text; give words without line ends"),
    ],
)
def test_a_file_that_asks_for_what_cannot_be(text, said, tmp_path):
    (tmp_path / "here.toml").write_text(text)
    with pytest.raises(ValueError, match=r"here.toml") as error:
        slurm.settings(tmp_path / "here.toml")
    assert said in str(error.value) and "\n" not in str(error.value)


def test_a_file_that_does_not_say_its_job(tmp_path, monkeypatch):
    monkeypatch.setattr(slurm, "queued", dict)
    monkeypatch.setattr(slurm.shutil, "which", lambda name: name)
    (tmp_path / "one.slurm").write_text("")
    with pytest.raises(ValueError, match="one.slurm does not say which job it is of"):
        Slurm(tmp_path, WANTED)


def test_what_is_missing_is_said(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="nowhere.toml is not a file"):
        slurm.settings(tmp_path / "nowhere.toml")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match="there is no sbatch here"):
        Slurm(tmp_path, WANTED)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--cluster=slurm"], "--cluster=slurm and --slurm=FILE.toml go together"),
        (["--slurm=a.toml"], "--cluster=slurm and --slurm=FILE.toml go together"),
        (["--cluster=slurm", "--slurm=a.toml", "--jobs=2"], "--jobs = 2 is of this machine; set parallel in a.toml"),
        (["--cancel"], "--cancel is of jobs in Slurm"),
        (["--jobs=99999"], "--jobs = 99999 is more than this machine can serve; use"),
    ],
)
def test_options_that_do_not_go_together(argv, said, capsys):
    from experiments.engine import sitting

    parser = Parser("a command", "")
    sitting.add_options(parser)
    with pytest.raises(SystemExit) as stopped:
        sitting.check(parser, parser.parse_args(argv))
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and said in error and error.count("\n") == 1
