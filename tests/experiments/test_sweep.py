"""An ablation from one command line: what runs, what comes out, and mistakes that are one line."""

import csv
import json
import re

import pytest

import data
from experiments import sweep
from experiments.analysis import table
from experiments.engine import ablation, sitting, version
from experiments.engine.results import Folders
from experiments.engine.study import Study
from experiments.engine.trial import Spec
from tests.experiments.engine.in_process import InProcess, Pretending, write_rows
from tests.training.processes import write_text

RECALL = "configs/recall.py"
TINY = {"steps": 4, "every.eval": 4, "eval_examples": 32, "batch_size": 16, "model.num_layers": 1}
TINY |= {"data.val_examples": 32, "data.test_examples": 32}
FEW = [f"--config.{key}={value}" for key, value in TINY.items()]


class Trained(Pretending):
    """Pretends that more heads are better, as seeds are."""

    def do(self, spec: Spec) -> None:
        self.seen = getattr(self, "seen", [])
        self.seen.append(spec)
        heads, rate = spec.config["model"].get("num_heads", 1), spec.config["optimizer"]["learning_rate"]
        loss = abs(rate - 2e-3) * 100 + 1 / heads + spec.config["seed"] * 0.01
        sizes = {"num_params": 2000.0, "num_params_non_embedding": 1000.0}
        write_rows(spec, {"best_loss": loss, "training_seconds": 60.0, "compile_seconds": 0.0, **sizes})


@pytest.fixture
def trained(monkeypatch):
    executor = Trained()
    monkeypatch.setattr(sitting, "Local", lambda slots: executor)
    return executor


def results(folder):
    """Of the newest sweep."""
    return max(folder.glob("results-????????"), key=lambda path: path.stat().st_mtime_ns)


