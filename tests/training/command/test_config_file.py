"""A config file of one's own: whatever is wrong with it is one line, with the file, the key and the way out."""

import pytest

from tests.training.processes import ROOT
from training.command import cli, usage

RECALL = """from configs import recall


def get_config(model):
    config = recall.get_config(model)
    {}
    return config
"""


@pytest.fixture(autouse=True)
def from_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def refusal(capsys, where: str) -> str:
    with pytest.raises(SystemExit) as stopped:
        cli.parse([f"--config={where}", "--workdir=runs/never"])
    said = capsys.readouterr().err
    assert stopped.value.code == 2 and said.startswith("error: ") and said.count("\n") == 1
    return said


FILES = {
    "def get_config(model:": "line 1 is not Python",
    "x = 1": "has no get_config(model)",
    "get_config = 3": "has no get_config(model)",
    "x = '\0'": "null bytes",
    "def get_config(model):\n    raise ValueError('seed = 7 is unlucky; use 8')": "seed = 7 is unlucky; use 8",
    "def get_config(model):\n    return {}['seed']": "line 2: KeyError: 'seed'",
    "import sys\nsys.exit(3)": "line 2: SystemExit: 3",
    "import sed_rahc": "line 1: ModuleNotFoundError: No module named 'sed_rahc'",
    "def get_config():\n    return 3": "get_config must take one argument, the model's name: def get_config(model)",
    "def get_config(model):\n    pass": "get_config('gru') is a NoneType, not a ConfigDict; start from common.base",
    "def get_config(model):\n    return {'task': 'recall'}": "get_config('gru') is a dict, not a ConfigDict",
    "import ml_collections as m\nget_config = lambda model: m.ConfigDict()": "model.name is missing",
}
LINES = {
    "del config.optimizer.eps": "optimizer.eps is missing; it is 1e-09 in configs/",
    "del config.data.num_keys": "data.num_keys is missing; it is 32 in configs/",
    "del config.data": "data.min_pairs is missing",
    "del config.task": "task is missing",
    "del config.model": "model.name is missing",
    "del config.model.name": "model.name is missing",
    "del config.model; config.model = 'gru'": "model is a str, not a ConfigDict",
    "config.steps = '3'": "line 6: TypeError: Could not override field 'steps'",
    "del config.steps; config.steps = '3'": "steps = '3' is not a whole number",
    "config.steps = True": "steps = True is not a whole number",
    "config.task = None": "task = None is not text; start from common.base",
    "config.model.name = None": "model.name = None is not text",
    "config.model.hidden_size = None": "model.hidden_size = None is not a whole number; give one",
    "config.model.hidden_size = True": "model.hidden_size = True is not a whole number; give one",
    "config.label_smoothing = None": "label_smoothing = None is not a number",
    "config.sede = 3": "sede = 3 is not a key; did you mean seed?",
    "config.task = 'recal'": "task = 'recal' is not known; did you mean recall?",
    "config.model.hiden_size = 64": "model.hiden_size = 64 is not a key; gru has no hiden_size; choose from model.h",
}


@pytest.mark.parametrize("text", [*FILES, *LINES])
def test_what_is_wrong_with_a_file_is_one_line(capsys, tmp_path, text):
    (tmp_path / "mine.py").write_text(RECALL.replace("{}", text.replace("32", "3")) if text in LINES else text)
    said = refusal(capsys, f"{tmp_path}/mine.py:gru")
    assert f"{tmp_path}/mine.py" in said and (FILES | LINES)[text] in said


@pytest.mark.parametrize("file", ["configs/nosuch.py", "configs/xyzzy.py"])
def test_a_file_that_is_like_none_has_no_hint(capsys, file):
    assert f"{file} is not a file; choose from configs/adding.py, " in refusal(capsys, f"{file}:gru")


def test_a_config_that_is_frozen_is_taken(tmp_path):
    text = RECALL.replace("return config", "return FrozenConfigDict(config)").replace("{}", "config.steps = 7")
    (tmp_path / "mine.py").write_text("from ml_collections import FrozenConfigDict\n" + text)
    assert cli.parse([f"--config={tmp_path}/mine.py:gru", "--workdir=runs/never", "--config.seed=3"]).config.steps == 7


def test_whole_numbers_are_numbers_and_paths_may_hold_colons_or_the_home_folder(tmp_path, monkeypatch):
    folder = tmp_path / "at 12:30"
    folder.mkdir()
    (folder / "mine.py").write_text(RECALL.replace("{}", "config.label_smoothing = 0"))
    monkeypatch.setenv("HOME", str(tmp_path))
    for where in (f"{folder}/mine.py:gru", "~/at 12:30/mine.py:gru"):
        smoothing = cli.parse([f"--config={where}", "--workdir=runs/never"]).config.label_smoothing
        assert smoothing == 0.0 and type(smoothing) is float
    assert usage.split("configs/recall.py") == ("configs/recall.py", "")


def test_a_new_task_has_data_of_its_own(tmp_path):
    text = "from configs import common\ndef get_config(model):\n    config = common.base('mine', model)\n"
    (tmp_path / "mine.py").write_text(f"{text}    config.data.update(length=3)\n    return config\n")
    assert cli.load(f"{tmp_path}/mine.py:gru").data.length == 3


def test_a_relative_path_is_told_where_it_was_looked_for(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = refusal(capsys, "configs/recall.py:gru")
    assert f"is not a file in {tmp_path}; did you mean {ROOT}/configs/recall.py?" in said
