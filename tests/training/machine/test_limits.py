"""What the system allows a process is looked at before anything runs into it."""

import resource

import pytest

from training.machine import backend, limits


@pytest.fixture
def allowed(monkeypatch):
    """(soft, hard) limits by kind, and what was asked of the system instead."""
    allowed = {resource.RLIMIT_NOFILE: (1024, 4096), resource.RLIMIT_AS: (resource.RLIM_INFINITY,) * 2}
    monkeypatch.setattr(resource, "getrlimit", allowed.__getitem__)
    monkeypatch.setattr(resource, "setrlimit", allowed.__setitem__)
    return allowed


@pytest.mark.parametrize(
    ("before", "now"), [((256, 9000), 4096), ((256, 500), 500), ((256, -1), 4096), ((9000, -1), 9000)]
)
def test_a_program_takes_the_open_files_that_it_may_have(allowed, before, now):
    allowed[resource.RLIMIT_NOFILE] = before
    limits.check()
    assert allowed[resource.RLIMIT_NOFILE] == (now, before[1])


@pytest.mark.parametrize(
    ("kind", "limit", "said"),
    [
        (resource.RLIMIT_NOFILE, 20, "the limit of open files is 20, and a program needs 64; raise it with ulimit -n"),
        (
            resource.RLIMIT_AS,
            10**9,
            "the limit of address space is 1.00 GB, and a program needs 2.00 GB; raise it with ulimit -v",
        ),
    ],
)
def test_where_nothing_runs_one_line_says_which_limit_to_raise(allowed, capsys, kind, limit, said):
    allowed[kind] = (limit, limit)
    with pytest.raises(SystemExit) as ended:
        limits.check()
    assert ended.value.code == 2 and capsys.readouterr().err == f"error: {said}\n"


def test_a_device_has_no_more_memory_than_the_process_may_have(allowed, monkeypatch):
    whole = backend.device_bytes()
    allowed[resource.RLIMIT_AS] = (10**9, 10**9)
    assert backend.device_bytes() == 10**9 < whole
    monkeypatch.setattr(limits, "group_memory", lambda: 5e8)
    assert backend.device_bytes() == 5 * 10**8


@pytest.mark.parametrize(
    ("entries", "files", "bytes_"),
    [
        ("0::/job/step", {"job/memory.max": "700", "job/step/memory.max": "max"}, 700),
        (
            "3:cpu:/x\n2:memory:/job",
            {"memory/memory.limit_in_bytes": "900", "memory/job/memory.limit_in_bytes": "800"},
            800,
        ),
        ("0::/elsewhere", {"memory.max": "max"}, float("inf")),
        ("", {}, float("inf")),
    ],
)
def test_a_container_or_a_job_says_how_much_memory_there_is(tmp_path, monkeypatch, entries, files, bytes_):
    monkeypatch.setattr(limits, "GROUPS", tmp_path / "groups")
    monkeypatch.setattr(limits, "ENTRIES", tmp_path / "cgroup")
    limits.ENTRIES.write_text(entries)
    for name, text in files.items():
        (limits.GROUPS / name).parent.mkdir(parents=True, exist_ok=True)
        (limits.GROUPS / name).write_text(f"{text}\n")
    assert limits.group_memory() == bytes_
