"""What does not fit the machine is refused before anything is allocated; what fits is not."""

import pytest

import data
from tests.training import runs
from training.run import memory


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(memory, "device_bytes", lambda: 2_000_000)


def check(**values):
    config = runs.config("recall", "gru", **values)
    memory.check(config, data.build(config.task, config.data).spec)


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
