"""A run's folder is one process's: on one machine, on two that share a file system, with locks and without."""

import errno
import fcntl
import json
import os
import resource
import signal
import subprocess
import sys
import time
import warnings

import pytest

from tests.training.processes import ROOT
from training.run import claim
from training.run.claim import claimed

HOLD = """
import sys, time
from pathlib import Path
from training.run import claim
claim.BEAT = 0.1
claim.socket.gethostname = lambda: sys.argv[2]
claim.fcntl.flock = lambda *given: None  # this machine's locks are not the other's
with claim.claimed(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def elsewhere(tmp_path):
    """A process that holds tmp_path/run, as on another machine."""
    words = [sys.executable, "-c", HOLD, str(tmp_path / "run"), "other"]
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout and process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


@pytest.fixture(params=[errno.ENOLCK, errno.EOPNOTSUPP])
def no_locks(request, monkeypatch):
    def flock(*given):
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", flock)


def left(folder, host, process, job="0-0", silent=0.0):
    """A folder whose holder was killed so many seconds ago."""
    folder.mkdir(parents=True)
    (folder / ".lock0").write_text(json.dumps([host, process, job]))
    then = time.time() - silent
    os.utime(folder / ".lock0", (then, then))
    return folder


def gone():
    """The number of a process that was."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_folder_is_claimed_by_one_process(tmp_path):
    with claimed(tmp_path / "run"):
        with pytest.raises(ValueError, match="is in use by another process"), claimed(tmp_path / "run"):
            pass
        with claimed(tmp_path / "run", process_index=1):  # a second process of the same run
            pass
    with claimed(tmp_path / "run"):
        pass


def test_two_hosts_never_share_a_folder_and_one_that_has_gone_gives_way(tmp_path, elsewhere, monkeypatch):
    with (
        pytest.raises(ValueError, match=rf"in use by another process \({elsewhere.pid} on other, last heard of") as one,
        claimed(tmp_path / "run"),
    ):
        pass
    assert "\n" not in str(one.value)
    elsewhere.send_signal(signal.SIGKILL)
    elsewhere.wait()
    monkeypatch.setattr(claim, "STALE", 0.0)  # as after a minute
    told = "other, which held it, has gone; this process takes over"
    with pytest.warns(UserWarning, match=told), claimed(tmp_path / "run"):
        pass
    with warnings.catch_warnings(), claimed(tmp_path / "run"):  # what was given back has no holder
        warnings.simplefilter("error")


def test_a_holder_elsewhere_is_heard_of(tmp_path, elsewhere):
    file = tmp_path / "run" / ".lock0"
    os.utime(file, (0, 0))
    deadline = time.monotonic() + 60
    while file.stat().st_mtime < 1:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_full_disk_is_one_line_with_the_file_and_the_way_out(tmp_path):
    """With a limit for the size of files, which is what a full disk is to a file that is to grow."""
    whole = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, whole[1]))
    try:
        said = r"/run/\.lock0: could not be written \(File too large\); free some disk"
        with pytest.raises(OSError, match=said), claimed(tmp_path / "run"):
            pytest.fail("nobody holds it")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, whole)
        signal.signal(signal.SIGXFSZ, before)


def test_what_was_killed_on_this_machine_gives_way_at_once(tmp_path):
    folder = left(tmp_path / "run", claim.socket.gethostname(), gone())
    with warnings.catch_warnings(), claimed(folder):
        warnings.simplefilter("error")


@pytest.mark.parametrize(("silent", "free"), [(5, False), (3600, True)])
def test_what_was_killed_elsewhere_counts_for_a_minute(tmp_path, silent, free):
    folder = left(tmp_path / "run", "other", 1, silent=silent)
    if free:
        with pytest.warns(UserWarning, match="takes over"), claimed(folder):
            return
    with pytest.raises(ValueError, match="1 on other, last heard of"), claimed(folder):
        pass


@pytest.mark.parametrize(("job", "free"), [("7-0", True), ("7-1", False), ("8-0", False)])
def test_a_job_that_slurm_started_again_elsewhere_does_not_wait(tmp_path, monkeypatch, job, free):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    folder = left(tmp_path / "run", "other", 1, job)
    if free:
        with pytest.warns(UserWarning, match="takes over"), claimed(folder):
            return
    with pytest.raises(ValueError, match="in use"), claimed(folder):
        pass


def test_a_file_system_without_locks_goes_by_who_holds_it(tmp_path, no_locks):
    refused = pytest.raises(ValueError, match=rf"\({os.getpid()} on ")
    with claimed(tmp_path / "run"), refused, claimed(tmp_path / "run"):
        pass
    with claimed(tmp_path / "run"):
        pass
    with claimed(left(tmp_path / "dead", claim.socket.gethostname(), gone())):
        pass
    with pytest.raises(ValueError, match="1 on other"), claimed(left(tmp_path / "far", "other", 1)):
        pass


@pytest.mark.parametrize("content", ["", "[", "{}", '["host"]', '["host", "x", ""]', "\x00"])
def test_what_a_kill_has_torn_is_nobodys(tmp_path, content):
    (tmp_path / ".lock0").write_text(content)
    with claimed(tmp_path):
        pass
