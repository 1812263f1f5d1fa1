"""`--help` names every flag, config, architecture and key, with a comment each, and the overview is quick."""

import importlib
import subprocess
import sys

import pytest

import train
from models import MODELS
from models.options import flat
from tests.training.processes import ROOT
from training.command import cli, usage

EARLY = """
import runpy, sys
sys.argv = ["train.py", "--help"]
try:
    runpy.run_path("train.py", run_name="__main__")
except SystemExit as stopped:
    assert not stopped.code and not {"jax", "numpy", "absl"} & sys.modules.keys()
else:
    raise AssertionError("it went on")
"""


@pytest.fixture(autouse=True)
def from_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def helped(capsys, *words: str) -> str:
    with pytest.raises(SystemExit) as stopped:
        cli.parse([*words, "--help"], train.__doc__ or "")
    assert not stopped.value.code
    return capsys.readouterr().out


def test_the_overview_names_what_there_is(capsys):
    said = helped(capsys)
    assert "--config=configs/recall.py:gru_attention" in said
    assert all(f"--{flag}" in said for flag in usage.FLAGS) and all(
        f"configs/{p.name}" in said for p in usage.config_files()
    )
    assert usage.architectures() == list(MODELS) and ", ".join(MODELS) in said


def commands() -> dict[str, str]:
    """Module -> command, of every program of ours that reads its words with a `Parser`."""
    found = {"eval": "python eval.py"}
    for path in sorted((ROOT / "experiments").glob("*.py")) + sorted((ROOT / "benchmarks").glob("__main__.py")):
        if "Parser(" in path.read_text(encoding="utf-8"):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found[module] = f"python -m {module.removesuffix('.__main__')}"
    return found


def test_help_names_a_command_as_it_is_typed(capsys):
    assert len(commands()) >= 9
    for module, command in commands().items():
        with pytest.raises(SystemExit) as stopped:
            importlib.import_module(module).main(["--help"])
        said = capsys.readouterr().out
        assert not stopped.value.code and said.startswith(f"usage: {command} ["), module


@pytest.mark.processes
def test_the_overview_imports_nothing_that_takes_a_second():
    done = subprocess.run([sys.executable, "-c", EARLY], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "--config=FILE:MODEL --help" in done.stdout


@pytest.mark.parametrize("path", usage.config_files(), ids=lambda path: path.stem)
def test_every_key_has_its_value_and_a_comment(capsys, path):
    for name in ("gru_attention", "lstm_decoder", "transformer"):
        said = helped(capsys, f"--config=configs/{path.name}:{name}")
        for key, value in flat(cli.load(f"configs/{path.name}:{name}")).items():
            (line,) = (line for line in said.splitlines() if line.startswith(f"  --config.{key}={value} "))
            comment = line.removeprefix(f"  --config.{key}={value}").strip().removeprefix(type(value).__name__).strip()
            assert comment, f"{path.name}: {line} has no comment"


def test_comments_are_those_of_the_file_and_of_the_class_with_what_can_be_chosen(capsys):
    said = helped(capsys, "--config=configs/recall.py:transformer,zoology_64_4", "--config.model.num_heads=8")
    lines = {line.split("=")[0].strip(): line for line in said.splitlines() if line.startswith("  --config.")}
    assert "num_heads=8 " in lines["--config.model.num_heads"] and "1 or more" in lines["--config.model.num_heads"]
    assert "one of none, sinusoidal, learned, rotary, alibi, relative, t5, shaw" in lines["--config.model.positions"]
    assert "follows hidden_size, 4 times as wide" in lines["--config.model.mlp_dim"]
    assert "num_keys=4095 " in lines["--config.data.num_keys"]
    assert lines["--config.data.query_power"].endswith(
        "power law of the gaps before queries, where the target is longer"
    )
    assert lines["--config.optimizer.clip_norm"].endswith("largest global norm of the gradient; 0: no clipping")


def test_ones_own_file_is_read_too(capsys, tmp_path):
    own = tmp_path / "mine.py"
    own.write_text((ROOT / "configs" / "parity.py").read_text().replace("# fewest bits", "# as short as this"))
    assert "as short as this" in helped(capsys, f"--config={own}:gru")
    with pytest.raises(SystemExit, match="2"):
        cli.parse([f"--config={own}:grru", "--help"])
    assert "did you mean gru?" in capsys.readouterr().err


def test_every_config_says_what_to_expect_of_it():
    files = [path for path in sorted((ROOT / "configs").glob("*.py")) if path.stem not in ("__init__", "common")]
    assert [path.name for path in files if "\nExpected" not in path.read_text(encoding="utf-8")] == []
