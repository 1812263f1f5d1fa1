"""What the environment asks of JAX and cannot be had is one line."""

import jax
import pytest

from training.machine import backend


@pytest.mark.parametrize(("name", "value"), [("jax_enable_x64", True), ("jax_numpy_rank_promotion", "raise")])
def test_what_nothing_is_written_for_is_refused(tmp_path, name, value):
    before = getattr(jax.config, name)
    jax.config.update(name, value)
    try:
        with pytest.raises(ValueError, match=f"{name.upper()} = {value} is not supported; unset it"):
            backend.configure(tmp_path / "run", False, 1, False)
    finally:
        jax.config.update(name, before)


def test_hardware_that_is_not_there_is_named(tmp_path, monkeypatch):
    def devices():
        raise AssertionError

    monkeypatch.setattr(jax, "devices", devices)
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    with pytest.raises(ValueError, match="JAX_PLATFORMS = 'cuda' is not to be had on this machine; use cpu"):
        backend.configure(tmp_path / "run", False, 1, False)
