"""Whole programs: ours trains, translates and delivers batches; JoeyNMT does the same work from what we leave."""

import dataclasses
import re
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from benchmarks import to_loss
from benchmarks.compare import Comparison, quality_of
from benchmarks.contender import Contender, Running, has_peers
from tests.benchmarks import tiny
from tests.training import runs
from tests.training.processes import write_text

needs_peers = pytest.mark.skipif(not has_peers(), reason="needs JoeyNMT beside us: run `make peers`")


@pytest.fixture(autouse=True)
def caches_of_its_own(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> Path:
    return write_text(tmp_path_factory.mktemp("text"))


def on_text(text: Path, name: str = "multi30k") -> Comparison:
    """With as few pieces as this text has."""
    comparison, few = tiny.case(name, data=text), {"data__tokenizer__vocab_size": 40, "tokens_per_batch": 256}
    return dataclasses.replace(comparison, contenders=[one.but(one.name, **few) for one in comparison.contenders])


def ours_on(text: Path) -> Contender:
    return on_text(text).contenders[0]


def test_our_program_trains_and_counts_what_is_no_padding(text, tmp_path):
    with closing(Running(ours_on(text), tmp_path)) as ours:
        said = ours.ask("describe")
        ours.turn(20)
        ours.turn(20)
        assert ours.ask("describe")["loss"] < said["loss"]
        assert ours.ask("quit")["peak_memory_bytes"] > 10**7
    first, second = ours.answers
    assert first["compile_seconds"] > 0 and second["seconds"] > 0
    assert 0 < second["tokens"] < 20 * 256
    with np.load(tmp_path / "weights.npz") as weights:
        assert sum(weights[name].size for name in weights.files) == said["num_params"]


def test_our_program_trains_to_a_loss_from_its_process_s_start(text, monkeypatch):
    one = dataclasses.replace(on_text(text, "to_loss"), least=1, steps=20, until=3.6)
    found = dataclasses.replace(one, contenders=one.contenders[:1]).measure()
    (ours,) = found["programs"]
    assert not found["failed"] and ours["rounds"] == 1 and ours["loss"] <= 3.6 and ours["besides"]["steps"] % 20 == 0
    assert ours["median_seconds"] > ours["besides"]["waiting for programs, s"] > 0
    monkeypatch.setattr(to_loss, "MOST", 1)
    failed = dataclasses.replace(one, contenders=one.contenders[:1], until=0.0).measure()["failed"]
    assert re.fullmatch(r"it has a loss of \d\.\d{3} after 20 steps", failed["ours"])


@needs_peers
def test_joeynmt_trains_to_the_same_loss(text):
    one = dataclasses.replace(on_text(text, "to_loss"), least=1, steps=20, until=3.6)
    ours, joey = dataclasses.replace(one, contenders=one.contenders[:2]).measure()["programs"]
    assert ours["num_params"] == joey["num_params"] and joey["loss"] <= 3.6


@needs_peers
def test_joeynmt_does_the_same_work(text, tmp_path):
    """Its own reading of our text, vocabulary and weights gives our loss; then it trains."""
    comparison = on_text(text)
    with closing(Running(comparison.contenders[0], tmp_path)) as ours:
        mine = ours.ask("describe")
    with closing(Running(comparison.contenders[2], tmp_path)) as joey:
        theirs = joey.ask("describe")
        comparison.check_same_work(mine, theirs)
        assert joey.turn(20) > 0 and 0 < joey.answers[0]["tokens"] < 2 * 20 * 256
        assert joey.ask("describe")["loss"] < theirs["loss"]
        assert joey.ask("quit")["peak_memory_bytes"] > 10**7


@needs_peers
def test_joeynmt_translates_the_same_split_with_the_same_loss(text, tmp_path):
    ours = ours_on(text)
    losses = []
    for contender in (dataclasses.replace(one, split="test") for one in (ours, ours.beside("joeynmt"))):
        with closing(Running(contender, tmp_path)) as program:
            losses.append(program.ask("describe")["loss"])
            program.turn(1)
            assert program.answers[0]["sentences"] == 24
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert quality_of(tmp_path, "joeynmt default", "ours").keys() == {"BLEU", "as the first"}


def test_our_program_translates_a_split(text, tmp_path):
    with closing(Running(dataclasses.replace(ours_on(text), split="test"), tmp_path)) as program:
        program.turn(1)
        assert program.answers[0]["sentences"] == 24
    found = quality_of(tmp_path, "ours", "ours")
    assert found["as the first"] == 24 and 0 <= found["BLEU"] <= 100
    references = (tmp_path / "references").read_text()
    (tmp_path / "perfect.hypotheses").write_text(references)
    assert quality_of(tmp_path, "perfect", "ours")["BLEU"] == pytest.approx(100)


def test_the_pipeline_alone_trains_on_nothing(tmp_path):
    small = {f"data.{key}": value for key, value in runs.TASKS["recall"].items()}
    small |= {"data.val_examples": 32, "model.hidden_size": 8, "model.embed_size": 8, "eval_examples": 32}
    training = dataclasses.replace(tiny.case("pipeline_rnn").contenders[0], values=small)
    losses = {}
    for contender in (training, training.beside("ours", "pipeline")):
        with closing(Running(contender, tmp_path)) as program:
            before = program.ask("describe")["loss"]
            assert program.turn(20) > 0
            losses[contender.setting] = program.ask("describe")["loss"] - before
    assert losses["pipeline"] == 0 != losses["default"]
