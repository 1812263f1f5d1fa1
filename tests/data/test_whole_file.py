"""What is replaced is replaced whole: through a failure, a full disk and a second writer."""

import os
import re

import pytest

from data import whole_file


def test_the_file_is_there_with_the_rights_of_any_other(tmp_path):
    path, plain = tmp_path / "new" / "a.json", tmp_path / "plain"
    whole_file.write_json(path, {"ä": 1.5})
    plain.write_text("")
    assert path.read_bytes() == b'{\n "\\u00e4": 1.5\n}\n' and path.stat().st_mode == plain.stat().st_mode
    path.chmod(0o600)
    whole_file.write_text(path, "ü\n")
    assert path.read_bytes() == b"\xc3\xbc\n" and path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["a.json"]


def test_what_fails_half_way_leaves_what_was_there(tmp_path):
    path = tmp_path / "a.svg"
    path.write_text("before")
    with pytest.raises(ZeroDivisionError), whole_file.replacing(path) as partial:
        assert partial.suffix == ".svg"  # by which some writers choose a format
        partial.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


def test_it_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    path, events = tmp_path / "a", []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr("os.fsync", lambda handle: events.append("fsync") or fsync(handle))
    monkeypatch.setattr("os.replace", lambda *paths: events.append("replace") or replace(*paths))
    monkeypatch.setattr("pathlib.os.replace", lambda *paths: events.append("replace") or replace(*paths))
    whole_file.write_text(path, "x")
    assert events == ["fsync", "replace", "fsync"]  # the second is the folder's


def test_a_disk_that_refuses_is_named(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match=re.escape(f"{tmp_path}/a: could not be written (No space left on device)")):
        whole_file.write_text(tmp_path / "a", "x")
    assert list(tmp_path.iterdir()) == []


def test_a_pipe_stays_what_it_is(tmp_path):
    """So do devices: as root, a file that takes the place of /dev/null is in everybody's way."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(
        OSError, match=r"pipe: could not be written \(it is a device or a pipe, which no file may replace"
    ):
        whole_file.write_text(tmp_path / "pipe", "x")
    assert (tmp_path / "pipe").is_fifo() and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "is empty"), (b'{"a": 1', "is damaged"), (b"\xff\x00", "is damaged"), (b"[1]", "holds no JSON object")],
)
def test_odd_json_is_one_line_with_the_path(tmp_path, content, said):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))} {said}.*; do this$"):
        whole_file.read_json(path, "do this")


def test_json_comes_back(tmp_path):
    whole_file.write_json(tmp_path / "a", {"b": [1, None, "ü"]})
    assert whole_file.read_json(tmp_path / "a", "") == {"b": [1, None, "ü"]}
