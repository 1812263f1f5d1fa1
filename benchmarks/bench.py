"""The speed of every architecture beside what a user would otherwise pick, in one run.

    python -m benchmarks.bench                                  ours alone, training steps of every architecture
    python -m benchmarks.bench gru_128 transformer --peers      beside torch and Flax (make peers, once)
    python -m benchmarks.bench --peers --json=speed.json        and the numbers, for docs/performance.md
    python -m benchmarks.bench multi30k beam5 start --peers --data=FOLDER --run=RUN
                                                                 whole programs: training and translating real text
                                                                 beside JoeyNMT, and the start of a run

All programs of a case do the same work from the same weights (checked: parameters and losses are equal), live at the
same time and step in turn. Ratios above 1 mean that ours is faster.
"""

import argparse
import contextlib
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks import beam5, matmul, multi30k_turns, start, turns
from benchmarks.cases import CASES, Case, flops
from benchmarks.same_work import check_same_work
from benchmarks.turns import Contender, Measured, Running, ratio_interval
from data import whole_file
from training.command import cli
from training.command.printed import print_whole
from training.machine import provenance

WHOLE: dict[str, Any] = {
    module.NAME: module for module in (multi30k_turns, beam5, start)
}  # `measure(options)` and `table`
ON_TEXT = (multi30k_turns.NAME, beam5.NAME)
OURS, FREED = Contender("ours"), Contender("ours", "freed")
PEAK_SIZE = 2048  # of the matrices whose product says what the machine can do
TURN_SECONDS = 0.15  # a turn takes as many steps as fill this
WARM_UP_SECONDS = 2.0  # of steps thrown away, each program by itself: until the heap has stopped growing


def contenders(case: Case, *, peers: bool) -> list[Contender]:
    """Who takes part."""
    others = ["torch", "flax"] if peers else []
    ours = [OURS, FREED] if case.keep_pages else [OURS]
    return [*ours, *(Contender(name, setting) for name in others for setting in ("default", "tuned"))]


