"""Training steps of every architecture beside what a user would otherwise pick, in one run.

    python -m experiments.bench                                  ours alone, every case
    python -m experiments.bench gru_128 transformer --peers      beside torch and Flax (make peers, once)
    python -m experiments.bench --peers --json=speed.json        and the numbers, for docs/performance.md

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

import numpy as np

from experiments.benchmarks import turns
from experiments.benchmarks.cases import CASES, Case, flops
from experiments.benchmarks.turns import Contender, Measured, Running, ratio_interval
from training import provenance

OURS = Contender("ours")
TURN_SECONDS = 0.15  # a turn takes as many steps as fill this
WARM_UP_SECONDS = 2.0  # of steps thrown away, each program by itself: until the heap has stopped growing


def contenders(case: Case, *, peers: bool) -> list[Contender]:
    """Who takes part. Flax has no attention seq2seq to offer."""
    others = ["torch", *([] if case.model == "gru_attention" else ["flax"])] if peers else []
    return [OURS, *(Contender(name, setting) for name in others for setting in ("default", "tuned"))]


def measure(case: Case, taking_part: Sequence[Contender], seconds: float) -> list[Measured]:
    """Runs one case. Raises RuntimeError where a program fails or does other work than ours."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        weights = Path(folder) / "weights.npz"
        running, described = [], []
        for contender in taking_part:  # ours first: it writes the weights
            running.append(stack.enter_context(Running(contender, case, weights)))
            described.append(running[-1].ask("describe"))
            check_same_work(case, contender, described[0], described[-1])
        least = min(process.warm_up(WARM_UP_SECONDS) for process in running)
        kept = list(turns.rounds(running, max(1, round(TURN_SECONDS / least)), seconds))
        memory = [int(process.ask("quit")["peak_memory_bytes"]) for process in running]
    return [
        Measured(contender.name, int(said["num_params"]), said["loss"], peak, [turn[n] for turn in kept])
        for n, (contender, said, peak) in enumerate(zip(taking_part, described, memory, strict=True))
    ]


def check_same_work(case: Case, contender: Contender, ours: dict[str, float], theirs: dict[str, float]) -> None:
    """Equal losses from equal weights, and equal numbers of them."""
    missing = case.layers * case.hidden if case.model == "gru" and contender.program == "flax" else 0  # the GRU's b'_n
    if theirs["num_params"] != ours["num_params"] - missing:
        raise RuntimeError(
            f"{case.name}: {contender.name} has {theirs['num_params']:,} parameters, ours {ours['num_params']:,}"
        )
    if not np.isclose(theirs["loss"], ours["loss"], rtol=1e-4):
        raise RuntimeError(f"{case.name}: {contender.name} has a loss of {theirs['loss']:.6f}, ours {ours['loss']:.6f}")


def matmul_peak(size: int = 2048, repeats: int = 10) -> float:
    """FLOP/s of one large float32 matmul on this machine, the best of some."""
    import time

    import jax
    import jax.numpy as jnp

    x = jnp.ones((size, size))
    product = jax.jit(lambda x: x @ x).lower(x).compile()
    best = min(_seconds(lambda: jax.block_until_ready(product(x)), time.perf_counter) for _ in range(repeats))
    return 2 * size**3 / best


def _seconds(call, clock) -> float:
    start = clock()
    call()
    return clock() - start


def as_json(case: Case, measured: Sequence[Measured], peak: float) -> dict[str, Any]:
    rows = []
    for one in measured:
        ratio, low, high = ratio_interval(measured[0].seconds, one.seconds)
        rows.append({
            "program": one.name, "rounds": len(one.seconds),
            "median_seconds": one.quantile(0.5), "p10_seconds": one.quantile(0.1), "p90_seconds": one.quantile(0.9),
            "ratio": ratio, "ratio_low": low, "ratio_high": high,
            "peak_memory_bytes": one.peak_memory_bytes, "num_params": one.num_params, "loss": one.loss,
            "share_of_matmul_peak": flops(case) / one.quantile(0.5) / peak,
        })  # fmt: skip
    return {"case": case.name, "flops": flops(case), "programs": rows}


def print_table(found: Sequence[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="One training step: median (10 % to 90 %), and how many times as long as ours")
    for column in ("case", "program", "ms", "ratio (95 %)", "of matmul peak", "peak memory"):
        table.add_column(column, justify="left" if column in ("case", "program") else "right", no_wrap=True)
    for case in found:
        for number, row in enumerate(case["programs"]):
            span = f"({1e3 * row['p10_seconds']:.1f} to {1e3 * row['p90_seconds']:.1f})"
            ratio = f"{row['ratio']:.2f} ({row['ratio_low']:.2f} to {row['ratio_high']:.2f})" if number else ""
            table.add_row(
                "" if number else case["case"], row["program"], f"{1e3 * row['median_seconds']:.1f} {span}", ratio,
                f"{row['share_of_matmul_peak']:.0%}", f"{row['peak_memory_bytes'] / 2**20:,.0f} MiB",
                end_section=number == len(case["programs"]) - 1,
            )  # fmt: skip
    Console().print(table)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}; none for all")
    parser.add_argument("--peers", action="store_true", help="beside torch and Flax")
    parser.add_argument("--seconds", type=float, default=15.0, help="to measure each case for")
    parser.add_argument("--json", type=Path, help="file to write the numbers to")
    options = parser.parse_args(argv)
    unknown = [name for name in options.cases if name not in CASES]
    if unknown:
        parser.exit(2, f"error: CASE = {unknown[0]} is not a case; choose from {', '.join(CASES)}\n")
    if options.peers and not turns.has_peers():
        parser.exit(2, f"error: --peers needs {turns.PEERS}; run `make peers` once\n")
    return options


def main(argv: Sequence[str]) -> None:
    options = parse(argv)
    peak = matmul_peak()
    found = []
    for name in options.cases or CASES:
        case = CASES[name]
        print(f"{name}: starting its programs, which compile first", file=sys.stderr, flush=True)
        try:
            found.append(as_json(case, measure(case, contenders(case, peers=options.peers), options.seconds), peak))
        except RuntimeError as error:
            sys.exit(f"error: {error}")
        if options.json:
            about = {"commit": provenance.commit(), "device": provenance.device(), "versions": provenance.versions()}
            options.json.write_text(json.dumps(about | {"matmul_flops": peak, "cases": found}, indent=1) + "\n")
    print_table(found)


if __name__ == "__main__":
    main(sys.argv[1:])
