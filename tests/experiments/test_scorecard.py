"""A scorecard from one command line: what is run and shown, what cannot be, and how two tables' ranks compare."""

import json
import math

import pytest

from experiments import scorecard
from experiments.analysis import fairness, scores, table
from experiments.engine import screening, sitting
from experiments.engine.screening import SCORES, SPEED, TASKS, Screening
from models import MODELS
from tests.experiments.engine.in_process import InProcess, Pretending, write_rows
from tests.training.runs import TEXT

NO_TEXT = "no text here"
BEST = {"gru_decoder": 0.5, "lstm_decoder": 0.9}


@pytest.fixture
def unsized(monkeypatch):
    """Widths as they are: to find those of a budget takes seconds."""
    monkeypatch.setattr(fairness, "fit", lambda where, overrides, budget: {"model.hidden_size": 8})


class Scored(Pretending):
    """Pretends that the larger rate is the better one on validation, and far away."""

    def do(self, spec):
        self.seen = [*getattr(self, "seen", []), spec]
        name, rate = spec.config["model"]["name"], spec.config["optimizer"]["learning_rate"]
        if spec.columns["task"] == SPEED:
            parts = {spec.columns["architecture"]: 1000.0, "GRU": 2000.0, "Transformer": 500.0}
            rows = [("throughput", "training_tokens_per_second", value, 128, part) for part, value in parts.items()]
            rows += [("throughput", "decoding_tokens_per_second", value, 64, part) for part, value in parts.items()]
        else:
            high = BEST.get(name, 0.6) * (1.0 if rate == max(TASKS[spec.columns["task"]].rates) else 0.5)
            rows = [("run", "best_loss", 1 - high, None, ""), ("run", "training_seconds", 60.0, None, "")]
            rows += [("accuracy_by_distance", "token_accuracy", value, x, "") for x, value in ((1, 1.0), (9, high))]
            rows += [("accuracy_by_length", "token_accuracy", high, 40, "test_long")]
            rows += [("run", "best_token_accuracy", 1.0, None, "")]
        write_rows(spec, {})
        content = json.loads(spec.rows.read_text())
        nan = float("nan")
        content["measurements"] = [
            [probe, 1, measure, value, nan if place is None else place, part, 1.0]
            for probe, measure, value, place, part in rows
        ]
        content["run"]["device"] = "1 x abacus (cpu, wood)"
        spec.rows.write_text(json.dumps(content))


@pytest.fixture
def scored(monkeypatch, unsized):
    executor = Scored()
    monkeypatch.setattr(sitting, "Local", lambda slots: executor)
    monkeypatch.setattr("experiments.engine.results._processor", lambda: "abacus")
    monkeypatch.setattr(scorecard, "no_text", lambda folder: NO_TEXT)
    return executor


def shown(folder):
    (path,) = folder.glob("results-*/scorecard.csv")
    return table_of(path)


def table_of(path):
    import csv

    with path.open(newline="") as file:
        return {row["architecture"]: row for row in csv.DictReader(file)}


def test_a_card_shows_the_better_rate_chance_and_speeds_in_turn(tmp_path, scored, capsys):
    argv = ["gru_decoder", "lstm_decoder", f"--runs={tmp_path}", "--minutes=2"]
    assert scorecard.main(argv) == 0
    assert len(scored.seen) == 2 * (2 * (len(TASKS) - 1) + 1)  # two rates a task, no text, and one run of speed
    assert {spec.config["steps"] for spec in scored.seen} == {1, 80, 100, 120, 150}  # a tenth, and a speed's one
    rows = shown(tmp_path)
    assert list(rows) == ["gru_decoder", "lstm_decoder", "GRU", "Transformer", "chance"]
    assert rows["lstm_decoder"]["recall far"] == "0.90" and rows["gru_decoder"]["parity beyond"] == "0.50"
    assert rows["chance"]["recall far"] == "0.25" and rows["GRU"]["recall far"] == "–"
    assert rows["gru_decoder"]["bits per byte"] == "–" and rows["gru_decoder"]["minutes"] == "10.0"
    assert rows["GRU"]["training tokens/s"] == "2,000" and rows["Transformer"]["decoding µs"] == "2,000.00"
    said = capsys.readouterr().out
    for words in (
        "One seed: a screening",
        "0.1 times those",
        "GRU: no committed runs with these tasks and steps.",
        NO_TEXT,
        "on 1 x abacus",
    ):
        assert words in said
    (folder,) = tmp_path.glob("results-*")
    assert {path.name for path in folder.iterdir()} == {
        *("table.parquet", "table.csv", "scorecard.csv", "figure.png", "figure.svg", "index.html", "commands.sh")
    }
    page = (folder / "index.html").read_text()
    assert "<svg" in page and "experiments.scorecard gru_decoder lstm_decoder" in page and NO_TEXT in page
    assert scorecard.main(argv) == 0 and len(scored.seen) == 22  # nothing is left to run


