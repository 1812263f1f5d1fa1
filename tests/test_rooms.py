"""The plan of the house: imports point one way, and what a synthetic task does not need is not needed."""

import ast
import functools
import graphlib
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

PEERS = ROOT / "benchmarks" / "peers"  # what a user would otherwise pick, for the benchmark

FLOORS = (  # of the whole tree, from the ground up; what stands on one floor does not meet
    "configs data models",
    "data.tasks",
    "training.machine",
    "training.step training.mirrors",
    "training.run",
    "training.evaluation",
    "training.command training.trainer",
    "training.counting",
    "train eval benchmarks",
    "experiments.analysis",
    "experiments.questions experiments.probes",
    "experiments.engine",
    "experiments.page",
    "experiments.demo experiments.figure experiments.report experiments.run "
    "experiments.scorecard experiments.sweep experiments.wandb_dashboard",
)
FLOOR_OF = {place: number for number, places in enumerate(FLOORS) for place in places.split()}
ROOMS = sorted({place.split(".")[0] for place in FLOOR_OF})
COUNTERPARTS = ("configs", "data/tasks", "experiments/questions")  # a task has its config, and may have its question


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


FILES = sorted(p for room in ROOMS for p in (*ROOT.glob(f"{room}.py"), *ROOT.glob(f"{room}/**/*.py")))


@functools.cache
def imported(source: str) -> set[str]:
    """Every module that a source names in an import, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in line {node.lineno}; name the room"
            names |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def place_of(module: str) -> str:
    """Where a module stands: the longest of its own names that has a floor; nothing where none has."""
    names = module.split(".")
    return next((p for n in range(len(names), 0, -1) if (p := ".".join(names[:n])) in FLOOR_OF), "")


def top(names: set[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


def test_imports_are_found_wherever_they_stand():
    assert imported("import a.b\ndef f():\n    from c import d") == {"a.b", "c", "c.d"}


def test_every_room_is_here():
    tracked = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True).stdout.split()
    assert {path.split("/")[0].removesuffix(".py") for path in tracked} - {"tests"} <= set(ROOMS)
    assert {room_of(path) for path in FILES} == set(ROOMS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path):
    """A module imports from its own place and from lower floors; the table of a package, what it lists."""
    names, module = imported(path.read_text()), module_of(path)
    assert "tests" not in top(names)
    here = place_of(module)
    if not here:  # an empty __init__.py
        assert path.name == "__init__.py" and not path.read_text(), (
            f"{module} stands on no floor; give it one in FLOORS"
        )
        return
    listed = f"{module}." if path.name == "__init__.py" else " "
    others = {place for name in names if (place := place_of(name)) and not name.startswith(listed)} - {here}
    assert not {other for other in others if FLOOR_OF[other] >= FLOOR_OF[here]}


def test_imports_have_no_circle():
    modules = {module_of(path): path for path in FILES}
    graph = {}
    for name, path in modules.items():
        named = imported(path.read_text()) & modules.keys()
        graph[name] = {n for n in named if not any(other.startswith(f"{n}.") for other in named)}  # the package's part
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_no_two_modules_share_a_name():
    """But for counterparts: a task, its config and its question are one thing in three rooms."""
    found = defaultdict(list)
    for path in FILES:
        if path.stem != "__init__":
            found[path.stem].append(str(path.relative_to(ROOT).parent))
    shared = {name: sorted(rooms) for name, rooms in found.items() if len(rooms) > 1}
    assert not {name: rooms for name, rooms in shared.items() if not set(rooms) <= set(COUNTERPARTS)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_only_one_place_may_import(path):
    names = top(imported(path.read_text()))
    if room_of(path) == "data":
        assert not names & {"jax", "flax", "optax"}, "data is numpy"
    if path != ROOT / "models" / "shapes.py":
        assert "jaxtyping" not in names, "annotations come from models/shapes.py"
    if room_of(path) == "configs":
        assert names <= {"configs", "ml_collections", "difflib"}, "values only"
    if PEERS not in path.parents:
        assert not names & {"torch", "tensorflow"}
        assert not any(name.startswith("benchmarks.peers") for name in imported(path.read_text())), "they are programs"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_drawer_for_everything_and_no_code_from_strings(path):
    assert path.stem not in ("utils", "util", "helpers", "misc", "common") or path == ROOT / "configs" / "common.py"
    calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    assert not {call.id for call in calls if isinstance(call, ast.Name)} & {"exec", "eval"}


def test_files_are_short_and_need_no_exception():
    texts = [path.read_text() for path in FILES]
    lengths = sorted(len(text.splitlines()) for text in texts)
    assert lengths[-1] <= 400 and lengths[len(lengths) // 2] <= 120
    for exception, most in (("# fmt: skip", 10), ("# type: ignore", 0)):
        assert sum(text.count(exception) for text in texts) <= most, exception


ALONE = """
import sys
from importlib.abc import MetaPathFinder

BLOCKED = {"wandb", "tensorflow_datasets", "sentencepiece", "sacrebleu", "matplotlib", "jaxtyping"}

class Blocker(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"{name} is blocked", name=name)

sys.meta_path.insert(0, Blocker())
import train
train.main(sys.argv[1:])
assert not BLOCKED & sys.modules.keys()
"""


def train_alone(*words: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", ALONE, *words], cwd=ROOT, capture_output=True, text=True, timeout=300)


@pytest.mark.processes
def test_synthetic_tasks_need_no_optional_package(tmp_path):
    small = ("--config.steps=2", "--config.schedule.warmup_steps=0", "--config.data.val_examples=8")
    small += ("--config.model.hidden_size=8", "--config.model.embed_size=8", "--config.batch_size=8")
    result = train_alone("--config=configs/recall.py:gru", f"--workdir={tmp_path}/run", *small)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "run" / "summary.json").exists()
    assert "wandb is not installed" in result.stderr


@pytest.mark.processes
def test_the_blocker_blocks(tmp_path):
    result = train_alone(
        "--config=configs/tfds.py:gru",
        f"--workdir={tmp_path}/run",
        "--config.data.name=lm1b",
        f"--config.data.dir={tmp_path}",
    )
    assert result.returncode != 0 and "tensorflow_datasets is blocked" in result.stderr
