"""Every row that is whole counts, and those that are lost are said."""

import json
import re
from typing import Any

from experiments.engine import progress, record
from training.run import metrics_file

ROWS = [{"kind": kind, "step": step, "loss": 0.5} for step in (2, 4, 6) for kind in ("train", "val")]


def written(path, *more):
    path.write_bytes(b"".join(json.dumps(row).encode() + b"\n" for row in ROWS) + b"\n".join(more))
    return path


def test_whole_rows_come_back_whatever_stands_between(tmp_path):
    odd = (
        b'{"kind": "tr',
        b"",
        b"\xff\xfe",
        b"[1]",
        b"null",
        b"[" * 99_999,
        b"3",
        b'{"step": 3}',
        b'{"kind": "train", "step": "3"}',
        b"\x00" * 50,
    )
    path = written(tmp_path / "metrics.jsonl", *odd, json.dumps(ROWS[0]).encode())
    assert list(metrics_file.rows(path)) == [*ROWS, ROWS[0]]
    assert list(metrics_file.rows(tmp_path / "absent")) == []


SUMMARY: dict[str, Any] = {"best": {}, "final": {}} | dict.fromkeys(
    ("num_params", "num_params_non_embedding", "tokens_seen", "target_tokens_per_second")
    + tuple(f"{activity}_seconds" for activity in ("training", "compile", "eval", "save")),
    1.0,
)


def test_the_engine_sees_the_last_whole_step(tmp_path):
    assert progress.last_step(tmp_path) == 0
    for more in (b"null", b"[1]", b'{"step": NaN, "kind": "val"}', b'{"step": "x"}', b"\xff", b'{"kind": "tr'):
        written(tmp_path / "metrics.jsonl", more)
        assert progress.last_step(tmp_path) == 6
    written(tmp_path / "metrics.jsonl", b'{"kind": "val", "step": 8}', b'{"kind": "val", "step": 10, "loss": null}')
    found = {one.measure: one.value for one in record.of_training(tmp_path, SUMMARY)}
    assert found["late_gain"] == 0.0  # not of a loss that is missing


def test_lost_rows_are_counted(tmp_path):
    path = written(tmp_path / "metrics.jsonl", b'{"torn')
    assert metrics_file.lost(path, 6, train=3, val=3) == metrics_file.lost(path, 4, train=2, val=2) == ""
    for kind, what in (("train", "1 of its 3 rows of training"), ("val", ".* and 1 of its 3 rows of validation")):
        whole = b'{"kind": "%s", "step": 4' % kind.encode()
        path.write_bytes(path.read_bytes().replace(whole, whole[:-5] + b"\x00\x00"))
        said = metrics_file.lost(path, 6, train=3, val=3)
        assert re.search(f"metrics.jsonl: up to step 6, {what} are lost", said)
    assert metrics_file.lost(path, 6, train=2, val=2) == ""  # a checkpoint of before has counted fewer
    path.unlink()
    assert metrics_file.lost(path, 6, train=3, val=3).endswith("the file is gone, and its rows up to step 6 with it")
    assert metrics_file.lost(path, 0, train=0, val=0) == ""