def summary(folder):
    with (results(folder) / "summary.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_combination_and_seed_is_run_and_shown(tmp_path, trained, capsys):
    vary = ["--vary=model.num_heads=1,2,4", "--vary=model.positions=rotary,learned"]
    argv = [f"--config={RECALL}:transformer", *vary, "--seeds=2", f"--runs={tmp_path}", "--config.model.num_layers=1"]
    assert sweep.main(argv) == 0
    assert len(trained.seen) == 12 and {spec.config["model"]["num_layers"] for spec in trained.seen} == {1}
    names = {spec.config["wandb"]["name"] for spec in trained.seen}
    assert "num_heads=4,positions=rotary" in names and len(names) == 6
    (group,) = {spec.config["wandb"]["group"] for spec in trained.seen}
    assert re.fullmatch("recall-transformer-by-num_heads-positions-[0-9a-f]{6}", group)  # a value is set for all
    rows = summary(tmp_path)
    assert [(row["num_heads"], row["positions"], row["seeds"]) for row in rows][:3] == [
        ("1", "rotary", "2"),
        ("1", "learned", "2"),
        ("2", "rotary", "2"),
    ]
    assert float(rows[0]["loss"]) == pytest.approx(1.005) and float(rows[0]["low"]) < 1.0 < float(rows[0]["high"])
    assert {path.name for path in results(tmp_path).iterdir()} == {
        *("table.parquet", "table.csv", "summary.csv", "figure.png", "figure.svg", "index.html", "commands.sh")
    }
    assert set(table.read(results(tmp_path) / "table.parquet")["num_heads"]) == {1.0, 2.0, 4.0}
    again = "python -m experiments.sweep --config=configs/recall.py:transformer --vary=model.num_heads=1,2,4"
    page = (results(tmp_path) / "index.html").read_text()
    assert again in page and again in (results(tmp_path) / "commands.sh").read_text()
    assert "<svg" in page and not re.search(r"(?:src|href)=.https?:", page.replace("xlink:href=", ""))
    assert "verdict" not in capsys.readouterr().out


DAMAGE = (b"", b"null", b"[]", b"\xff\xfe", b'{"format": ', b'{"format": 1}', b"[" * 99_999)


def test_rows_that_are_damaged_are_made_again(tmp_path, trained):
    """A run whose rows are there and cannot be read is due; it runs once, not for ever."""
    argv = [f"--config={RECALL}:transformer", "--vary=model.num_heads=1,2", "--seeds=1", f"--runs={tmp_path}"]
    assert sweep.main(argv) == 0
    first = summary(tmp_path)
    path = next(tmp_path.glob("*/rows.json"))
    whole = json.loads(path.read_text())
    odd = [
        json.dumps(whole | change).encode()
        for change in (
            {"measurements": [None]},
            {"measurements": [["run", 1, 2, "x", None, "", 1]]},
            {"run": []},
            {"fields": "x"},
        )
    ]
    for number, content in enumerate((*DAMAGE, *odd), start=1):
        path.write_bytes(content)
        for table_of in tmp_path.glob("results-*/table.parquet"):
            table_of.unlink()
        assert sweep.main(argv) == 0
        assert len(trained.seen) == 2 + number and summary(tmp_path) == first
        assert path.with_name("rows.before.json").read_bytes() == content


def test_another_value_runs_what_is_new(tmp_path, trained):
    argv = [f"--config={RECALL}:transformer", "--seeds=1", f"--runs={tmp_path}"]
    assert sweep.main([*argv, "--vary=model.num_heads=1,2"]) == 0
    assert sweep.main([*argv, "--vary=model.num_heads=1,2,4"]) == 0
    assert [spec.config["model"]["num_heads"] for spec in trained.seen] == [1, 2, 4]
    assert len(summary(tmp_path)) == 3


def test_each_cell_reports_its_best_rate(tmp_path, trained, capsys):
    argv = [f"--config={RECALL}:transformer", "--vary=model.num_heads=1,2", "--seeds=2", f"--runs={tmp_path}"]
    assert sweep.main([*argv, "--rates=1e-3,2e-3,4e-3"]) == 0
    assert {row["learning rate"] for row in summary(tmp_path)} == {"0.002"}
    assert len(trained.seen) == 2 * (3 + 2) and "on the edge" not in capsys.readouterr().err


def asked(*argv: str) -> ablation.Ablation:
    return sweep.ablation(sweep.parse([*argv, "--seeds=1"]))


def test_architectures_are_matched_in_parameters():
    found = asked(
        f"--config={RECALL}:gru", f"--config={RECALL}:transformer", "--budget=20k", "--vary=model.num_layers=1,2"
    )
    assert found.axes == ["architecture", "num_layers"] and len(found.runs("")) == 4
    assert [run.axes["architecture"] for run in found.runs("")] == ["gru", "gru", "transformer", "transformer"]
    sizes = [sweep_size(run) for run in found.runs("")]
    assert max(sizes) <= 20_000 and min(sizes) > 16_000


def sweep_size(run) -> int:
    from experiments.analysis.fairness import non_embedding_params
    from experiments.engine.schedule import complete

    config = complete(run.config, run.overrides)
    return non_embedding_params(config.model, data.build(config.task, config.data).spec)


def test_values_have_the_config_s_types_and_names_stay_apart():
    found = asked(f"--config={RECALL}:transformer", "--vary=steps=20,40", "--vary=deterministic=true,false")
    run = found.runs("")[0]
    assert run.overrides["steps"] == 20 and run.overrides["deterministic"] is True
    assert run.overrides["schedule.warmup_steps"] == 20 and run.name == "steps=20,deterministic=true"


def test_a_real_sweep(tmp_path, monkeypatch):
    monkeypatch.setattr(sitting, "Local", InProcess)
    argv = [
        f"--config={RECALL}:rnn_decoder",
        "--vary=model.hidden_size=8,16",
        "--seeds=2",
        f"--runs={tmp_path}",
        *FEW,
    ]
    assert sweep.main([*argv, "--measure=token_accuracy"]) == 0
    rows = summary(tmp_path)
    assert [row["hidden_size"] for row in rows] == ["8", "16"] and all(
        0 <= float(row["token_accuracy"]) <= 1 for row in rows
    )
    assert int(rows[0]["parameters"]) < int(rows[1]["parameters"])
    stated = Study(asked(*argv[:2], *FEW), "x", "", Folders(tmp_path, tmp_path / "results", None))
    assert json.loads(next(iter(stated.store)).rows[0]["config"])["steps"] == 4


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "--config is missing"),
        ([f"--config={RECALL}:transformer"], "nothing varies; give --vary=KEY=VALUE,VALUE or several --config"),
        (
            [f"--config={RECALL}:gru", f"--config={RECALL}:gru"],
            "asks twice for the runs with architecture = 'recall:gru'",
        ),
        ([f"--config={RECALL}:gru", "--vary=model.num_headz=1,2"], "model.num_headz"),
        ([f"--config={RECALL}:transformer", "--vary=model.num_headz=1,2"], "did you mean model.num_heads?"),
        ([f"--config={RECALL}:transformer", "--vary=model.num_heads=1,x"], "model.num_heads = 'x' is not"),
        ([f"--config={RECALL}:transformer", "--vary=model.num_heads=1,3"], "num_heads = 3 does not divide"),
        ([f"--config={RECALL}:transformer", "--vary=model.num_heads"], "--vary = model.num_heads has an empty value"),
        ([f"--config={RECALL}:transformer", "--vary=model.num_heads=1,,2"], "has an empty value; give some"),
        (
            [f"--config={RECALL}:transformer", "--vary=model.num_heads=1,1"],
            "twice for the runs with num_heads = 1; leave",
        ),
        ([f"--config={RECALL}:gru", "--vary=steps=1", "--vary=steps=2"], "--vary = steps is given twice"),
        ([f"--config={RECALL}:gru", "--vary=steps=1", "--config.steps=2"], "steps is varied and set"),
        ([f"--config={RECALL}:gru", "--vary=seed=1,2"], "use --seeds=N"),
        ([f"--config={RECALL}:gru", "--vary=steps=1,2", "--seeds=0"], "--seeds = 0 is not a number of seeds"),
        ([f"--config={RECALL}:gru", "--vary=steps=1,2", "--rates=1e-3,a"], "--rates = a is not a learning rate"),
        (
            [f"--config={RECALL}:gru", "--vary=optimizer.learning_rate=1", "--rates=1e-3"],
            "set and chosen by --rates",
        ),
        (
            [f"--config={RECALL}:gru", "--vary=steps=1,2", "--budget=big"],
            "--budget = big is not a number of parameters",
        ),
        ([f"--config={RECALL}:gru", "--vary=steps=1,2", f"--budget={'9' * 400}"], "is not a number of parameters"),
        (
            [f"--config={RECALL}:gru", "--vary=steps=1,2", "--seeds=1000000000"],
            "ask for 2,000,000,000 runs of each config",
        ),
        (
            [f"--config={RECALL}:gru", "--vary=model.num_layers=1,2", "--budget=10"],
            "a budget of 10 parameters is",
        ),
        ([f"--config={RECALL}:gru", "--vary=model.hidden_size=8", "--budget=1M"], "sets model.hidden_size of gru"),
        ([f"--config={RECALL}:gru", "--vary=steps=1,2", "--measure=blue"], "--measure"),
        ([f"--config={RECALL}:gru", "--vary=steps=1,2", "--jobs=0"], "--jobs = 0 is not a number of processes"),
        ([f"--config={RECALL}:gru", "--very=steps=1,2"], "--very=steps=1,2"),
        (
            [f"--config={RECALL}:gru", "--vary=steps=1,2", "--measure=bleu"],
            "--measure = bleu: answers of recall are no text",
        ),
        (
            [f"--config={RECALL}:gru", "--vary=steps=1,2", "--measure=chrf"],
            "choose from loss, perplexity, token_accuracy",
        ),
        (
            ["--config=configs/shakespeare.py:gru_decoder", "--vary=steps=1,2", "--measure=bleu"],
            "shakespeare has no references",
        ),
        (["--config=configs/adding.py:gru", "--vary=steps=1,2", "--measure=perplexity"], "adding are real numbers"),
        (
            [f"--config={RECALL}:gru", "--config=configs/adding.py:gru", "--measure=perplexity"],
            "adding are real numbers",
        ),
        (
            [f"--config={RECALL}:gru", "--vary=wandb.name=a,b"],
            "wandb.name is set for every run of a sweep; leave it out",
        ),
        ([f"--config={RECALL}:gru", "--vary=keep=1,2"], "keep is set for every run of a sweep"),
        ([f"--config={RECALL}:gru", "--vary=steps=1,2", "--config.keep=3"], "keep is set for every run of a sweep"),
        ([f"--config={RECALL}:gru", "--vary=steps=1,2", "--config.wandb.mode=online", "--wandb=auto"], "use --wandb"),
        ([f"--config={RECALL}:gru", "--vary=steps=1,2", "--config.wandb.project=mine"], "does nothing without --wandb"),
        ([f"--config={RECALL}:gru", "--vary=every.log=1,2"], "--vary = every.log changes no number of a run"),
        ([f"--config={RECALL}:gru", "--vary=wandb.project=a,b"], "--vary = wandb.project changes no number of a run"),
        (
            [f"--config={RECALL}:gru", "--vary=steps=10,20", "--rates=0.001,1e-3"],
            "--rates = 0.001,1e-3 has a rate twice",
        ),
        (
            [f"--config={RECALL}:gru", "--vary=optimizer.learning_rate=0.001,1e-3"],
            "the sweep asks twice for the runs with learning_rate = 0.001; leave one out",
        ),
        (
            [f"--config={RECALL}:decoder", "--vary=model.mixers=gru,gru,attention"],
            "mixers = 'gru'; leave one out, or join a pattern by plus signs, as in gru+gru+attention",
        ),
        ([f"--config={RECALL}:gru", "--vary=deterministic=true,True"], "asks twice for the runs with deterministic"),
        (
            [f"--config={RECALL}:gru", "--vary=steps=1,2", "--rates=1e-3,2e-3", "--seeds=1001"],
            "--seeds = 1001 has 1000, with which --rates are tried; use fewer",
        ),
        ([f"--config={RECALL}:gru", "--vary=steps=1,2", "--seeds=two"], "--seeds: invalid int value: 'two'"),
        ([f"--config={RECALL}:gru", "--vary=steps=1,2", "--seeds=1e3"], "--seeds: invalid int value: '1e3'"),
        ([f"--config={RECALL}:gru", "--vary=steps=1,2", "--seeds="], "--seeds is empty; give a value"),
        (
            ["--config=configs/translate.py:gru", "--vary=steps=1,2", "--data=docs", "--config.data.dir=docs"],
            "--data = docs and data.dir name the same folder; leave one out",
        ),
        (
            ["--config=configs/translate.py:gru", "--vary=data.dir=docs,data", "--data=docs"],
            "--data = docs and data.dir name the same folder; leave one out",
        ),
    ],
)
def test_mistakes_are_one_line(argv, said, capsys, tmp_path):
    with pytest.raises(SystemExit) as stopped:
        sweep.main([*argv, f"--runs={tmp_path}/runs"])
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and said in error and error.count("\n") == 1
    assert not (tmp_path / "runs").exists()


