"""A question from its command to its folder: what is finished stays, and mistakes overwrite nothing."""

import json
import re
import shutil
import sys
import types
from pathlib import Path

import pytest

import experiments.engine.results
from data import tfds_source
from experiments import figure, questions, run
from experiments.analysis import table
from experiments.engine import estimate, publish, schedule, sitting
from experiments.engine.results import Folders
from experiments.engine.study import Study
from experiments.page import answer
from experiments.questions import QUESTIONS, find
from experiments.questions.question import Probing, Run, Tuning
from tests.data.texts import write_multi30k
from tests.experiments.engine.in_process import InProcess

NAME = "long_range"


def words(folder: Path, *more: str) -> list[str]:
    return [NAME, "--scale=smoke", f"--runs={folder}/runs", f"--results={folder}/results", *more]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def answered(tmp_path_factory) -> Path:
    """A folder in which the question has been answered at its smoke scale."""
    folder = tmp_path_factory.mktemp("answered")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sitting, "Local", InProcess)
        assert run.main(words(folder, "--jobs=2")) == 0
    return folder


@pytest.fixture(autouse=True)
def in_process(monkeypatch):
    monkeypatch.setattr(sitting, "Local", InProcess)


@pytest.fixture
def copy(answered, tmp_path) -> Path:
    shutil.copytree(answered, tmp_path / "copy", ignore=shutil.ignore_patterns(".jax_cache"))
    return tmp_path / "copy"


def results(folder: Path) -> Path:
    return folder / "results" / NAME / "smoke"


def test_everything_is_there(answered):
    names = {path.name for path in results(answered).iterdir()}
    assert names == {"table.parquet", "table.csv", "figure.svg", "figure.png", "verdict.json", "commands.sh"}
    found = table.read(results(answered) / "table.parquet")
    grid = list(QUESTIONS[NAME].runs("smoke"))
    assert {(r, s) for r, s in zip(found["run"], found["seed"], strict=True)} == {(g.name, g.seed) for g in grid}
    assert {"num_params_non_embedding", "flops_per_token", "state_bytes", "late_gain", "token_accuracy"} <= set(
        found["measure"]
    )
    assert (
        set(found["version"]) == {QUESTIONS[NAME].VERSION}
        and all(found["commit"])
        and all(found["config"])
        and set(found["text"]) == {"{}"}
    )
    assert set(json.loads(found["trees"][0])) == {"data", "models", "training", "experiments"}
    verdict = json.loads((results(answered) / "verdict.json").read_text())
    assert {finding["claim"] for finding in verdict["findings"]} >= {"C1", "C3", "C3, bias", "C7"}
    assert verdict["statement"]["thresholds"] == QUESTIONS[NAME].THRESHOLDS and "commit" in verdict["statement"]
    commands = (results(answered) / "commands.sh").read_text()
    assert commands.count("python train.py --config=configs/recall.py:") == len(grid)


def forbid(monkeypatch):
    def refuse(*_):
        raise AssertionError("nothing is left to run")

    monkeypatch.setattr(sitting, "Local", refuse)


def test_what_is_finished_is_not_run_again(copy, monkeypatch):
    forbid(monkeypatch)
    before = contents(results(copy))
    assert run.main(words(copy)) == 0
    assert contents(results(copy)) == before


def test_a_committed_table_counts_in_a_fresh_clone(copy, monkeypatch):
    forbid(monkeypatch)
    shutil.rmtree(copy / "runs")
    assert run.main(words(copy)) == 0


def test_figure_and_verdict_come_from_the_table_alone_and_the_table_from_the_runs_alone(copy, capsys, monkeypatch):
    before = contents(results(copy))
    for name in ("figure.svg", "figure.png", "verdict.json"):
        (results(copy) / name).unlink()
    without_runs = copy / "runs-elsewhere"
    (copy / "runs").rename(without_runs)
    assert figure.main(words(copy)) == 0
    said = capsys.readouterr().out
    assert "no verdict" in said and " p " not in said and "seeds" in said  # it is of the smoke scale
    with monkeypatch.context() as flawed:
        flawed.setattr(QUESTIONS[NAME], "UNDER_REVIEW", "too few seeds")
        assert "under review: too few seeds" in publish.said(QUESTIONS[NAME], "cpu", [])
    assert contents(results(copy)) == before
    shutil.rmtree(results(copy))
    assert figure.main([*words(copy), f"--runs={without_runs}"]) == 0
    again = table.read(results(copy) / "table.parquet")
    assert len(again) == sum(1 for _ in before[str(results(copy) / "table.csv")].splitlines()) - 1


