"""The complete examples of docs/howto work as they stand on the page."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import jax
import numpy as np
import pytest
from flax import nnx

import data
import models
import train
from experiments import questions, run
from experiments.analysis.table import of_rows
from experiments.engine import schedule, sitting
from models.decoder import Decoder
from models.mixers import MIXERS
from tests.experiments.engine.in_process import InProcess
from tests.models import mixer_forms, sizes, test_mixers
from tests.training import runs
from training.command import cli, config_file

ROOT = Path(__file__).parent.parent
HOWTO = ROOT / "docs" / "howto"


def blocks(page: str) -> list[str]:
    """The blocks of Python of a page."""
    return re.findall(r"```python\n(.*?)```", (HOWTO / page).read_text(), re.DOTALL)


def example(page: str, number: int) -> ModuleType:
    """The `number`-th block of a page, as a module."""
    module = ModuleType(f"{page}_{number}")
    exec(compile(blocks(page)[number], page, "exec"), module.__dict__)
    return module


@pytest.fixture(autouse=True)
def compiled_in_haste():
    with runs.compiled_in_haste():
        yield


ROOMS = ("models", "configs", "data", "training", "benchmarks", "experiments", "tests")
FILES = ("train.py", "eval.py", "README.md", "pyproject.toml")


def insert(path: Path, below: str, text: str) -> list[str]:
    """Puts `text` below the only line that starts with `below`. Returns its lines."""
    before, line, after = re.split(rf"^({re.escape(below)}.*\n)", path.read_text(), flags=re.MULTILINE)
    path.write_text(before + line + text + after)
    return text.splitlines()


def test_an_architecture_is_one_file_and_one_line_and_the_page_s_commands_run(tmp_path):
    for name in ROOMS:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, tmp_path / name)
    page = HOWTO / "add_an_architecture.md"
    module, table, size = blocks(page.name)
    (tmp_path / "models" / "averaging.py").write_text(module)
    line, entry = (line for line in table.splitlines() if "veraging" in line)
    insert(tmp_path / "models" / "__init__.py", "from models.contract", f"{line}\n")
    insert(tmp_path / "models" / "__init__.py", "MODELS:", f"{entry}\n")
    assert changed(tmp_path) == {"models/averaging.py": None, "models/__init__.py": [line, entry]}

    trained, evaluated, made, tested = commands(page)
    few = ("--config.steps=4", "--config.schedule.warmup_steps=0", "--config.data.test_examples=64")
    in_folder(tmp_path, [*trained, *few, "--config.model.activation=tanh"])
    assert "token_accuracy" in in_folder(tmp_path, evaluated)

    # What it takes to be kept.
    insert(tmp_path / "tests" / "models" / "sizes.py", "SIZES:", size)
    insert(tmp_path / "README.md", "| `rnn`", "| `averaging` | A mean over what was read | Iyyer et al. 2015 |\n")
    assert "architectures/averaging: new" in in_folder(tmp_path, made)
    assert " passed" in in_folder(tmp_path, tested)


def test_a_mixer_is_one_file_and_one_line_and_the_page_s_tests_run(tmp_path, monkeypatch, capsys):
    """In this process, with the tables as the page changes them."""
    page, name = "add_a_mixer.md", "decaying_mean"
    module, _, form, size, own = blocks(page)
    names = {**vars(mixer_forms), "Decoder": Decoder}
    for text in (module, form, own):
        exec(compile(text, page, "exec"), names)
    monkeypatch.setitem(MIXERS, name, names["DecayingMean"])
    monkeypatch.setitem(mixer_forms.FORMS, name, names[name])
    monkeypatch.setitem(sizes.MIXER_SIZES, name, eval(f"{{{size}}}", vars(sizes))[name])
    monkeypatch.setitem(test_mixers.CASES, name, (name, {}))
    walked = [test for test in vars(test_mixers).values() if "case" in getattr(test, "__annotations__", ())]
    assert len(walked) >= 7
    for test in walked:
        test(name)
    assert {key.split(".")[0] for key in names["DecayingMeanDecoder"].options()} > {name, "mlp_dim", "positions"}

    trained, evaluated, _ = (
        [word.replace("runs/", f"{tmp_path}/") for word in words] for words in commands(HOWTO / page)
    )
    runs.here([*trained, "--config.steps=2", "--config.schedule.warmup_steps=0"], capsys)
    assert json.loads((tmp_path / "recall-decaying-mean" / "config.json").read_text())["config"]["model"]["mixers"]
    assert evaluated[1:] == ["eval.py", f"--workdir={tmp_path}/recall-decaying-mean", "--split=test"]


def test_the_page_of_mixers_names_all_of_them_and_their_keys():
    rows = [line for line in (HOWTO / "mix_layers.md").read_text().splitlines() if line.startswith("| `")]
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert sorted(named) == sorted(MIXERS)
    keys = {key for mixer in MIXERS.values() for key in mixer.options()}
    assert {key for row in rows for key in re.findall(r"`([\w.]+)`", row.split("|")[3])} <= keys


def test_the_mixed_stacks_of_the_page_are_made():
    for words in commands(HOWTO / "mix_layers.md"):
        where, *values = (word.removeprefix("--config") for word in words if word.startswith("--config"))
        config = config_file.load(where.removeprefix("="))
        given = dict(value.removeprefix(".").split("=") for value in values)
        config_file.override(config, {key: int(text) if text.isdigit() else text for key, text in given.items()})
        spec = data.outline(config.task, config.data)
        nnx.eval_shape(lambda: models.build(config.model.name, config.model, spec, jax.random.key(0)))  # noqa: B023


def changed(folder: Path) -> dict[str, list[str] | None]:
    """The lines that each file of a copy has more than the file here; None for a new file."""
    found: dict[str, list[str] | None] = {}
    for path in sorted(folder.rglob("*.py")):
        own = ROOT / (name := path.relative_to(folder).as_posix())
        there = set(own.read_text().splitlines()) if own.is_file() else None
        if there is None or path.read_text() != own.read_text():
            found[name] = None if there is None else [x for x in path.read_text().splitlines() if x not in there]
    return found


def commands(page: Path) -> list[list[str]]:
    """What a page tells to run."""
    (block,) = re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL)
    words = [shlex.split(line) for line in block.replace("\\\n", "").splitlines()]
    assert all(line[0] == ".venv/bin/python" for line in words)
    return [[sys.executable, *line[1:]] for line in words]


def in_folder(folder: Path, words: list[str]) -> str:
    haste = os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "true"}
    done = subprocess.run(words, cwd=folder, env=haste, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


def test_the_question_is_answered(monkeypatch, tmp_path):
    direction = example("ask_a_question.md", 0)
    monkeypatch.setattr(questions, "NAMES", (*questions.NAMES, "direction"))
    monkeypatch.setitem(sys.modules, "experiments.questions.direction", direction)
    monkeypatch.setattr(sitting, "Local", InProcess)
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
        assert schedule.plan(direction, scale, lambda due: None).due


@pytest.mark.parametrize(
    ("gain", "outcome"),
    [
        ([0.20, 0.21, 0.19, 0.2, 0.2], "supported"),
        ([0.0, 0.001, -0.001, 0.0, 0.0], "not supported"),
        ([0.3, -0.2, 0.1], "undecided"),
    ],
)
def test_the_question_can_have_every_outcome(gain, outcome):
    cells = [("forwards", np.add(0.5, gain)), ("backwards", np.full(len(gain), 0.5))]
    rows = [
        {"direction": direction, "seed": seed, "measure": "best_token_accuracy", "value": value}
        for direction, values in cells
        for seed, value in enumerate(values)
    ]
    (finding,) = example("ask_a_question.md", 0).verdict(of_rows(rows))
    assert finding.outcome == outcome


def test_the_task_trains_and_is_solved_by_its_oracle(monkeypatch, tmp_path):
    monkeypatch.setitem(data.TASKS, "first_symbol", example("add_a_task.md", 0).FirstSymbol)
    (tmp_path / "first_symbol.py").write_text(blocks("add_a_task.md")[2])
    c = cli.load(f"{tmp_path}/first_symbol.py:gru")
    models.set_width(c.model, 8)
    c.steps, c.schedule.warmup_steps, c.wandb.mode, c.eval_examples = 2, 0, "disabled", 57
    task = data.build(c.task, c.data)
    made = task.batch("val", 0, np.arange(64), (64, 1))
    np.testing.assert_array_equal(made["source"][:, :1], made["target_out"])  # the page's oracle
    assert np.isfinite(train.train(c.lock(), tmp_path / "run")["final"]["loss"])
