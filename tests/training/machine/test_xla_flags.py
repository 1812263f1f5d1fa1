"""Flags of XLA that it does not know are one line and status 2; XLA itself would end the process."""

import os

import pytest

from training.machine import xla_flags


@pytest.fixture
def asked(monkeypatch):
    """The flags that XLA is asked about; it refuses those that are bad."""
    asked = []

    def refusal(flags):
        asked.append(flags)
        return "Unknown flag" * ("bad" in flags)

    monkeypatch.setattr(xla_flags, "refusal", refusal)
    monkeypatch.setenv(xla_flags.TAKEN, "")
    return asked


def test_flags_that_xla_does_not_take_end_the_program(asked, monkeypatch, capsys):
    monkeypatch.setenv("XLA_FLAGS", "--xla_bad=1")
    with pytest.raises(SystemExit) as ended:
        xla_flags.check()
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert said == "error: XLA_FLAGS = '--xla_bad=1': Unknown flag; correct it or unset it\n"


def test_xla_is_asked_once_and_only_where_there_are_flags(asked, monkeypatch):
    for flags in ("", " "):
        monkeypatch.setenv("XLA_FLAGS", flags)
        xla_flags.check()
    assert not asked
    monkeypatch.setenv("XLA_FLAGS", "--xla_good=1")
    xla_flags.check()
    xla_flags.check()  # of a process that this one starts
    assert asked == ["--xla_good=1"] and os.environ[xla_flags.TAKEN] == "--xla_good=1"


@pytest.mark.processes
@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--xla_cpu_max_isa=AVX2 --xla_force_host_platform_device_count=2", ""),
        ("--xla_nonsense=1", "--xla_nonsense=1"),
        ("--xla_cpu_max_isa=AVX9", "Unknown CPU ISA: AVX9"),
    ],
)
def test_xla_says_what_it_does_not_know(flags, said):
    found = xla_flags.refusal(flags)
    assert bool(found) == bool(said) and said in found and "\n" not in found
