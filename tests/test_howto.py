"""The complete examples of docs/howto work as they stand on the page."""

import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import data
import models
import train
from configs import common
from experiments import run
from experiments.analysis.table import Table
from experiments.engine import schedule
from experiments.questions import QUESTIONS
from tests.models import test_contract as contract
from tests.training import runs

HOWTO = Path(__file__).parent.parent / "docs" / "howto"


def example(page: str, number: int) -> ModuleType:
    """The `number`-th block of Python of a page, as a module."""
    blocks = re.findall(r"```python\n(.*?)```", (HOWTO / page).read_text(), re.DOTALL)
    module = ModuleType(f"{page}_{number}")
    exec(compile(blocks[number], page, "exec"), module.__dict__)
    return module


@pytest.fixture(autouse=True)
def compiled_in_haste():
    with runs.compiled_in_haste():
        yield


@pytest.fixture
def averaging(monkeypatch):
    monkeypatch.setitem(models.MODELS, "averaging", example("add_an_architecture.md", 0).Averaging)
    monkeypatch.setitem(common.FAMILIES, "averaging", "averaging")
    return "averaging"


def test_the_architecture_keeps_the_contract(averaging):
    for kind in contract.SPECS:
        contract.test_output_and_taps(averaging, kind)
        contract.test_padding_changes_nothing(averaging, kind)
        contract.test_decoding_step_by_step_gives_the_teacher_forced_logits(averaging, kind)
    contract.test_decoding_after_a_prefix(averaging, "tokens")
    contract.test_no_target_position_sees_a_later_one(averaging)
    contract.test_beams_agree_with_greedy_search_and_with_the_call(averaging)
    contract.test_remat_changes_nothing_but_memory(averaging)
    contract.test_dropout_follows_its_key(averaging)
    contract.test_it_runs_in_bfloat16(averaging)
    contract.test_parameter_count_is_what_its_page_says(averaging, True, "tokens")


def test_the_architecture_trains(averaging, tmp_path):
    found = train.train(runs.config("recall", averaging, steps=4), tmp_path / "run")
    assert np.isfinite(found["final"]["loss"])


def test_the_question_is_answered(monkeypatch, tmp_path):
    direction = example("ask_a_question.md", 0)
    monkeypatch.setitem(QUESTIONS, "direction", direction)
    assert run.main(["direction", "--scale=smoke", f"--runs={tmp_path}/runs", f"--results={tmp_path}/results"]) == 0
    written = tmp_path / "results" / "direction" / "smoke"
    assert {path.name for path in written.iterdir()} == {
        "table.parquet",
        "table.csv",
        "figure.svg",
        "figure.png",
        "verdict.json",
        "commands.sh",
    }
    for scale in ("smoke", "cpu"):
        assert schedule.plan(schedule.grid(direction, scale), lambda due: None).due


@pytest.mark.parametrize(
    ("gain", "outcome"),
    [
        ([0.20, 0.21, 0.19], "supported"),
        ([0.0, 0.001, -0.001], "not supported"),
        ([0.3, -0.2, 0.1], "undecided"),
    ],
)
def test_the_question_can_have_every_outcome(gain, outcome):
    cells = [("forwards", np.add(0.5, gain)), ("backwards", np.full(3, 0.5))]
    rows = [
        {"direction": direction, "seed": seed, "measure": "best_token_accuracy", "value": value}
        for direction, values in cells
        for seed, value in enumerate(values)
    ]
    (finding,) = example("ask_a_question.md", 0).verdict(Table.from_rows(rows))
    assert finding.outcome == outcome


def test_the_task_trains_and_is_solved_by_its_oracle(monkeypatch, tmp_path):
    monkeypatch.setitem(data.TASKS, "first_symbol", example("add_a_task.md", 0).FirstSymbol)
    c = example("add_a_task.md", 2).get_config("gru")
    common.set_width(c.model, 8)
    c.steps, c.schedule.warmup_steps, c.wandb.mode, c.eval_examples = 2, 0, "disabled", 57
    task = data.build(c.task, c.data)
    made = task.batch("val", 0, np.arange(64), (64, 1))
    np.testing.assert_array_equal(made["source"][:, :1], made["target_out"])  # the page's oracle
    assert np.isfinite(train.train(c.lock(), tmp_path / "run")["final"]["loss"])