def measure(case: Case, taking_part: Sequence[Contender], seconds: float) -> list[Measured]:
    """Runs one case. Raises RuntimeError where a program fails or does other work than ours."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        weights = Path(folder) / "weights.npz"
        running, described = [], []
        for contender in taking_part:  # ours first: it writes the weights
            running.append(stack.enter_context(Running(contender, case, weights)))
            described.append(running[-1].ask("describe"))
            missing = missing_params(case, contender)
            check_same_work(case.name, contender.name, described[0], described[-1], missing)
        least = min(process.warm_up(WARM_UP_SECONDS) for process in running)
        kept = list(turns.rounds(running, max(1, round(TURN_SECONDS / least)), seconds))
        memory = [int(process.ask("quit")["peak_memory_bytes"]) for process in running]
    return [
        Measured(contender.name, int(said["num_params"]), said["loss"], peak, [turn[n] for turn in kept])
        for n, (contender, said, peak) in enumerate(zip(taking_part, described, memory, strict=True))
    ]


def missing_params(case: Case, contender: Contender) -> int:
    """That a peer has no counterpart of: Flax's GRU has no bias of its own for the candidate's recurrent part."""
    cells = {"gru": case.layers, "gru_attention": 3}.get(case.model, 0)  # two of the encoder, one of the decoder
    return cells * case.hidden if contender.program == "flax" else 0


def as_json(case: Case, measured: Sequence[Measured], peak: float) -> dict[str, Any]:
    rows = []
    for one in measured:
        ratio, low, high = ratio_interval(measured[0].seconds, one.seconds)
        rows.append(
            {
                "program": one.name,
                "rounds": len(one.seconds),
                "median_seconds": one.quantile(0.5),
                "p10_seconds": one.quantile(0.1),
                "p90_seconds": one.quantile(0.9),
                "ratio": ratio,
                "ratio_low": low,
                "ratio_high": high,
                "peak_memory_bytes": one.peak_memory_bytes,
                "num_params": one.num_params,
                "loss": one.loss,
                "share_of_matmul_peak": flops(case) / one.quantile(0.5) / peak,
            }
        )
    return {"case": case.name, "flops": flops(case), "programs": rows}


def print_tables(found: Sequence[dict[str, Any]]) -> None:
    steps = [case for case in found if case["case"] in CASES]
    tables = [table_of_steps(steps)] if steps else []
    tables += [WHOLE[case["case"]].table(case) for case in found if case["case"] in WHOLE]
    for table in tables:
        print_whole(table)


def table_of_steps(found: Sequence[dict[str, Any]]) -> Table:
    table = Table(title="One training step: median (10 % to 90 %), and how many times as long as ours")
    for column in ("case", "program", "ms", "ratio (95 %)", "of matmul peak", "peak memory"):
        table.add_column(column, justify="left" if column in ("case", "program") else "right", no_wrap=True)
    for case in found:
        for number, row in enumerate(case["programs"]):
            span = f"({1e3 * row['p10_seconds']:.1f} to {1e3 * row['p90_seconds']:.1f})"
            ratio = f"{row['ratio']:.2f} ({row['ratio_low']:.2f} to {row['ratio_high']:.2f})" if number else ""
            table.add_row(
                "" if number else case["case"],
                row["program"],
                f"{1e3 * row['median_seconds']:.1f} {span}",
                ratio,
                f"{row['share_of_matmul_peak']:.0%}",
                f"{row['peak_memory_bytes'] / 2**20:,.0f} MiB",
                end_section=number == len(case["programs"]) - 1,
            )
    return table


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = cli.Parser(__doc__)
    known = [*CASES, *WHOLE]
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(known)}; none for all steps")
    parser.add_argument("--peers", action="store_true", help="beside torch and Flax, or JoeyNMT")
    parser.add_argument("--seconds", type=float, default=15.0, help="to measure each case for")
    parser.add_argument("--json", type=Path, help="file to write the numbers to")
    parser.add_argument(
        "--data", type=Path, help=f"folder with Multi30k's train.de.gz and so on, for {' and '.join(ON_TEXT)}"
    )
    parser.add_argument("--run", type=Path, help="trained Transformer that beam5 translates with; else one is trained")
    parser.add_argument("--minutes", type=float, default=0.0, help="multi30k: train each at most so long, to --loss")
    parser.add_argument("--loss", type=float, default=3.0, help="multi30k: validation loss to reach, nats a token")
    options = parser.parse_args(argv)

    for name in options.cases:
        if name not in known:
            parser.error(f"CASE = {name} is not a case; choose from {', '.join(known)}")
        if name in ON_TEXT and options.data is None:
            parser.error(
                f"CASE = {name} needs real text; give --data=FOLDER, the one of train.de.gz, train.en.gz, val..."
            )
    if options.data and not options.data.is_dir():
        parser.error(f"--data = {options.data} is no folder; give the one that holds train.de.gz, train.en.gz, val...")
    if options.run and not (options.run / "config.json").is_file():
        parser.error(f"--run = {options.run} holds no run (there is no config.json); give the folder of a run")
    if options.peers and not turns.has_peers():
        parser.error(f"--peers needs {turns.PEERS}; run `make peers` once")
    return options


def main(argv: Sequence[str]) -> None:
    options = parse(argv)
    names = options.cases or list(CASES)
    peak = matmul.rate(PEAK_SIZE) if any(name in CASES for name in names) else 0.0
    found = []
    for name in names:
        print(f"{name}: starting its programs, which compile first", file=sys.stderr, flush=True)
        try:
            if name in WHOLE:
                found.append(WHOLE[name].measure(options))
            else:
                case = CASES[name]
                measured = measure(case, contenders(case, peers=options.peers), options.seconds)
                found.append(as_json(case, measured, peak))
        except RuntimeError as error:
            sys.exit(f"error: {error}")
        if options.json:
            about = {"commit": provenance.commit(), "device": provenance.device(), "versions": provenance.versions()}
            whole_file.write_text(
                options.json, json.dumps(about | {"matmul_flops": peak, "cases": found}, indent=1) + "\n"
            )
    print_tables(found)


if __name__ == "__main__":
    main(sys.argv[1:])
