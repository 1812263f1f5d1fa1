"""Which version of a run a result belongs to, and which files have changed since it was made.

A result counts for a run if these agree: the question's VERSION, the config values that can change a number
(`training/run/identity.py`), the options of its probes, and the text it read. Nothing else decides, except that runs
that measure time need the same processor (`results.py`).
"""

import functools
import json
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from ml_collections import ConfigDict

import data
from experiments.analysis.frames import DataFrame
from experiments.engine.schedule import Due
from models.options import flat
from training.machine.provenance import git, tree
from training.run import earlier, identity

ROOMS = ("data", "models", "training", "experiments")  # whose files numbers come from
NAMED = 3  # files that are named where more have changed


OWN_TEXT = [key.removeprefix("data.") for key in identity.PLACES if key not in ("data.cache_dir", "data.file")]
"""Keys of `config.data` that say where text of one's own lies."""


class Version(NamedTuple):
    """The version of a run that is due."""

    question: int
    config: dict[str, Any]  # by dotted key
    probes: str  # what they are asked, as the table keeps it: a result of other options is another result
    text: Mapping[str, str]  # split -> hash; empty where there is none, or none at hand
    timed: bool  # whether time is measured

    @classmethod
    def of(cls, due: Due) -> Self:
        config = due.config
        probes = json.dumps([[one.probe, list(one.at), dict(one.options)] for one in due.probes], sort_keys=True)
        # What would have to be downloaded to be looked at is taken to be what it was.
        text = _text(config.task, config.data.to_json()) if any(map(config.data.get, OWN_TEXT)) else {}
        return cls(due.version, flat(config.to_dict()), probes, text, due.alone)

    @property
    def columns(self) -> dict[str, Any]:
        """Columns of the table; a row's `text` is written once the run has read it."""
        values = identity.values(self.config, timed=True)
        return {"version": self.question, "config": json.dumps(values), "probes": self.probes}

    def differs(self, row: Mapping[str, Any]) -> str:
        """Why a row of the table is of another version; empty if it is not."""
        if row["version"] != self.question:
            return f"version = {row['version']:g}, now {self.question}"
        was, now = earlier.IN_TABLES | json.loads(row["config"]), self.config
        for key in identity.differing(was, now, timed=self.timed):
            before, after = (identity.values(config, timed=True).get(key) for config in (was, now))
            return f"{key} = {before!r}, now {after!r}"
        if row["probes"] != self.probes:
            return f"probes = {row['probes']}, now {self.probes}"
        read = json.loads(row["text"])
        return next((f"another text of {s}" for s in read if read[s] != self.text.get(s, read[s])), "")


@functools.cache
def _text(task: str, values: str) -> dict[str, str]:
    made = data.build(task, ConfigDict(json.loads(values)))
    return made.content_hash(*made.splits)


def trees() -> str:
    """Git's ids of the rooms in this checkout, as the table stores them."""
    return json.dumps({room: tree(room) for room in ROOMS})


def since(everything: DataFrame) -> str:
    """One line on the files that have changed since the runs of a table; empty if none has."""
    changed: dict[str, None] = {}
    commits = []
    new = git("ls-files", "--others", "--exclude-standard", "--", *ROOMS).splitlines()
    for made, ids in dict.fromkeys(zip(everything["commit"], everything["trees"], strict=True)):
        commit, then = made.rstrip("+"), json.loads(ids or "{}")
        edited = made.endswith("+") or any(of_room.endswith("+") for of_room in then.values())
        if git("cat-file", "-t", commit):
            found = git("diff", "--name-only", commit, "--", *ROOMS).splitlines() + new
        else:  # not in this repository
            found = [f"{room}/" for room in then if then[room].endswith("+") or then[room] != tree(room)]
        if found or edited:
            commits.append(commit[:10] + " with changes of its own" * edited)
            changed |= dict.fromkeys(found)
    if not commits:
        return ""
    names = sorted(changed)
    some = ", ".join(names[:NAMED]) + f" and {len(names) - NAMED} more" * (len(names) > NAMED)
    count = "1 file differs" if len(names) == 1 else f"{len(names)} files differ"
    return f"runs are of {', '.join(commits)}; {count} now" + f" ({some})" * bool(some)
