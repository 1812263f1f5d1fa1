"""Answers a question: runs what is missing, then writes table, figure and verdict.

    python -m experiments.run                                    the questions, one a line
    python -m experiments.run long_range --scale=cpu --jobs=2    goes on where an earlier start was stopped
    python -m experiments.run long_range --scale=cpu --dry-run   the runs, their sizes and what they will cost
    python -m experiments.run QUESTION --data=FOLDER             for runs on text: where it lies, if not downloaded
    python -m experiments.run QUESTION --fresh                   everything anew, then what moved since the table

What is finished stays: Ctrl-C, a kill, or a run that fails cost nothing that was done. `results/QUESTION/SCALE/` holds
what comes out, `runs/QUESTION/SCALE/` the runs; with `--fresh`, a folder `fresh` in both.
"""

# Before what takes time to import: Ctrl-C counts from now on.
import training.machine.signals  # noqa: F401

# isort: split
import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import jax

from experiments.engine import estimate, results, schedule
from experiments.engine.progress import duration
from experiments.engine.results import Folders
from experiments.engine.running import Engine
from experiments.engine.schedule import Due
from experiments.questions import QUESTIONS, find
from experiments.questions.question import SCALES
from training.command.cli import Parser, check_folder, user_errors
from training.command.printed import print_whole
from training.mirrors import wandb_account


def dry_run(engine: Engine, jobs: int) -> None:
    """Lists what would run: sizes, work, and time by the runs that are finished."""
    from rich.table import Table as Listing

    left = engine.unfinished()
    if not left:
        print(f"{engine.name} at {engine.scale}: {engine.all_finished()}")
        return
    listing = Listing(title=f"{engine.name} at {engine.scale}: {len(left)} runs to do", title_justify="left")
    listing.add_column("run")
    for column in ("seeds", "parameters", "without embeddings", "TFLOP", "minutes"):
        listing.add_column(column, justify="right")
    cells: dict[str, list[Due]] = {}
    for due in left:
        cells.setdefault(f"{due.key.name}{' (trials)' if due.role == schedule.TUNE else ''}", []).append(due)
    for name, mine in cells.items():
        cost = estimate.cost(mine[0].config)
        work, minutes = sum(estimate.cost(due.config).flops for due in mine), engine.clock.total(mine) / 60
        listing.add_row(
            name,
            str(len(mine)),
            f"{cost.num_params:,}",
            f"{cost.num_params_non_embedding:,}",
            f"{work / 1e12:.3g}",
            f"{minutes:.1f}",
        )
    print_whole(listing)
    basis = "by recorded runs" if engine.clock.measured else f"assumed {engine.clock.assumed}"
    total = engine.clock.total(left)
    print(f"about {duration(total / jobs)} with --jobs={jobs}, {basis}; trials that extend a grid come on top")


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument("question", nargs="?", default="", help="a name of experiments/questions")
    parser.add_argument("--scale", default="cpu", choices=SCALES)
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time; on a CPU they share out its cores")
    parser.add_argument("--only", default="", help="runs whose name holds this, or task=recall,system=gru")
    parser.add_argument("--dry-run", action="store_true", help="list the runs with sizes and cost")
    parser.add_argument("--budget", type=float, default=0.0, help="minutes, after which it stops and saves; 0: none")
    parser.add_argument("--fresh", action="store_true", help="run anew beside what is finished, and compare at the end")
    parser.add_argument("--wandb", default="disabled", choices=("disabled", "auto", "online", "offline"))
    parser.add_argument("--data", default="", help="folder of the text that the runs read; without it, downloaded")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where the runs go")
    parser.add_argument("--results", type=Path, default=results.OWN, help="where table and figure go")
    options = parser.parse_args(argv)
    if options.jobs < 1:
        parser.error(f"--jobs = {options.jobs} is no number of processes; use 1 or more")
    if not options.budget >= 0:
        parser.error(f"--budget = {options.budget} is no number of minutes; use 0 (none) or more")
    return options


def main(argv: Sequence[str]) -> int:
    options = parse(argv)
    if not options.question:
        for name, question in QUESTIONS.items():
            print(f"{name:16} {question.CLAIM}")
        return 0
    jax.config.update("jax_platforms", "cpu")  # of this process, which counts; an accelerator is its workers' alone
    with user_errors():
        engine = Engine(
            find(options.question),
            options.question,
            options.scale,
            Folders.of(options.question, options.scale, options.runs, options.results),
            fresh=options.fresh,
            only=options.only,
            data=options.data,
            jobs=options.jobs,
            budget=options.budget,
            wandb=options.wandb,
        )
        if options.jobs > engine.jobs:
            said = f"{options.question} measures time, so one run at a time has the whole machine"
            print(f"--jobs = {options.jobs}: {said}", file=sys.stderr)
        if options.wandb != "disabled":
            wandb_account.mode_of(options.wandb)
        check_folder("--runs", options.runs)
        check_folder("--results", options.results)
        if outdated := engine.outdated():
            print(outdated, file=sys.stderr)
        if options.dry_run:
            dry_run(engine, engine.jobs)
            return 0
        engine.go()
        return engine.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
