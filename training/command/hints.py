"""Which key a wrong one is likely to mean. Where none is near, nothing is said."""

import difflib
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import models
from models.options import flat

NEAR, SURE = 0.75, 0.9  # likeness of the last words of two keys: within a group, and whatever their groups
MOST = 3  # keys that are equally near; more are no hint
SIZES = {"batch_size": "tokens_per_batch", "tokens_per_batch": "batch_size"}  # a task has one of the two


def way_out(key: str, config: Mapping[str, Any], prefix: str = "") -> str:
    """What to use instead of `key`, which is not a key of `config`, or which architectures have it; "" where nothing
    is near. `prefix` goes before the keys of the config."""
    leaves, architecture = list(flat(config)), config["model"]["name"]
    if (size := SIZES.get(key.rpartition(".")[2])) in leaves:
        return f"this task has {prefix}{size}; set that"
    others = {f"model.{own}" for kind in models.MODELS.values() for own in kind.options()} - {*leaves}
    found = near(key, [*leaves, *sorted(others)])
    if mine := [one for one in found if one not in others]:
        return f"did you mean {' or '.join(prefix + one for one in mine)}?"
    return models.has_no_key(architecture, found[0].removeprefix("model.")) if found else ""


def near(key: str, keys: Iterable[str]) -> list[str]:
    """The nearest of `keys`; several where they are equally near."""
    likely = {other: _likeness(key, other) for other in keys}
    best = max(likely.values(), default=0.0)
    found = [other for other, value in likely.items() if value == best > 0]
    return found if len(found) <= MOST else []


def word(text: str, words: Collection[str]) -> str:
    """The word that `text` is likely to mean, or ""."""
    return next(iter(difflib.get_close_matches(text, words, n=1, cutoff=NEAR)), "")


def _likeness(key: str, other: str) -> float:
    """From 0 to a little more than 1. A group may be left out or misspelt; of another group, a key must be surer."""
    (group, _, last), (there, _, last_there) = key.rpartition("."), other.rpartition(".")
    likeness = _of_words(last, last_there)
    near_by = not group or difflib.SequenceMatcher(None, group, there).ratio() >= NEAR
    return likeness + 0.01 * (group == there) if likeness >= (NEAR if near_by else SURE) else 0.0


def _of_words(word: str, other: str) -> float:
    parts, ratio = other.split("_"), difflib.SequenceMatcher(None, word, other).ratio()
    if word != other and (sorted(word) == sorted(other) or (len(parts) > 1 and word == "".join(p[:1] for p in parts))):
        return max(ratio, SURE)  # two letters changed places, or initials as in lr
    if {*word.split("_")} < {*parts}:
        return max(ratio, NEAR + ratio / 100)  # heads, of num_heads
    return ratio
