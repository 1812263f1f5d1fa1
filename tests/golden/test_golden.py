"""Nothing that results rest on changes unseen: losses, gradients, steps, probes and decoded tokens are as they were.

Every entry of MODELS, TASKS, PROBES and METHODS is asked for its numbers (tests/golden/cases.py), which stand in
tests/golden/numbers.json.

Calibrated on an Intel Xeon (family 6, model 207), with `XLA_FLAGS=--xla_cpu_max_isa=AVX2` and with all that it has
(AVX-512), on one core (`taskset -c 0`) and on two: as the tests compile (tests/conftest.py) all four gave the same, to
the last digit written down; compiled in earnest, the furthest number lay 8 % of what is allowed away, and no token was
another. The maker refuses what another rounding could change.
"""

import re

import pytest

import models
from experiments.questions import QUESTIONS
from tests.golden import cases, numbers, text
from training.run.checkpoint import Checkpoints, arrays, checksum

WALKED = [(kind, name) for kind, (_, table) in cases.CASES.items() for name in sorted(table)]


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    return text.write(tmp_path_factory.mktemp("text"))


@pytest.mark.parametrize(("kind", "name"), WALKED)
def test_numbers_are_as_they_were(kind, name, texts):
    held = numbers.read()
    if name not in held[kind]:
        pytest.fail(numbers.fault(kind, name, {}, held))
    found = cases.CASES[kind][0](name, texts)
    if fault := numbers.fault(kind, name, found, held):
        pytest.fail(fault)


@pytest.mark.parametrize("name", sorted(name for name, kind in models.MODELS.items() if not kind.counted))
def test_every_architecture_goes_on_from_a_checkpoint_bit_for_bit(name, tmp_path):
    """With dropout: the third and fourth step, from what was read back after the second."""
    steps = cases.steps_with(name, 0.0)

    def after(state, start):
        states = [state]
        for number, batch in enumerate(steps.batches(start), start):
            states.append(steps.step(states[-1], batch, steps.dials(number))[0])
        return states

    _, _, second, *_, whole = after(steps.first, 0)
    Checkpoints(tmp_path, keep=1).save(2, second, {})
    read, _ = Checkpoints(tmp_path, keep=1).restore(2, steps.first)
    resumed = after(read, 2)[-1]
    assert checksum(resumed) == checksum(whole) != checksum(second)
    assert arrays(resumed) == arrays(whole)


def test_no_number_is_of_something_that_is_gone():
    held = {(kind, name) for kind, found in numbers.read().items() for name in found}
    assert held <= set(WALKED), f"numbers of what is in no table; make them anew: {numbers.COMMAND}"


def test_what_has_no_number_names_the_command_that_adds_it():
    assert numbers.fault("architectures", "averaging", {}, numbers.read()) == (
        "architectures/averaging has no golden numbers; add them: .venv/bin/python -m tests.golden.make"
    )


HELD = {"tasks": {"recall": {"at first": {"loss": 2.0, "small": 0.0}, "after 3 steps": {"loss": 2.0}, "tokens": "3 4"}}}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, ""),
        ({"at first": {"loss": 2.0001, "small": 1e-6}, "after 3 steps": {"loss": 2.001}}, ""),
        ({"at first": {"loss": 2.0003, "small": 0.0}}, "at first loss: 2.0003, was 2.0"),
        ({"at first": {"loss": 2.0, "small": 1e-5}}, "at first small: 1e-05, was 0.0"),
        ({"after 3 steps": {"loss": 2.003}}, "after 3 steps loss: 2.003, was 2.0"),
        ({"after 3 steps": {"loss": float("nan")}}, "after 3 steps loss: nan, was 2.0"),
        ({"after 3 steps": {}}, "after 3 steps loss: nothing, was 2.0"),
        ({"tokens": "3 5"}, "tokens: 3 5, was 3 4"),
    ],
)
def test_what_changed_is_said_with_what_to_do(change, said):
    fault = numbers.fault("tasks", "recall", HELD["tasks"]["recall"] | change, HELD)
    assert bool(fault) == bool(said) and said in fault
    if said:
        assert fault.count(", was ") == 1 and re.search(
            "raise VERSION.*experiments/questions.*tests.golden.make", fault
        )


def test_the_questions_to_look_at_are_named():
    def named(kind, name):
        return re.findall(r"experiments/questions/(\w+)\.py", numbers.advice(kind, name))

    assert named("tasks", "recall") == ["long_range", "head_count", "mixers"]
    assert named("probes", "gradient_by_time") == ["gradient_flow"]
    assert named("architectures", "gru") == ["sentence_length"]
    assert "throughput" in named("architectures", "lstm_decoder")  # beside its run
    assert named("decoding", "greedy") == list(QUESTIONS)  # any probe may decode
    assert named("tasks", "tfds") == []
    assert numbers.advice("tasks", "tfds").startswith("No question has runs of it")