def test_some_tasks_are_measured_alone(tmp_path, scored, monkeypatch, capsys):
    monkeypatch.setattr(scorecard, "no_text", pytest.fail)  # nothing is downloaded that nobody reads
    argv = ["gru_decoder", f"--runs={tmp_path}", "--minutes=2"]
    assert scorecard.main([*argv, "--tasks=parity,adding"]) == 0
    assert {spec.columns["task"] for spec in scored.seen} == {"parity", "adding"} and len(scored.seen) == 4
    row = shown(tmp_path)["gru_decoder"]
    assert (row["parity beyond"], row["recall far"], row["training tokens/s"]) == ("0.50", "–", "–")
    assert "selective_copying" not in next(tmp_path.glob("results-*/index.html")).read_text()
    assert scorecard.main([*argv, "--tasks=speed"]) == 0 and len(scored.seen) == 5
    with pytest.raises(SystemExit, match="2"):
        scorecard.main([*argv, "--tasks=recal"])
    assert "--tasks = 'recal' is not known; did you mean recall?" in capsys.readouterr().err


def test_committed_references_of_the_same_steps_stand_beside(tmp_path, scored, monkeypatch):
    monkeypatch.setattr(scorecard, "COMMITTED", tmp_path / "committed")
    assert scorecard.main(["gru_decoder", "transformer_decoder", f"--runs={tmp_path / 'runs'}"]) == 0
    (made,) = (tmp_path / "runs").glob("results-*/table.parquet")
    (tmp_path / "committed").mkdir()
    made.rename(tmp_path / "committed" / "table.parquet")
    assert scorecard.main(["lstm_decoder", f"--runs={tmp_path / 'more'}"]) == 0
    rows = shown(tmp_path / "more")
    assert rows["GRU"]["recall far"] == "0.50" and rows["Transformer"]["adding far"] == "0.60"
    assert rows["GRU"]["training tokens/s"] == "2,000"  # measured beside lstm_decoder, not where they were committed


def test_what_an_architecture_cannot_do_is_left_out_with_a_reason(monkeypatch):
    few = {name: TASKS[name] for name in ("recall", "shakespeare")}
    monkeypatch.setattr(screening, "TASKS", few)
    monkeypatch.setattr(screening, "REFERENCES", {"GRU": "gru_decoder"})
    asked = Screening(["gru"], no_text="")
    assert list(asked.left_out) == [("gru", "shakespeare")] and "needs a source" in asked.left_out["gru", "shakespeare"]
    assert {run.axes["task"] for run in asked.runs(SCORES)} == {"recall"}
    assert len(asked.runs(SPEED)) == 1
    for run in asked.runs(SCORES)[::2]:
        size = fairness._size_at(
            run.config, json.dumps({**TASKS[run.axes["task"]].values}), run.overrides["model.hidden_size"]
        )
        assert 0.8 * screening.BUDGET < size <= screening.BUDGET


def test_a_pattern_of_mixers_has_a_name_of_its_own(unsized):
    asked = Screening(["decoder"], {"model.mixers": "gru,attention"}, no_text=NO_TEXT, seeds=(0, 1))
    assert asked.labels == ["decoder mixers=gru,attention"]
    runs = asked.runs(SCORES)
    assert {run.overrides["model.mixers"] for run in runs} == {"gru,attention"} and {run.seed for run in runs} == {0, 1}
    assert runs[0].name == "decoder-mixers-gru-attention-recall-0.003"


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["gru", "--config.steps=3"], "the tasks are fixed"),
        (["gru", "gru"], "gru is named twice"),
        (["gru", "--minutes=0"], "--minutes = 0.0 is not a length"),
        (["gru", "--seeds=x"], "--seeds = x is no list"),
        (["gruu"], "did you mean gru?"),
        (["gru_decoder", "--config.model.hidden_size=8"], "model.hidden_size follows from the budget"),
        (["gru_decoder", "--against=nowhere"], "--against = nowhere is not a file"),
    ],
)
def test_a_mistake_is_one_line(argv, said, capsys, monkeypatch):
    monkeypatch.setattr(scorecard, "no_text", lambda folder: NO_TEXT)
    with pytest.raises(SystemExit) as ended:
        scorecard.main([*argv, "--dry-run"])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert said in line


def test_what_is_counted_is_refused(monkeypatch):
    monkeypatch.setitem(MODELS, "gru", type("Counting", (MODELS["gru"],), {"counted": True}))
    with pytest.raises(ValueError, match="gru is trained by counting"):
        Screening(["gru"], no_text=NO_TEXT)


def test_text_that_cannot_be_read_is_a_reason_and_a_wrong_folder_a_mistake(tmp_path, monkeypatch):
    def build(task, config, **_):
        raise ValueError("no network; set data.dir=FOLDER")

    monkeypatch.setattr(scorecard.data, "build", build)
    assert scorecard.no_text("") == "no network; set --data=FOLDER"
    with pytest.raises(ValueError, match="no network"):
        scorecard.no_text(str(tmp_path))


