"""The benchmark of the input pipeline: it measures a real task and says what it found."""

import pytest

from benchmarks import input_pipeline
from tests.training import runs


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    monkeypatch.setattr(input_pipeline, "STEPS", 3)
    monkeypatch.setattr(input_pipeline, "ROUNDS", 2)


def test_the_pipeline_delivers_and_each_round_has_an_overhead():
    with runs.compiled_in_haste():
        found = input_pipeline.measure("recall rnn", runs.config("recall", "rnn"), seconds=0.05)
    assert found.name == "recall rnn" and found.delivered > 0 and 0 < found.step_seconds < 10
    assert len(found.overheads) == input_pipeline.ROUNDS and all(overhead > -1 for overhead in found.overheads)
    assert found.times_as_fast == pytest.approx(found.delivered * found.step_seconds)


def test_times_as_fast_is_the_pipeline_over_the_loop():
    assert input_pipeline.Found("", delivered=300.0, step_seconds=0.02, overheads=[]).times_as_fast == pytest.approx(
        6.0
    )


def test_what_was_found_is_printed_in_a_line(capsys, monkeypatch):
    found = input_pipeline.Found("recall rnn", 1234.0, 0.005, [0.01, 0.02, 0.03])
    asked = []
    monkeypatch.setattr(input_pipeline, "measure", lambda *words: asked.append(words) or found._replace(name=words[0]))
    monkeypatch.setattr(input_pipeline.backend, "configure", lambda *_: None)  # this process is other tests' too
    input_pipeline.main(["--seconds=0.5"])
    rnn, gru = asked  # without --data no text
    assert (rnn[0], gru[0], rnn[1].model.name, rnn[2]) == ("recall rnn", "recall gru", "rnn", 0.5)
    first, second = capsys.readouterr().out.splitlines()
    said = (
        ": pipeline alone 1,234 batches a second, 6.2 times what training takes (5.0 ms a step); "
        "the loop takes 2.0% longer than its program alone (10 % to 90 %: 1.2% to 2.8%)"
    )
    assert (first, second) == ("recall rnn" + said, "recall gru" + said)


def test_with_a_folder_text_is_measured_as_well():
    chosen = input_pipeline.configs("some/folder")
    assert list(chosen) == ["recall rnn", "recall gru", "multi30k gru_attention"]
    assert chosen["multi30k gru_attention"].data.dir == "some/folder"
    assert len({config.cpu_devices for config in chosen.values()}) == 1
