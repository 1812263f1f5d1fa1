"""Makes the golden numbers anew, where what stands in numbers.json is missing or no longer found.

    .venv/bin/python -m tests.golden.make             all of them
    .venv/bin/python -m tests.golden.make averaging   of one architecture, task or probe

A number that is found as it stands is left alone, so that a diff shows what changed. What would not hold on another
machine is not written, and the exit status is 1: what is another number when every parameter is moved by more than
rounding moves anything.
"""

import sys
import tempfile
from collections.abc import Collection
from pathlib import Path

import jax

from tests import conftest  # noqa: F401 compiles as the tests do
from tests.golden import cases, numbers, text

MOVED = {"decoding": 1e-4}  # a choice between two tokens must be clear
OTHERWISE = 1e-6


def main(only: Collection[str]) -> int:
    jax.config.update("jax_platforms", "cpu")
    held, made, frail, furthest = numbers.read(), dict[str, dict](), list[str](), 0.0
    with tempfile.TemporaryDirectory() as folder:
        texts = text.write(Path(folder))
        for kind, (case, table) in cases.CASES.items():
            made[kind] = {}
            for name in sorted(table):
                before = held.get(kind, {}).get(name)
                if only and name not in only:
                    made[kind] |= {name: before} if before else {}
                    continue
                found = case(name, texts)
                moved = case(name, texts, moved=MOVED.get(kind, OTHERWISE))
                if near := numbers.differences(moved, found):
                    frail += [f"{kind}/{name} {one.where}" for one in near]
                    continue
                same = before is not None and not numbers.differences(found, before)
                made[kind][name] = before if same else numbers.rounded(found)
                if same:
                    furthest = max(furthest, *(one.share for one in numbers.compare(found, before)))
                print(f"{kind}/{name}: {'as it was' if same else 'new' if before is None else 'changed'}", flush=True)
    print(f"The furthest of those that are as they were lies {furthest:.1%} of what is allowed from it.")
    numbers.write(made)
    if frail:
        print("Too near to another outcome; choose another size or seed in tests/golden/cases.py:", *frail, sep="\n  ")
    return 1 if frail else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
