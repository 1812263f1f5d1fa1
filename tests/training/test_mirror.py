"""Nothing that mirrors a run ends it: whatever fails or hangs is said once and left out."""

import errno
import os
import signal
import struct
import sys
import time

import pytest

import train
from experiments import run
from tests.training import runs, wandb_files
from training.command import config_file
from training.evaluation import samples
from training.mirrors import mirror, wandb_account, wandb_run, writer
from training.mirrors.mirror import Mirror
from training.run import tracking


@pytest.fixture(autouse=True)
def nobody(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nothing answers there
    for name in ("WANDB_API_KEY", "WANDB_MODE", "NETRC", "WANDB_RUN_ID"):
        monkeypatch.delenv(name, raising=False)


class Failing:
    """A writer whose methods fail in one way."""

    def __init__(self, fail):
        self.fail, self.calls = fail, 0

    def __getattr__(self, name):
        def method(*arguments, **options):
            self.calls += 1
            self.fail()

        return method


def hang():
    time.sleep(60)


def refuse():
    raise ConnectionError("the service is gone\nas of today")


@pytest.mark.parametrize(("fail", "said"), [(refuse, "is gone as of today"), (hang, "no answer in 0 seconds")])
def test_what_fails_or_hangs_is_said_once_and_left_out(tmp_path, monkeypatch, capsys, fail, said):
    failing = Failing(fail)
    monkeypatch.setattr(mirror, "start", lambda *_: failing)
    for limit in ("CALL", "FINISH"):
        monkeypatch.setattr(mirror, limit, 0.2)
    with Mirror(tmp_path, runs.config("recall", "gru")) as made:
        assert made.listens
        made.log(1, {"loss": 1.0})
        made.log(2, {"loss": 1.0})
        made.curve("x", "y", [{"y": 1.0}])
        made.summarise({})
        assert not made.listens
    error = capsys.readouterr().err
    assert failing.calls == 1 and said in error and error.count("\n") == 1


def test_a_key_without_a_network_trains_offline_at_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    assert train.train(runs.config("parity", "rnn", steps=2, wandb__mode="auto"), tmp_path / "run")
    assert "does not answer; going on offline" in capsys.readouterr().err
    assert any("train/loss" in row for row in wandb_files.read(tmp_path / "run").history)


@pytest.mark.parametrize("kept", ["", "  \n", "a/b", "x" * 200, "\x00"])
def test_an_id_that_wandb_would_refuse_is_replaced(tmp_path, kept):
    (tmp_path / "wandb_id").write_text(kept)
    found = writer.run_id(tmp_path)
    assert writer.ID.fullmatch(found) and writer.run_id(tmp_path) == found


@pytest.mark.parametrize("given", ["", "a bad/id"])
def test_an_id_of_the_environment_that_wandb_would_refuse_is_replaced(tmp_path, monkeypatch, capsys, given):
    monkeypatch.setenv("WANDB_RUN_ID", given)
    with Mirror(tmp_path, runs.config("recall", "gru", wandb__mode="offline")) as mirror:
        assert mirror.listens
    assert capsys.readouterr().err == "" and set(wandb_files.read(tmp_path).ids) == {writer.run_id(tmp_path)}


def test_a_start_and_an_end_that_take_long_say_so(tmp_path, monkeypatch, capsys):
    class Slow(Failing):
        def finish(self, *, failed):
            time.sleep(0.3)

    def start(*given):
        time.sleep(0.3)
        return Slow(hang)

    monkeypatch.setattr(mirror, "start", start)
    monkeypatch.setattr(mirror, "SILENT", 0.2)
    with Mirror(tmp_path, runs.config("recall", "gru")):
        pass
    assert capsys.readouterr().err == "wandb starts: 0 s so far\nwandb takes in the rest: 0 s so far\n"


def test_a_server_that_answers_in_drops_is_as_good_as_none(monkeypatch):
    def slowly(*given, **options):
        time.sleep(5)
        raise OSError

    monkeypatch.setattr("urllib.request.urlopen", slowly)
    monkeypatch.setattr(wandb_account, "PATIENCE", 0.2)
    begun = time.monotonic()
    assert not wandb_account.reachable() and time.monotonic() - begun < 4


def test_what_fails_online_and_offline_is_said_once(tmp_path, monkeypatch, capsys):
    def fails(**options):
        raise RuntimeError("no such thing")

    monkeypatch.setattr("wandb.init", fails)
    with Mirror(tmp_path, runs.config("recall", "gru", wandb__mode="offline")) as mirror:
        assert not mirror.listens
    error = capsys.readouterr().err
    assert error.count("no such thing") == 1 and "going on without it" in error and "going on offline" not in error


def test_an_id_in_use_is_left_to_whoever_uses_it(tmp_path, capsys):
    config = runs.config("recall", "gru", wandb__mode="offline")
    (tmp_path / "wandb_id").write_text("taken")
    with Mirror(tmp_path, config) as first, Mirror(tmp_path, config) as second:
        assert first.listens and second.listens
    assert "is in use" in capsys.readouterr().err and (tmp_path / "wandb_id").read_text() != "taken"


@pytest.mark.parametrize(("said", "mode"), [("disabled", None), ("offline", "offline"), ("dryrun", "offline")])
def test_the_environment_says_the_mode_where_the_config_does_not(monkeypatch, tmp_path, said, mode):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_MODE", said)
    assert wandb_account.mode_of("auto") == (mode or "disabled")
    assert wandb_account.mode_of("online") == "online"
    started = wandb_run.start_wandb(tmp_path, runs.config("recall", "gru", wandb__mode="auto"))
    assert (started is None) == (mode is None) and (tmp_path / "wandb").exists() == (mode is not None)
    if started:
        started.finish(failed=False)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"project": "team/project"}, "wandb.project = 'team/project' holds /.*WANDB_ENTITY"),
        ({"project": ""}, "is empty"),
        ({"project": "p" * 129}, "longer than 128"),
        ({"mode": "online"}, "wandb.mode = 'online' needs credentials"),
    ],
)
def test_what_wandb_would_refuse_is_one_line_before_anything_is_built(values, said):
    with pytest.raises(ValueError, match=said):
        wandb_account.check(**{"mode": "offline", "project": "longreach", **values})