OTHERS = [
    ["--config.steps=20"],
    ["--config.steps=20", "--config.label_smoothing=0.1"],
    ["--rates=1e-3,2e-3,4e-3"],
    ["--rates=1e-3,2e-3"],
    ["--budget=20k"],
    ["--budget=30k"],
    ["--measure=token_accuracy"],
    ["--seeds=2"],
    ["--vary=model.num_layers=1,2"],
]


def test_sweeps_that_differ_in_anything_leave_each_other_s_results(tmp_path, monkeypatch, capsys):
    class Measured(Trained):
        def do(self, spec):
            rows = {name: 1.0 for name in ("num_params", "num_params_non_embedding", "training_seconds")}
            rows |= {"compile_seconds": 1.0, "best_loss": spec.config["steps"], "best_token_accuracy": 0.5}
            write_rows(spec, rows)

    monkeypatch.setattr(sitting, "Local", lambda slots: Measured())
    argv = [f"--config={RECALL}:transformer", "--vary=model.positions=alibi,learned", f"--runs={tmp_path}"]
    seen: dict = {}
    for more in ([], *OTHERS):
        assert sweep.main([*argv, "--seeds=1", *more]) == 0
        there = {path: path.read_bytes() for path in tmp_path.glob("results-*/*")}
        assert (
            there.items() >= seen.items()
            and len({path.parent for path in there}) == len({path.parent for path in seen}) + 1
        ), more
        seen = there
    assert sweep.main([*argv, "--seeds=1", *OTHERS[0]]) == 0  # the same goes where it went
    assert {path.parent for path in tmp_path.glob("results-*/*")} == {path.parent for path in seen}


