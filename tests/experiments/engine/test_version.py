"""What a result counts for: config values, probes, text and the question's VERSION, and nothing else."""

import json
import types
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from experiments.analysis import table
from experiments.engine import results, schedule, version
from experiments.engine.schedule import Due
from experiments.engine.study import Study
from experiments.engine.version import Version
from experiments.questions import find
from experiments.questions.question import Probing, Run
from models.options import flat
from tests.data.texts import write_folder
from tests.experiments import committed
from training.command import cli
from training.run import earlier, identity


def question(number: int = 1, probes: tuple[Probing, ...] = ()) -> types.SimpleNamespace:
    return types.SimpleNamespace(VERSION=number, PROBES=probes)


def due(
    number: int = 1,
    probes: tuple[Probing, ...] = (),
    config: str = "configs/recall.py:gru",
    here: Mapping[str, str] = MappingProxyType({}),
) -> Due:
    return schedule.assumed(question(number, probes), Run(config, {"system": "a"}, here=here))


def wanted(*arguments: Any, **options: Any) -> Version:
    return Version.of(due(*arguments, **options))


def row(of: Version, **columns) -> dict:
    """As a run writes it."""
    text = {split: of.text[split] for split in ("train", "val") if split in of.text}
    return {**of.columns, "text": json.dumps(text), "device": "1 x abacus (cpu, wood)", **columns}


def test_what_a_run_is_counts():
    assert wanted().differs(row(wanted())) == ""
    assert wanted(2).differs(row(wanted())) == "version = 1, now 2"
    config = json.loads(row(wanted())["config"])
    assert wanted().differs(row(wanted(), config=json.dumps({**config, "steps": 9}))) == "steps = 9, now 600"
    asked = (Probing("accuracy_by_distance"),)
    assert "probes = [], now [[" in wanted(probes=asked).differs(row(wanted()))


def test_code_commit_and_machine_do_not():
    other = {"commit": "another", "trees": "{}", "versions": "{}"}
    assert wanted().differs(row(wanted(), **other)) == ""
    config = json.loads(row(wanted())["config"])
    gone = {key: value for key, value in config.items() if key != "model.variational_dropout"}
    assert wanted().differs(row(wanted(), config=json.dumps({**gone, "replicas": 1}))) == ""
    assert wanted().differs(row(wanted(), config=json.dumps({**gone, "replicas": 4}))) == "replicas = 4, now None"


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> list[Path]:
    """The same text twice, and another."""
    made = [tmp_path_factory.mktemp(name) for name in ("here", "there", "other")]
    for path in made:
        write_folder(path, {"train": 100 if path != made[2] else 90, "val": 20, "test": 10})
    return made


def of_text(folder: Path) -> Version:
    languages = {"data.source_language": "xx", "data.target_language": "yy", "data.cache_dir": str(folder / "cache")}
    here = {**languages, "data.dir": str(folder), "data.tokenizer.name": "char"}
    return wanted(config="configs/translate.py:gru", here=here)


def test_the_text_counts_and_not_where_it_lies(folders):
    here, there, other = map(of_text, folders)
    assert here.differs(row(there)) == ""
    assert other.differs(row(here)) == "another text of train"
    assert here.differs(row(here, text=json.dumps({"test": "another"}))) == "another text of test"
    assert wanted(config="configs/multi30k.py:gru").text == {}  # it would have to be downloaded


def test_text_of_files_that_are_named_one_by_one_counts(folders):
    def of_files(folder: Path) -> Version:
        files = {
            f"data.{split}_{side}": str(folder / f"{split}.{suffix}")
            for split in ("train", "val", "test")
            for side, suffix in (("source", "xx"), ("target", "yy"))
        }
        own = {"data.cache_dir": str(folder / "cache"), "data.tokenizer.name": "char"}
        return wanted(config="configs/translate.py:gru", here=files | own)

    here, _, other = map(of_files, folders)
    assert here.text and other.differs(row(here)) == "another text of train"


