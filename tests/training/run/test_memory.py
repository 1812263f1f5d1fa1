"""What does not fit the machine is refused before anything is allocated; what fits is not."""

import jax
import jax.numpy as jnp
import pytest

import data
from data import pipeline
from tests.training import runs
from training.machine import programs
from training.run import memory
from training.step.train_step import Recipe


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(memory, "device_bytes", lambda: 2_000_000)


def check(**values):
    config = runs.config("recall", "gru", **values)
    task, batching = data.build(config.task, config.data), pipeline.Batching.of(config)
    memory.check(config.model, Recipe.of(config), batching, task, config.eval_examples)


def test_what_fits_goes_on(small):
    check()


def test_parameters_gradients_and_both_moments_must_fit(small):
    with pytest.raises(ValueError, match=r"model\.hidden_size = 512 and the other .* 0\.0 GB a device; lower model"):
        check(model__hidden_size=512)


@pytest.mark.parametrize("values", [{}, {"loss_positions": 1}])
def test_a_batch_must_fit(small, values):
    with pytest.raises(ValueError, match=r"batch_size = 1000000 makes batches .*; lower batch_size"):
        check(batch_size=1_000_000, **values)


def test_the_machine_has_memory():
    assert memory.device_bytes() > 100e6


def test_what_is_evaluated_on_must_fit(small):
    with pytest.raises(
        ValueError, match=r"eval_examples = 0 makes 1,000,000 examples which .* GB a device; lower eval_ex"
    ):
        check(data__val_examples=1_000_000, eval_examples=0)
    check(data__val_examples=1_000_000, eval_examples=32)


def test_a_program_must_fit_before_it_runs(monkeypatch):
    program = jax.jit(lambda x: (x @ x).sum()).lower(jnp.ones((64, 64))).compile()
    programs.check_memory(program, "a program")
    monkeypatch.setattr(programs.backend, "device_bytes", lambda: 10_000)
    with pytest.raises(MemoryError, match=r"^a program takes 0\.0 GB$") as error:
        programs.check_memory(program, "a program")
    assert "memory ran out: a program takes 0.0 GB; a device has" in (memory.exhausted(error.value) or "")
