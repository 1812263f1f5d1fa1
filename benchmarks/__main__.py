"""The speed of every architecture beside other libraries: programs that step in turn, and one table.

    python -m benchmarks                                      training steps of every architecture, ours alone
    python -m benchmarks gru_128 transformer --peers          two of them, beside torch and Flax (make peers, once)
    python -m benchmarks text --peers --data=FOLDER --run=RUN      training, to a loss, translating; beside JoeyNMT
    python -m benchmarks start pipeline memory                the start of a run; what the input pipeline delivers;
                                                              speed against memory
    python -m benchmarks core mixers --peers                  attention alone over long sequences; every mixer
    python -m benchmarks gpu --peers --minutes=9 --json=gpu.json   on a GPU; again, until nothing is left

All programs of a case do the same work from the same weights (checked: parameters and losses are equal), live at the
same time and step in turn. With --json, results are written after each case, and what is there is not measured again.
"""

# Before what takes time to import: Ctrl-C counts from now on.
import training.machine.signals  # noqa: F401

# isort: split
import argparse
import json
import math
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import contender, listing, suites
from benchmarks.compare import Comparison, add_shares
from data import whole_file
from training.command import cli
from training.command.printed import print_rows
from training.machine import provenance


def parse(argv: Sequence[str] | None) -> tuple[argparse.Namespace, list[Comparison]]:
    """The options, and what is to be measured."""
    parser = cli.Parser("python -m benchmarks", __doc__)
    parser.add_argument("cases", nargs="*", default=["steps"], metavar="CASE", help="or a suite; --dry-run lists cases")
    parser.add_argument("--peers", action="store_true", help="beside torch and Flax, or JoeyNMT")
    parser.add_argument("--data", type=Path, help="folder with Multi30k's train.de.gz, train.en.gz, val...")
    parser.add_argument("--run", type=Path, help="folder of the Transformer, trained on it, that translates")
    parser.add_argument("--seconds", type=float, help="to measure each case for, at least")
    parser.add_argument("--minutes", type=float, default=1e9, help="to stop after, between two cases")
    parser.add_argument("--json", type=Path, help="file of results, which is added to")
    parser.add_argument("--dry-run", action="store_true", help="say what would be measured")
    parser.add_argument("--tiny", action="store_true", help="every case in little, on any machine")
    options = parser.parse_args(argv)
    known, chosen = suites.known(peers=options.peers, data=options.data, run=options.run), dict[str, Comparison]()
    for name in options.cases:
        if name not in known:
            parser.error(f"CASE = {name} is not a case; choose from {', '.join(known)}")
        chosen |= {one.name: one for one in known[name]}
    for option in ("data", "run"):
        folder, cases = getattr(options, option), [one.name for one in chosen.values() if option in one.needs]
        if cases and not options.dry_run and not (folder and folder.is_dir()):
            parser.error(f"CASE = {cases[0]} needs --{option}; {folder} is not a folder; give one, as in --help")
        if folder and not cases:
            parser.error(f"--{option} = {folder} does nothing for {', '.join(options.cases)}; leave it out")
    for one in () if options.dry_run else chosen.values():
        if one.on_gpu and not options.tiny and (device := provenance.device())["platform"] != "gpu":
            parser.error(f"there is no GPU, JAX computes on {device['kind']}; use --dry-run or --tiny")
        if options.peers and not contender.has_peers(cuda=one.on_gpu and not options.tiny):
            parser.error(f"--peers needs .venv-peers; run `make peers` once, or set {contender.PYTHON} (with CUDA)")
    for name in ("seconds", "minutes"):
        if (value := getattr(options, name)) is not None and not 0 < value < math.inf:
            parser.error(f"--{name} = {value} is not a length of time; use a number above 0")
    if options.json:
        cli.check_folder("--json", options.json.parent)
    return options, [suites.as_asked(one, seconds=options.seconds, tiny=options.tiny) for one in chosen.values()]


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 when nothing is left, 1 when something failed or disagreed, 2 for a mistake, 3 for more to do."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # the programs of a case share the memory
    options, chosen = parse(argv)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # from here on there are programs and a folder to end
    if options.dry_run:
        print("\n".join(map(str, chosen)), f"\nin all about {sum(one.minutes for one in chosen):.0f} minutes")
        return 0
    about = {"commit": provenance.commit(), "device": provenance.device(), "versions": provenance.versions()}
    about |= {"tiny": options.tiny, "peers": options.peers}
    found: dict[str, Any] = about | {"cases": {}}
    if options.json and options.json.exists():
        found = whole_file.read_json(options.json, "remove it, or give another --json")
        if other := next((key for key, value in about.items() if found.get(key) != value), ""):
            raise ValueError(f"--json = {options.json} holds results of another {other}; give another")
        cases = found["cases"].values() if isinstance(found.get("cases"), dict) else [None]
        if not all(isinstance(one, dict) and {"unit", "programs", "failed"} <= one.keys() for one in cases):
            raise ValueError(f"--json = {options.json} holds no results of this command; remove it, or give another")
    return measure(chosen, found, options.json, options.minutes)


def measure(chosen: Sequence[Comparison], found: dict[str, Any], path: Path | None, minutes: float) -> int:
    """Measures what is not in `found` yet, in so many minutes, and writes it there and, if given, to the file."""
    begun, cases, status = time.monotonic(), found["cases"], 0
    for one in chosen:
        if one.name not in cases:
            if time.monotonic() - begun > 60 * (minutes - one.minutes):
                print(f"stopped before {one.name} for want of time; the same command goes on", file=sys.stderr)
                status = 3
                break
            print(f"{one.name}: about {one.minutes:.1f} min", file=sys.stderr, flush=True)
            cases[one.name] = one.measure()
            add_shares(cases, one.name, found["device"]["kind"])
            if path:
                whole_file.write_text(path, json.dumps(found, indent=1) + "\n")
        status = 1 if cases[one.name]["failed"] else status
        if status and one.name == "agreement":
            print("error: not every architecture agrees with the CPU; nothing is measured", file=sys.stderr)
            break
    there = {one.name: cases[one.name] for one in chosen if one.name in cases}
    print_rows(listing.rows(there), listing.TITLE, ["case", "program"])
    return status


if __name__ == "__main__":
    with cli.user_errors():
        sys.exit(main())