def finished(folder: Path, published: bool, device: str, timed: bool) -> bool:
    """Whether a row of a table counts."""
    probes = (Probing("exposure", alone=timed),)
    of = wanted(probes=probes)
    where = folder / ("published" if published else "own")
    folders = results.Folders(folder / "runs", folder / "own", folder / "published")
    one = {"run": "a", "seed": 0, "role": "report", "tuned": None, "value": 1.0, "measure": "m", **row(of)}
    table.write(table.of_rows([{**one, "device": device}]), where)
    return bool(results.Store(folders).finished(due(probes=probes)))


@pytest.mark.parametrize(
    ("published", "device", "timed", "counts"),
    [
        (False, "1 x another (cpu, x)", False, True),
        (False, "1 x another (cpu, x)", True, False),
        (False, "1 x mine (cpu, x)", True, True),
        (True, "1 x another (cpu, x)", True, True),  # committed, it counts on any machine
    ],
)
def test_the_processor_counts_where_time_is_measured(published, device, timed, counts, tmp_path, monkeypatch):
    monkeypatch.setattr(results, "_processor", lambda: "mine")
    assert finished(tmp_path, published, device, timed) == counts


def test_the_processor_has_a_name():
    assert results._processor() not in ("", "cpu")


def check_config(recorded: dict[str, Any]) -> None:
    """Completing a recorded config changes no value of it, and gives it every key that a config has today."""
    whole = identity.values({**earlier.IN_TABLES, **recorded}, timed=True)
    left = {key: value for key, value in recorded.items() if key not in earlier.GONE}
    assert left.items() <= whole.items()
    now = cli.load(f"configs/{recorded['task']}.py:{recorded['model.name']}")
    assert whole.keys() == identity.values(flat(now), timed=True).keys()


@pytest.mark.parametrize("name", sorted(committed.RUN))
def test_committed_runs_count(name, tmp_path):
    """A new config key makes none of them unfinished; raise the question's VERSION where its numbers change. What is of
    an earlier version is under review until this one has been run: its grid has gone, so of its rows only the configs
    are checked."""
    everything = table.read(committed.table(name))
    for text in everything["config"].unique():
        check_config(json.loads(text))
    if set(everything["version"]) != {find(name).VERSION}:
        assert find(name).UNDER_REVIEW and everything["version"].max() < find(name).VERSION
        return
    study = Study(find(name), name, "cpu", results.Folders.of(name, "cpu", tmp_path, tmp_path))
    plan = study.plan()
    assert study.store.outdated(plan.due) == ""
    counted = results.runs_of(everything)
    left = {(one.key.name, float(one.key.seed)) for one in (*plan.due, *plan.waiting) if one.role == schedule.REPORT}
    grid = {(one.name, float(one.seed)) for one in schedule.grid(find(name), "cpu")}
    assert counted and grid - counted == left


def test_which_files_have_changed_is_one_line():
    first = version.git("rev-list", "--max-parents=0", "HEAD").strip()
    trees = json.dumps({room: version.tree(room).rstrip("+") for room in version.ROOMS})
    head = version.git("rev-parse", "HEAD").strip()
    said = version.since(table.of_rows([{"commit": first, "trees": trees}, {"commit": "0" * 40, "trees": trees}]))
    assert said.startswith(f"runs are of {first[:10]}") and " files differ now (data/" in said and said.count("\n") == 0
    dirty = version.since(table.of_rows([{"commit": f"{head}+", "trees": trees}]))
    assert f"{head[:10]} with changes of its own" in dirty
    untracked = version.since(table.of_rows([{"commit": head, "trees": json.dumps({"data": "0" * 40 + "+"})}]))
    assert f"{head[:10]} with changes of its own" in untracked


def test_a_file_that_git_does_not_know_differs(monkeypatch):
    said = {"ls-files": "models/new one.py", "cat-file": "commit"}
    monkeypatch.setattr(version, "git", lambda word, *_: said.get(word, ""))
    told = version.since(table.of_rows([{"commit": "a" * 40, "trees": "{}"}]))
    assert told == "runs are of aaaaaaaaaa; 1 file differs now (models/new one.py)"
