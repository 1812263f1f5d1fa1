"""What the environment asks of JAX and cannot be had is one line."""

import importlib
import os

import jax
import pytest

from training.command import usage
from training.machine import backend, provenance


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("jax_enable_x64", True),
        ("jax_disable_jit", True),
        ("jax_numpy_rank_promotion", "raise"),
        ("jax_default_prng_impl", "rbg"),
    ],
)
def test_what_nothing_is_written_for_is_refused(tmp_path, name, value):
    before = getattr(jax.config, name)
    jax.config.update(name, value)
    try:
        for asks in (lambda: backend.configure(tmp_path / "run", False, 1, False), provenance.device):
            with pytest.raises(ValueError, match=f"{name.upper()} = {value} is not supported; unset it"):
                asks()
    finally:
        jax.config.update(name, before)


@pytest.mark.parametrize("name", ["JAX_PLATFORMS", "JAX_PLATFORM_NAME"])
def test_hardware_that_is_not_there_is_named(tmp_path, monkeypatch, name):
    def devices():
        raise AssertionError

    monkeypatch.setattr(jax, "devices", devices)
    monkeypatch.setenv(name, "cuda")
    with pytest.raises(ValueError, match=f"{name} = 'cuda' is not to be had on this machine; use cpu"):
        backend.configure(tmp_path / "run", False, 1, False)


@pytest.mark.parametrize(
    ("forced", "given", "devices"), [("", 8, 8), ("--xla_force_host_platform_device_count=3", 1, 3)]
)
def test_devices_of_one_cpu_have_threads_to_wait_in(tmp_path, monkeypatch, forced, given, devices):
    for name in ("PJRT_NPROC", "NPROC"):
        monkeypatch.setenv(name, "unset afterwards")
        monkeypatch.delenv(name)
    monkeypatch.setenv("XLA_FLAGS", forced)
    monkeypatch.setattr(backend.jax.config, "update", lambda *setting: None)  # there are devices already
    backend.configure(tmp_path / "run", False, given, False)
    assert int(os.environ["PJRT_NPROC"]) == os.cpu_count() + 4 * devices
    monkeypatch.setenv("PJRT_NPROC", "5")
    backend.configure(tmp_path / "run", False, given, False)
    assert os.environ["PJRT_NPROC"] == "5"


@pytest.mark.parametrize("number", [0, 100_000])
def test_a_cpu_of_none_or_too_many_devices_is_refused(tmp_path, monkeypatch, number):
    monkeypatch.setenv("XLA_FLAGS", f"--xla_force_host_platform_device_count={number}")
    with pytest.raises(ValueError, match=f"XLA_FLAGS asks for {number} devices of a CPU; use 1 to "):
        backend.configure(tmp_path / "run", False, 1, False)


def test_one_device_has_what_xla_takes(tmp_path, monkeypatch):
    monkeypatch.delenv("PJRT_NPROC", raising=False)
    backend.configure(tmp_path / "run", False, 1, False)
    assert "PJRT_NPROC" not in os.environ


def test_presets_use_one_device():
    for file in usage.config_files():
        for preset in getattr(importlib.import_module(f"configs.{file.stem}"), "PRESETS", {}).values():
            assert preset.get("cpu_devices", 1) == 1