def test_the_committed_table_is_drawn_wherever_it_is_asked_for(copy, monkeypatch):
    monkeypatch.setattr(experiments.engine.results, "PUBLISHED", copy / "published")
    (copy / "results").rename(copy / "published")
    shutil.rmtree(copy / "runs")
    assert figure.main(words(copy)) == 0
    committed = copy / "published" / NAME / "smoke" / "table.parquet"
    assert (results(copy) / "table.parquet").read_bytes() == committed.read_bytes()


def test_a_fuller_table_is_not_replaced_by_what_the_runs_give(copy):
    shutil.rmtree(next((copy / "runs" / NAME / "smoke").glob("recall-tanh-rnn-seed1-*")))
    before = contents(results(copy))
    assert figure.main(words(copy)) == 0
    assert contents(results(copy)) == before


def test_a_table_with_runs_that_no_longer_count_is_kept(copy):
    everything = table.read(results(copy) / "table.parquet")
    less = everything.query("seed == 0")
    assert publish.write_table(everything, results(copy)) is None
    aside = publish.write_table(less, results(copy))
    assert aside and len(table.read(aside)) == len(everything)
    assert len(table.read(results(copy) / "table.parquet")) == len(less)
    table.write(everything, results(copy))
    again = publish.write_table(less, results(copy))
    assert again and again != aside and aside.exists()


def test_other_questions_to_the_probes_are_another_folder():
    folders = Folders.of(NAME, "smoke", Path("runs"), Path("results"))
    one = schedule.assumed(QUESTIONS[NAME], next(iter(QUESTIONS[NAME].runs("smoke"))))
    asked = [folders.run(one._replace(probes=probes)) for probes in ((), (Probing("exposure"),), ())]
    assert asked[0] == asked[2] != asked[1]


def test_only_what_is_missing_is_run(copy, monkeypatch, capfd):
    gone = next((copy / "runs" / NAME / "smoke").glob("recall-tanh-rnn-seed1-*"))
    shutil.rmtree(gone)
    shutil.rmtree(copy / "results")
    assert run.main(words(copy)) == 0
    said = capfd.readouterr().err
    assert "[1/1] recall-tanh-rnn seed 1" in said


def change(path: Path, name: str, value: str) -> None:
    """Sets a column of a written table."""
    there = table.read(path)
    there[name] = value
    table.write(there, path.parent)


def test_a_table_of_another_version_runs_again_and_is_kept(copy, capsys, monkeypatch):
    shutil.rmtree(copy / "runs")
    path = results(copy) / "table.parquet"
    before = path.read_bytes()
    monkeypatch.setattr(QUESTIONS[NAME], "VERSION", 3)
    assert run.main(words(copy, "--dry-run")) == 0
    said = capsys.readouterr()
    assert "recall-tanh-rnn seed 0 was made with version = 2, now 3, and 3 more; they run again" in said.err
    assert "4 runs to do" in said.out and "by recorded runs" in said.out
    with pytest.raises(SystemExit) as stopped:
        figure.main(words(copy))
    said = capsys.readouterr().err
    assert stopped.value.code == 2 and said.count("\n") == 1 and "was made with version = 2, now 3" in said
    assert path.read_bytes() == before
    monkeypatch.undo()
    change(path, "commit", "of another code")
    change(path, "probes", json.dumps([["accuracy_by_distance", ["end"], {"limit": 9}]]))
    assert run.main(words(copy, "--dry-run")) == 0
    assert "was made with probes = [[" in capsys.readouterr().err


def test_run_anew_it_is_compared_to_the_committed_table(copy, monkeypatch, capsys):
    """`--fresh` counts nothing that is finished, leaves it as it is, and goes on where it was stopped."""
    published = copy / "published" / NAME / "smoke"
    everything = table.read(results(copy) / "table.parquet")
    monkeypatch.setattr(experiments.engine.results, "PUBLISHED", copy / "published")
    one = (everything["measure"] == "best_loss") & (everything["run"] == "recall-tanh-rnn")
    everything.loc[one, "value"] = 100.0
    table.write(everything, published)
    before = contents(copy / "results"), contents(copy / "published")
    assert run.main(words(copy, "--fresh", "--only=system=tanh RNN", "--jobs=2")) == 0
    said = capsys.readouterr().out
    assert "moved: recall-tanh-rnn: best_loss step 4: 100 [100, 100] -> " in said and said.count("moved: ") == 1
    assert "\n1 of " in said and "everything runs; there is no verdict" in said
    assert run.main(words(copy, "--fresh")) == 0  # the rest
    assert capsys.readouterr().err.count("] recall-") == 2
    forbid(monkeypatch)
    assert run.main(words(copy, "--fresh")) == 0
    anew = [copy / where / NAME / "smoke" / "fresh" for where in ("runs", "results")]
    said = capsys.readouterr().err
    assert f"every run is finished, in {anew[0]} (to run them again, remove {anew[0]} and {anew[1]})" in said
    assert run.main(words(copy, "--fresh", "--dry-run")) == 0
    assert "--fresh" not in said + capsys.readouterr().out
    assert contents(copy / "published") == before[1]
    table.write(everything.assign(version=everything["version"] - 1), published)
    assert run.main(words(copy, "--fresh")) == 0
    said = capsys.readouterr().out
    assert re.search(r"the committed table is of version (\d) and these runs of version (?!\1)\d: they are not", said)
    assert "moved" not in said
    now = contents(copy / "results")
    assert {path: now[path] for path in before[0]} == before[0]
    assert (results(copy) / "fresh" / "figure.png").exists()