@pytest.mark.slow
def test_a_card_is_trained_from_end_to_end(tmp_path, monkeypatch):
    """Two tasks and the speeds, of two steps."""
    tiny = {"batch_size": 4, "data.val_examples": 16, "data.test_examples": 16}
    monkeypatch.setattr(
        screening,
        "TASKS",
        {
            "parity": screening.Task(
                2, (1e-3, 3e-3), {**tiny, "data.max_length": 4, "data.long_length": 6}, (screening.BEYOND,)
            ),
            "shakespeare": TASKS["shakespeare"]._replace(steps=2, rates=(1e-3,)),
        },
    )
    monkeypatch.setattr(screening, "REFERENCES", {"GRU": "gru_decoder"})
    monkeypatch.setattr(screening, "BUDGET", 1000)
    monkeypatch.setattr(screening, "REVERSED", 4)
    monkeypatch.setattr(screening, "SECONDS", 0.0)
    monkeypatch.setattr(scorecard, "TASKS", screening.TASKS)
    monkeypatch.setattr(sitting, "Local", InProcess)
    (tmp_path / "input.txt").write_text(TEXT * 9)
    assert scorecard.main(["gru_decoder", f"--data={tmp_path}", f"--runs={tmp_path / 'runs'}"]) == 0
    row = shown(tmp_path / "runs")["gru_decoder"]
    assert 0 <= float(row["parity beyond"]) <= 1 and 5 < float(row["bits per byte"]) < 12
    assert float(row["training tokens/s"].replace(",", "")) > 0 and row["recall far"] == "–"


def made(of: dict[str, dict[str, float]]):
    """A table with the accuracy far away of each architecture on each task, of one run each."""
    columns = {"seed": 0, "role": "report", "tuned": None, "probe": "accuracy_by_distance", "part": "", "step": 1}
    rows = []
    for task, by_name in of.items():
        for name, value in by_name.items():
            run = {**columns, "run": f"{task}-{name}", "config": json.dumps({"task": task, "model.name": name})}
            rows.append({**run, "measure": "token_accuracy", "value": value, "place": 9})
            rows.append({**run, "measure": "best_loss", "value": 1.0, "place": None, "probe": "run"})
    return table.of_rows(rows)


def test_ranks_agree_but_for_what_a_seed_cannot_tell():
    ours = made({"recall": {"a": 0.13, "b": 0.14, "c": 0.5, "d": 1.0}, "adding": {"a": 0.1, "b": 0.9}})
    theirs = made({"recall": {"a": 0.14, "b": 0.13, "c": 0.7, "d": 0.99, "e": 1.0}, "adding": {"a": 0.1, "b": 0.9}})
    found = scores.agreement(ours, theirs)
    assert found["recall far"] == (pytest.approx(1.0), ["d", "c", "a", "b"])
    assert math.isnan(found["adding far"][0]) and set(found) == {"recall far", "adding far"}
    turned = made({"recall": {"a": 1.0, "b": 0.9, "c": 0.5, "d": 0.1}})
    assert scores.agreement(ours, turned)["recall far"][0] < -0.9


def test_a_committed_question_can_be_ranked_against():
    found = scores.named(table.read(scorecard.results.PUBLISHED / "long_range" / "cpu" / "table.parquet"))
    recall = scores.best(found, scores.SCORES[0])
    assert recall["gru_attention"] > 0.9 > 0.2 > recall["gru_decoder"]


def test_one_seed_ranks_as_five_do():
    """As docs/howto/scorecard.md says: with `--against` of the committed tables."""
    published = scorecard.results.PUBLISHED / "scorecard"
    seed_0, five_seeds = (table.read(published / name / "table.parquet") for name in ("seed_0", "five_seeds"))
    found = scores.agreement(seed_0, five_seeds)
    assert all(len(both) == 8 for _, both in found.values())
    stated = {"recall far": 1.0, "adding far": 1.0, "parity within": 0.797, "parity beyond": 1.0}
    assert {title: rho for title, (rho, _) in found.items()} == pytest.approx(stated, abs=5e-4)


def test_a_diverged_rate_is_the_worst_and_two_are_said():
    rows = made({"recall": {"a": 0.5}}).assign(architecture="a", task="recall")
    worse = rows.assign(run="other", value=[0.9, math.inf])
    both = table.of_rows([*rows.to_dict("records"), *worse.to_dict("records")])
    assert scores.best(both, scores.SCORES[0]) == {"a": 0.5}
    alone = worse[worse["measure"] == "best_loss"]
    assert scores.words({"a": {"recall far": scores.best(alone, scores.SCORES[0])["a"]}})[0]["recall far"] == "diverged"