def test_text_that_was_edited_has_results_of_its_own(tmp_path):
    text = write_text(tmp_path / "text")
    argv = ["--config=configs/translate.py:gru", "--vary=steps=10,20", f"--data={text}"]
    argv += [
        "--config.data.source_language=de",
        "--config.data.target_language=en",
        "--config.data.tokenizer.name=char",
    ]
    before = asked(*argv).results
    assert asked(*argv).results == before and asked(*argv, "--measure=bleu").results != before
    (text / "val.en").write_text((text / "val.en").read_text() + "one\n")
    (text / "val.de").write_text((text / "val.de").read_text() + "eins\n")
    version._text.cache_clear()  # of this process; a command is one
    assert asked(*argv).results != before


def test_a_budget_on_text_counts_with_its_tokenizer(tmp_path):
    text = write_text(tmp_path / "text")
    argv = ["--config=configs/translate.py:gru", "--config=configs/translate.py:transformer", "--budget=30k"]
    argv += [f"--data={text}", "--config.data.source_language=de", "--config.data.target_language=en"]
    found = asked(*argv, "--config.data.tokenizer.name=char")
    assert {run.axes["architecture"] for run in found.runs("")} == {"gru", "transformer"}


def test_the_measure_is_what_the_runs_choose_their_best_by():
    argv = [f"--config={RECALL}:gru", "--vary=steps=10,20"]
    assert asked(*argv).measure == "loss"
    assert asked(*argv, "--config.best.metric=token_accuracy").measure == "token_accuracy"


def test_values_that_look_alike_in_a_folder_s_name_have_their_own():
    found = asked(f"--config={RECALL}:gru", "--vary=optimizer.learning_rate=0.12345678,0.12345679")
    assert len({run.name for run in found.runs("")}) == 2
    many = [f"--vary=optimizer.{key}=0.123456789,0.987654321" for key in ("b1", "b2", "momentum", "ema_decay")]
    found = asked(f"--config={RECALL}:gru", *many, "--vary=schedule.final_fraction=0.123456789,0.987654321")
    names = {run.name for run in found.runs("")}
    assert len(names) == 32 and max(map(len, names)) < 120