def test_a_project_of_the_environment_that_wandb_would_refuse_is_one_line(monkeypatch):
    monkeypatch.setenv("WANDB_PROJECT", "team/project")
    with pytest.raises(ValueError, match="WANDB_PROJECT = 'team/project' holds /"):
        wandb_account.check("offline", "longreach")
    wandb_account.check("disabled", "longreach")


def test_a_project_of_the_environment_is_that_of_every_config(monkeypatch):
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    assert config_file.load("configs/recall.py:gru").wandb.project == "mine"
    monkeypatch.setenv("WANDB_PROJECT", "")
    assert config_file.load("configs/recall.py:gru").wandb.project == "longreach"


@pytest.mark.parametrize(("name", "value"), [("NETRC", b"machine x login \xe9"), ("WANDB_BASE_URL", b"http://[::1")])
def test_an_environment_that_cannot_be_read_holds_no_credentials(monkeypatch, tmp_path, name, value):
    (tmp_path / "netrc").write_bytes(value if name == "NETRC" else b"machine x login y password z")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_BASE_URL", value.decode() if name == "WANDB_BASE_URL" else "")
    assert wandb_account.mode_of("auto") == "offline"


def test_a_mode_of_the_environment_that_cannot_be(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "online")
    with pytest.raises(ValueError, match="WANDB_MODE = 'online' needs credentials"):
        wandb_account.mode_of("auto")
    monkeypatch.setenv("WANDB_DISABLED", "true")
    with pytest.raises(ValueError, match="WANDB_MODE = 'online' needs credentials"):  # which goes before
        wandb_account.mode_of("auto")
    monkeypatch.setenv("WANDB_MODE", "")
    assert wandb_account.mode_of("auto") == "disabled"
    monkeypatch.setenv("WANDB_MODE", "sometimes")
    with pytest.raises(ValueError, match="WANDB_MODE = 'sometimes' is not known"):
        wandb_account.mode_of("auto")


def test_samples_that_fail_leave_a_run_that_has_saved_first(tmp_path, monkeypatch, capsys):
    seen = []

    def fail(model, task, batch, workdir):
        seen.append(sorted(path.name for path in (workdir / "checkpoints").iterdir() if path.name.isdigit()))
        raise MemoryError("too large to draw")

    monkeypatch.setattr(samples, "make", fail)
    assert train.train(runs.config("recall", "gru", wandb__mode="offline"), tmp_path / "run")
    error = capsys.readouterr().err
    assert error.count("too large to draw; the run goes on without them") == 1
    assert seen == [["4"]]  # once, and when step 4 was saved


def test_samples_wait_for_the_next_save(tmp_path, monkeypatch):
    """An evaluation that is no save step draws nothing that a crash of drawing could cost."""
    seen = []

    def draw(model, task, batch, workdir):
        seen.append(max(int(path.name) for path in (workdir / "checkpoints").iterdir() if path.name.isdigit()))
        return writer.Samples([], [], {})

    monkeypatch.setattr(samples, "make", draw)
    config = runs.config("recall", "gru", wandb__mode="offline", steps=9, every__eval=2, every__save=3)
    assert train.train(config, tmp_path / "run")
    assert seen == [3, 6, 9]