def test_committed_rows_count_beside_ones_own(copy, monkeypatch):
    """What a later pull brings counts, though there is a smaller table of one's own."""
    everything = table.read(results(copy) / "table.parquet")
    monkeypatch.setattr(experiments.engine.results, "PUBLISHED", copy / "published")
    table.write(everything.query("seed == 1"), copy / "published" / NAME / "smoke")
    table.write(everything.query("seed == 0"), results(copy))
    shutil.rmtree(copy / "runs")
    forbid(monkeypatch)
    assert run.main(words(copy)) == 0


def test_committed_rows_of_a_version_that_is_still_being_run_count_and_show_nothing(copy, monkeypatch):
    monkeypatch.setattr(experiments.engine.results, "PUBLISHED", copy / "published")
    there = copy / "published" / NAME / "smoke"
    there.mkdir(parents=True)
    (results(copy) / "table.parquet").rename(there / "unfinished.parquet")
    shutil.rmtree(copy / "runs")
    shutil.rmtree(copy / "results")
    old = table.read(there / "unfinished.parquet").assign(version=0)
    table.write(old, there)
    assert experiments.engine.results.Folders.of(NAME, "smoke", copy / "runs", copy / "results").tables() == [
        there / "table.parquet"
    ]
    forbid(monkeypatch)
    assert run.main(words(copy)) == 0
    assert (results(copy) / "verdict.json").is_file()


def test_trials_alone_are_kept_for_the_next_sitting_and_show_nothing(tmp_path, monkeypatch, capsys):
    small = {"steps": 4, "schedule.warmup_steps": 0, "every.eval": 4, "eval_examples": 32, "data.val_examples": 32}
    cell = Run("configs/temporal_order.py:rnn_decoder", {"system": "tanh RNN"}, overrides=small, tuning=Tuning((1e-3,)))
    tuned = types.SimpleNamespace(VERSION=1, PROBES=(), UNDER_REVIEW="", runs=lambda scale: [cell])
    monkeypatch.setattr(questions, "NAMES", (*questions.NAMES, "tuned"))
    monkeypatch.setitem(sys.modules, "experiments.questions.tuned", tuned)
    argv, start = ["tuned", *words(tmp_path)[1:]], InProcess.start
    monkeypatch.setattr(
        InProcess, "start", lambda self, jobs: start(self, [one for one in jobs if "trial" in one.name])
    )
    assert run.main(argv) == sitting.UNFINISHED
    assert "1 run is not finished" in capsys.readouterr().err
    written = tmp_path / "results/tuned/smoke"
    assert {path.name for path in written.iterdir()} == {"table.parquet", "table.csv", "commands.sh"}

    shutil.rmtree(tmp_path / "runs")
    study = Study(tuned, "tuned", "smoke", Folders.of("tuned", "smoke", tmp_path / "runs", tmp_path / "results"))
    assert [(due.role, due.tuned) for due in study.plan().due] == [(schedule.REPORT, 1e-3)]
    assert answer.find("tuned", tuned, "smoke", tmp_path / "results") is None
    with pytest.raises(SystemExit) as stopped:
        figure.main(argv)
    assert stopped.value.code == 2 and "trials of tuned values alone" in capsys.readouterr().err


def test_a_table_of_another_question_is_not_drawn(copy, capsys):
    shutil.rmtree(copy / "runs")
    change(results(copy) / "table.parquet", "run", "something-else")
    before = contents(copy)
    with pytest.raises(SystemExit) as stopped:
        figure.main(words(copy))
    said = capsys.readouterr().err
    assert stopped.value.code == 2 and "has no run of long_range at scale smoke" in said and said.count("\n") == 1
    assert contents(copy) == before


def test_a_verdict_that_cannot_be_given_leaves_the_figure_alone(copy, monkeypatch):
    def fail(_):
        raise ValueError("no verdict")

    monkeypatch.setattr(QUESTIONS[NAME], "verdict", fail)
    (results(copy) / "figure.svg").write_text("as it was")
    with pytest.raises(SystemExit):
        figure.main(words(copy))
    assert (results(copy) / "figure.svg").read_text() == "as it was"


