"""What a run is: the values of its config that can change a number. Resuming and the tables of results ask here.

Configs are given by dotted key (`models.options.flat`).
"""

import json
from collections.abc import Mapping
from typing import Any

from data.tokenizers import normalization_before

NO_NUMBER = ("every.log", "every.save", "keep", "profile", "tracker", "wandb")
"""Keys, or the first word of several, that say what is printed, tracked and stored."""
SPEED = ("deterministic", "keep_pages", "model.remat", "workers")
"""Keys that change time and memory, and numbers by rounding at most. They count where time is measured."""
PLACES = ("data.cache_dir", "data.dir", "data.file") + tuple(
    f"data.{split}_{side}" for split in ("train", "val", "test") for side in ("source", "target")
)
"""Where text lies; which text it is, `Task.content_hash` says."""
LATER: dict[str, Any] = {
    "data.test_range": 0,
    "decode_examples": 500,  # with every.decode, which checkpoint is best where best.metric is BLEU
    "every.decode": 0,
    "loss_positions": 0,
    "model.variational_dropout": False,
}
"""Keys that came after the first runs, with the value by which those went."""


def values(config: Mapping[str, Any], *, timed: bool = False) -> dict[str, Any]:
    """The values that count, as JSON gives them back; `timed` where time is measured."""
    aside = {*NO_NUMBER, *PLACES, *(() if timed else SPEED)}
    plain = json.loads(json.dumps(dict(config)))
    if name := plain.get("data.tokenizer.name"):
        plain.setdefault("data.tokenizer.normalization", normalization_before(name))
    return {key: value for key, value in sorted(plain.items()) if not {key, key.split(".")[0]} & aside}


def differing(there: Mapping[str, Any], here: Mapping[str, Any], *, timed: bool = False) -> list[str]:
    """The keys whose values differ. One that a config lacks has its value of `LATER`; where that names none, it came or
    went with the code and is no difference."""
    before, now = values(there, timed=timed), values(here, timed=timed)
    keys = sorted(before.keys() | now.keys())
    return [k for k in keys if before.get(k, LATER.get(k, now.get(k))) != now.get(k, LATER.get(k, before.get(k)))]