def test_samples_that_take_too_long_are_left_behind(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(samples, "make", lambda *given: hang())
    monkeypatch.setattr(tracking, "MOST_SECONDS", 0.2)
    assert train.train(runs.config("recall", "gru", wandb__mode="offline"), tmp_path / "run")
    assert capsys.readouterr().err.count("samples: no answer in 0 seconds; the run goes on without them") == 1


def test_a_stuck_process_of_wandb_is_ended_and_keeps_no_program_from_ending(tmp_path, monkeypatch, capsys):
    """Its hook at exit would wait for that process for ever; other runs of this process get another."""
    import wandb

    config = runs.config("recall", "gru", wandb__mode="offline")
    with monkeypatch.context() as short, Mirror(tmp_path / "stuck", config):
        short.setattr(mirror, "FINISH", 2.0)
        stuck = wandb.setup().ensure_service()._proc._process
        stuck.send_signal(signal.SIGSTOP)
    assert stuck.poll() == -signal.SIGKILL
    assert "wandb: no answer in 2 seconds; going on without it" in capsys.readouterr().err
    with Mirror(tmp_path / "next", config) as after:
        after.log(1, {"loss": 1.0})
        assert after.listens
    assert any("loss" in row for row in wandb_files.read(tmp_path / "next").history)


@pytest.mark.parametrize(("name", "package"), [("tensorboard", "tensorboardX"), ("trackio", "trackio")])
def test_a_tracker_that_is_not_installed_says_how_to(tmp_path, monkeypatch, capsys, name, package):
    monkeypatch.setitem(sys.modules, package, None)
    assert train.train(runs.config("parity", "rnn", steps=2, tracker__name=name), tmp_path / "run")
    assert f"{name} is not installed; run python -m pip install {package}" in capsys.readouterr().err


def test_tensorboard_files_hold_rows_and_pictures(tmp_path):
    config = runs.config("recall", "gru_attention", steps=2, tracker__name="tensorboard")
    train.train(config, tmp_path / "run")
    config.steps = 4
    train.train(config, tmp_path / "run", accept_changes=True)
    written = [event for file in (tmp_path / "run" / "tensorboard").iterdir() for event in events(file)]
    tags = {value.tag for event in written for value in event.summary.value}
    assert {"train/loss", "val/token_accuracy", "attention", "summary/text_summary"} <= tags
    losses = [(event.step, value) for event in written for value in event.summary.value if value.tag == "train/loss"]
    assert {step for step, _ in losses} == {2, 4} and all(value.simple_value > 0 for _, value in losses)
    assert [event.step for event in written if event.session_log.status == 1] == [3]


def events(file):
    """What an event file holds: each record is its length in 8 bytes, 4 bytes of checksum, the record, and 4 more."""
    from tensorboardX.proto.event_pb2 import Event

    content, found, place = file.read_bytes(), [], 0
    while place < len(content):
        (size,) = struct.unpack_from("<Q", content, place)
        found.append(Event.FromString(content[place + 12 : place + 12 + size]))
        place += size + 16
    return found


def test_a_full_disk_leaves_tensorboard_out_in_one_line(tmp_path, monkeypatch, capfd):
    from tensorboardX.record_writer import RecordWriter

    def full(self, data):
        self.close()  # else the file, which the library leaves open, is reported when it is collected
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(RecordWriter, "write", full)
    assert train.train(runs.config("recall", "gru", steps=2, tracker__name="tensorboard"), tmp_path / "run")
    error = capfd.readouterr().err
    assert error.count("tensorboard: [Errno 28] No space left on device; going on without it") == 1
    assert "Traceback" not in error


def test_trackio_keeps_rows(tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    pytest.importorskip("trackio", reason="needs the optional package: pip install trackio")
    train.train(runs.config("recall", "gru", steps=2, tracker__name="trackio"), tmp_path / "run")
    assert b"train/loss" in b"".join(file.read_bytes() for file in (tmp_path / "trackio").glob("*.db*"))


def test_a_question_that_is_to_go_online_without_credentials_is_one_line(capsys, tmp_path):
    with pytest.raises(SystemExit) as stopped:
        run.main(["parity", "--scale=smoke", "--wandb=online", f"--runs={tmp_path}/r", f"--results={tmp_path}/s"])
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and "needs credentials" in error and error.count("\n") == 1
    assert not (tmp_path / "r").exists()