def test_a_table_of_another_config_is_not_drawn(copy, capsys):
    shutil.rmtree(copy / "runs")
    path = results(copy) / "table.parquet"
    config = json.loads(table.read(path)["config"][0])
    change(path, "config", json.dumps({**config, "steps": 9}))
    before = contents(copy)
    with pytest.raises(SystemExit) as stopped:
        figure.main(words(copy))
    said = capsys.readouterr().err
    assert stopped.value.code == 2 and said.count("\n") == 1
    assert "was made with seed" in said or "was made with steps = 9, now" in said and "of another version" in said
    assert contents(copy) == before


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["long_rang"], "question = 'long_rang' is not known; did you mean long_range?"),
        ([NAME, "--scale=huge"], "--scale"),
        (["--scale=smoke"], "--scale=smoke needs a question; name one of long_range"),
        (
            [NAME, "--scale=smoke", "--dry-run", "--runs=a[b]"],
            "the path holds [ and ], and checkpoints there cannot be",
        ),
        ([NAME, "--jobs=0"], "--jobs = 0 is not a number of processes"),
        (
            [NAME, "--scale=smoke", "--data=nowhere/at/all"],
            "--data = nowhere/at/all is not a folder; give the one that holds the text",
        ),
        ([NAME, "--scale=smoke", "--data=."], "--data = .: none of these runs reads text; leave it out"),
        ([NAME, "--scale=smoke", "--only=lstm"], "--only = lstm matches no run; there are recall-tanh-rnn"),
    ],
)
def test_mistakes_are_one_line(argv, said, capsys, tmp_path):
    with pytest.raises(SystemExit) as stopped:
        run.main([*argv, *[f"--runs={tmp_path}/runs"] * ("--dry-run" not in argv), f"--results={tmp_path}/results"])
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and said in error and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_text_that_is_not_to_be_had_ends_with_this_command_s_option(capsys, tmp_path, monkeypatch):
    def prepared(name, folder):
        raise ValueError(f"data.name = {name!r} cannot be downloaded here; {tfds_source._elsewhere(name)}")

    monkeypatch.setattr(tfds_source, "prepared", prepared)
    with pytest.raises(SystemExit) as stopped:
        run.main(["head_count", *words(tmp_path, "--only=task=multi30k", "--dry-run")[1:]])
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and error.count("\n") == 1 and "data.dir" not in error
    assert "point --data at a folder that holds train.de.gz" in error


def test_a_missing_table(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        figure.main(words(tmp_path))
    assert stopped.value.code == 2 and "table.parquet is not there" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_table_that_is_none(tmp_path, capsys):
    results(tmp_path).mkdir(parents=True)
    (results(tmp_path) / "table.parquet").write_text("mine")
    for main in (run.main, figure.main):
        with pytest.raises(SystemExit) as stopped:
            main(words(tmp_path))
        assert stopped.value.code == 2 and "is not a table of results" in capsys.readouterr().err
    assert contents(tmp_path) == {str(results(tmp_path) / "table.parquet"): b"mine"}


def test_a_dry_run_lists_and_starts_nothing(tmp_path, capsys, monkeypatch):
    forbid(monkeypatch)
    assert run.main(words(tmp_path, "--dry-run")) == 0
    said = capsys.readouterr().out
    assert "4 runs to do" in said and "recall-tanh-rnn" in said and estimate.BY_COMMITTED in said
    assert "trials" not in said  # there are none at smoke
    assert list(tmp_path.iterdir()) == []


def test_the_questions_are_listed(capsys):
    assert run.main([]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(QUESTIONS)


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> Path:
    """Made-up text in the files of Multi30k."""
    return write_multi30k(tmp_path_factory.mktemp("text") / "multi30k")


@pytest.mark.parametrize("name", sorted(set(QUESTIONS) - {NAME}))
def test_every_question_is_answered_at_its_smoke_scale(name, tmp_path, text, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # where tokenizers go
    on_text = any(schedule.reads_text(one.config) for one in QUESTIONS[name].runs("smoke"))
    more = [f"--data={text}"] if on_text else []
    assert run.main([name, *words(tmp_path, "--jobs=2", *more)[1:]]) == 0
    written = tmp_path / "results" / name / "smoke"
    found = table.read(written / "table.parquet")
    grid = list(QUESTIONS[name].runs("smoke"))
    assert {(r, s) for r, s in zip(found["run"], found["seed"], strict=True)} == {(g.name, g.seed) for g in grid}
    assert json.loads((written / "verdict.json").read_text())["findings"]
    assert (written / "figure.png").stat().st_size > 3_000


@pytest.mark.parametrize("name", sorted(QUESTIONS))
def test_every_question_states_what_it_asks(name):
    from experiments.engine import statement

    question = find(name)
    assert statement.stated(Path(question.__file__).read_text())["CLAIM"] == question.CLAIM
