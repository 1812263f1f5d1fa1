"""The benchmark of replicas: both ways take real steps, a ratio is a seed's time alone over its time with others."""

import pytest

from benchmarks import replicas
from benchmarks.replicas import Way, ways
from tests.training import runs


@pytest.mark.parametrize("axis", ["alone", "mapped", "vectorised"])
def test_every_way_takes_steps(axis):
    with runs.compiled_in_haste():
        program = replicas.build(Way("gru", 2, axis, 1))
        program.step()
        program.wait()
    assert program.num_params == 54084  # of one run, as the first line of a run says
    assert program.peak_memory() > 10**7


class Known:
    """A process that takes so many seconds for a step."""

    def __init__(self, way):
        base = {"alone": 0.1, "mapped": 0.4, "vectorised": 0.8}[way.axis]
        self.seconds, self.asked = base * (1 if way.devices == 1 else 1.5 if way.axis == "alone" else 0.5), []

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def ask(self, command):
        word, *steps = command.split()
        self.asked.append(command)
        return {"peak_memory_bytes": 1} if word == "quit" else {"seconds": self.seconds * int(steps[0])}


def test_ratios_are_against_the_fastest_way_to_train_one(monkeypatch):
    monkeypatch.setattr(replicas, "Running", Known)
    found = replicas.measure("gru", 8, [1, 2], 3)
    ratios = {row["way"]: row["ratio"] for row in found["ways"]}
    assert ratios == {
        "1 seed, 1 devices": 1, "1 seed, 2 devices": pytest.approx(1 / 1.5),
        "8 seeds, mapped, 1 devices": pytest.approx(2), "8 seeds, mapped, 2 devices": pytest.approx(4),
        "8 seeds, vectorised, 1 devices": pytest.approx(1), "8 seeds, vectorised, 2 devices": pytest.approx(2),
    }  # fmt: skip
    assert all(row["rounds"] == 3 for row in found["ways"])


def test_the_table_is_whole_in_a_pipe(capsys, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    row = {"median_seconds": 1234.5, "ratio": 1.38, "ratio_low": 1.35, "ratio_high": 1.4, "peak_memory_bytes": 2**43}
    names = [way.name for way in ways("gru_attention", 8, [1, 2])]
    replicas.print_table([{"model": "gru_attention " * 10, "ways": [row | {"way": name} for name in names]}])
    printed = capsys.readouterr().out
    assert "…" not in printed and printed.count("1.38 (1.35 to 1.40)") == printed.count("8,388,608 MiB") == len(names)
    assert all(name in printed for name in names)


def test_batches_made_ahead_are_used_up_before_the_clock_runs():
    way = ways("gru", 8, [1])[0]
    known = Known(way)
    assert len(list(replicas.rounds([known], [way], 2))) == 2
    assert known.asked == ["step 2"] * 2 + ["step 10"] * 4  # a round of 0.1 s a step to see, then two of a second twice


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["gru_"], "MODEL = gru_ is not measured; choose from gru, gru_attention"),
        (["--seeds=0"], "--seeds = 0 is too small"),
        (["--devices", "1", "0"], "--devices = 0 is too small"),
    ],
)
def test_mistakes_end_in_one_line(capsys, words, said):
    with pytest.raises(SystemExit) as ended:
        replicas.main(words)
    assert ended.value.code == 2 and said in capsys.readouterr().err
