"""What identifies a run: the config values that can change a number. Resuming and the tables of results use this.

Configs are given by dotted key (`models.options.flat`).
"""

import json
from collections.abc import Mapping
from typing import Any

from training.run import earlier

NO_NUMBER = ("every.log", "every.save", "keep", "profile", "tracker", "wandb")
"""Keys, or the first word of several, that say what is printed, tracked and stored."""
CHUNKED = ("delta_net", "linear_attention", "mamba", "mlstm")  # mixers
SPEED = ("deterministic", "keep_pages", "model.remat", "workers", *(f"model.{mixer}.chunk" for mixer in CHUNKED))
"""Keys that change time and memory, and numbers by rounding at most. They count where time is measured."""
PLACES = ("data.cache_dir", "data.dir", "data.file") + tuple(
    f"data.{split}_{side}" for split in ("train", "val", "test") for side in ("source", "target")
)
"""Where text lies; which text it is, `Task.content_hash` says."""


def values(config: Mapping[str, Any], *, timed: bool = False) -> dict[str, Any]:
    """The values that count, completed, as JSON gives them back; `timed` where time is measured."""
    aside = {*NO_NUMBER, *PLACES, *(() if timed else SPEED)}
    plain = json.loads(json.dumps(earlier.completed(config)))
    return {key: value for key, value in sorted(plain.items()) if not {key, key.split(".")[0]} & aside}


def differing(there: Mapping[str, Any], here: Mapping[str, Any], *, timed: bool = False) -> list[str]:
    """The keys whose values differ. One that a config lacks has its value of before there was the key, and one that
    has gone differs, unless everything goes by its value since (`earlier.py`)."""
    before, now = values(there, timed=timed), values(here, timed=timed)
    return [key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key)]
