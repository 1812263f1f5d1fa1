"""Which key a wrong one is likely to mean. Where none is near, nothing is said."""

import difflib
from collections.abc import Collection, Mapping
from typing import Any

import models
from models.options import flat

NEAR, SURE = 0.75, 0.9  # likeness of the last words of two keys: within a group, and whatever their groups
MOST = 3  # keys that are equally near; more are no hint
SIZES = {"batch_size": "tokens_per_batch", "tokens_per_batch": "batch_size"}  # a task has one of the two


def way_out(key: str, config: Mapping[str, Any], flags: Collection[str] = ()) -> str:
    """What to use instead of `key`, which is not a key of `config`, or which architectures have it; "" where nothing
    is near. A word of a command may be one of `flags` as well; keys are then named as they stand there."""
    leaves, architecture = list(flat(config)), config["model"]["name"]
    prefix = "--config." if flags else ""
    for size, instead in SIZES.items():
        if instead in leaves and _of_words(key.rpartition(".")[2], size) >= SURE:
            return f"this task has {prefix}{instead}; set that"
    others = {f"model.{own}" for kind in models.MODELS.values() for own in kind.options()} - {*leaves}
    if there := sorted(other for other in others if other.startswith(f"{key}.") or other == key):
        return models.has_no_key(architecture, there[0].removeprefix("model."))
    found = near(key, [*leaves, *flags])
    if found:
        return f"did you mean {' or '.join(f'--{one}' if one in flags else prefix + one for one in found)}?"
    if inside := [leaf for leaf in leaves if f".{key}." in f".{leaf}"]:  # a group
        return f"set one of {', '.join(prefix + leaf for leaf in inside)}"
    elsewhere = near(key, sorted(others))
    return models.has_no_key(architecture, elsewhere[0].removeprefix("model.")) if elsewhere else ""


def near(key: str, keys: Collection[str]) -> list[str]:
    """The nearest of `keys`; several where they are equally near, and of many those in the fewest groups."""
    likely = {other: _likeness(key, other) for other in keys}
    best = max(likely.values(), default=0.0)
    found = [other for other, value in likely.items() if value == best > 0]
    if len(found) > MOST:
        found = [other for other in found if other.count(".") == min(one.count(".") for one in found)]
    return found if len(found) <= MOST else []


def _likeness(key: str, other: str) -> float:
    """From 0 to a little more than 1. A group may be left out or misspelt; of another group, a key must be surer."""
    (group, _, last), (there, _, last_there) = key.rpartition("."), other.rpartition(".")
    alike = difflib.SequenceMatcher(None, group, there).ratio()
    likeness = _of_words(last, last_there)
    if {*key.replace(".", "_").split("_")} == {*other.replace(".", "_").split("_")}:
        likeness = max(likeness, SURE)  # save_every, of every.save
    return likeness + alike / 100 if likeness >= (NEAR if not group or alike >= NEAR else SURE) else 0.0


def _of_words(word: str, other: str) -> float:
    parts, ratio = other.split("_"), difflib.SequenceMatcher(None, word, other).ratio()
    initials = len(parts) > 1 and word == "".join(part[:1] for part in parts)
    if word != other and (initials or sorted(word) == sorted(other)):
        return max(ratio, SURE)  # lr, or two letters that changed places
    if {*word.split("_")} < {*parts} and 2 * word.count("_") + 2 >= len(parts):
        return max(ratio, NEAR + ratio / 100)  # heads, of num_heads
    return ratio
