"""One sitting of a command that runs a study: its options, what it prints, and where jobs go."""

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from experiments.engine import estimate, jobs, schedule
from experiments.engine.execute import Outcome, execute
from experiments.engine.local import Local
from experiments.engine.progress import duration
from experiments.engine.schedule import Due
from experiments.engine.slurm import Slurm, settings
from experiments.engine.statement import ROOT
from experiments.engine.study import Study
from training.command.cli import FAILURE, Parser, check_folder
from training.command.printed import print_rows
from training.command.validate import MOST
from training.machine import backend, signals
from training.machine.watchdog import still
from training.mirrors import wandb_account
from training.run.checkpoint import Checkpoints

GPUS = ("cuda", "gpu", "rocm")  # as JAX_PLATFORMS names them; a TPU takes one process
ASK = "from training.command import cli; from training.machine import backend\n"
ASK += "with cli.user_errors(): backend.devices()"
UNFINISHED = os.EX_TEMPFAIL  # 75, by which schedulers and loops know that the same command goes on


class Asked(NamedTuple):
    """How a study is to be run: what `add_options` adds, without the folder of text, which is the study's."""

    jobs: int
    slurm: Path | None
    cancel: bool
    dry_run: bool
    minutes: float
    wandb: str

    @classmethod
    def of(cls, options: argparse.Namespace) -> "Asked":
        named = options.jobs, options.slurm, options.cancel, options.dry_run
        return cls(*named, minutes=options.time_limit, wandb=options.wandb)


def add_options(parser: Parser) -> None:
    """Adds what every command that runs a study can be asked for."""
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time; they share the machine's cores")
    parser.add_argument(
        "--cluster", default="", choices=("slurm",), help="run the jobs there instead of on this machine"
    )
    parser.add_argument("--slurm", type=Path, help="TOML file: what a job requests (docs/howto/run_on_slurm.md)")
    parser.add_argument("--cancel", action="store_true", help="cancel this command's jobs in Slurm and run nothing")
    parser.add_argument("--dry-run", action="store_true", help="list the runs with sizes and minutes")
    parser.add_argument(
        "--time-limit", type=float, default=0.0, metavar="MINUTES", help="save and end after so long; 0: never"
    )
    modes = ("disabled", "auto", "online", "offline")
    parser.add_argument(
        "--wandb", default="disabled", choices=modes, help="mirror the runs to wandb; default: disabled"
    )
    parser.add_argument("--data", default="", help="folder of the text that the runs read; default: download it")


def check(parser: Parser, options: argparse.Namespace) -> argparse.Namespace:
    """The same options. Ends the process with one line if those of `add_options` do not fit together."""
    if options.jobs < 1:
        parser.error(f"--jobs = {options.jobs} is not a number of processes; use 1 or more")
    if options.jobs > (most := MOST["workers"]):
        parser.error(f"--jobs = {options.jobs} is more than this machine can serve; use {most} or less")
    if bool(options.cluster) != bool(options.slurm):
        parser.error("--cluster=slurm and --slurm=FILE.toml go together; give both or neither")
    if options.cluster and options.jobs > 1:
        parser.error(f"--jobs = {options.jobs} is of this machine; set parallel in {options.slurm}")
    if options.cancel and not options.cluster:
        parser.error("--cancel is of jobs in Slurm; here, Ctrl-C saves and ends them")
    if not options.time_limit >= 0:
        parser.error(f"--time-limit = {options.time_limit} is not a number of minutes; use 0 (none) or more")
    return options


def at_once(study: Study, jobs: int) -> int:
    """How many jobs run at a time. What is timed on a CPU runs alone, because other jobs would take its cores. On a GPU
    that JAX_PLATFORMS names first, jobs prepare side by side and are timed one at a time (`probes/quiet.py`), unless
    some of the study's runs are not timed: those would not wait."""
    on_gpu = os.environ.get("JAX_PLATFORMS", "").split(",")[0] in GPUS
    return jobs if not study.alone or (on_gpu and study.all_alone) else 1


def sit(study: Study, asked: Asked, *folders: Path) -> Outcome | None:
    """Runs what is due; None if asked only to list or cancel. Raises ValueError in one line."""
    slots = at_once(study, asked.jobs)
    if asked.jobs > slots:
        said = (
            f"{study.name} measures time, so one run at a time has the whole machine (docs/howto/run_on_gpu_and_tpu.md)"
        )
        print(f"--jobs = {asked.jobs}: {said}", file=sys.stderr)
    if asked.wandb != "disabled":
        wandb_account.mode_of(asked.wandb)
    for name, folder in zip(("--runs", "--results"), folders, strict=False):
        check_folder(name, folder)
    if not asked.slurm and not asked.dry_run:
        _check_devices()
    Checkpoints(study.folders.runs, keep=1)  # where some would not be read back, that is said now
    plan = study.plan()
    left = [*plan.due, *plan.waiting]
    if outdated := study.store.outdated(plan.due):
        print(f"{outdated}; they run again", file=sys.stderr)
    if asked.dry_run:
        _list(study, left, slots)
        return None
    cluster = Slurm(study.folders.runs / jobs.FOLDER, settings(asked.slurm)) if asked.slurm else None
    if cluster and asked.cancel:
        print(cluster.cancel())
        return None
    if not left:
        print(f"{study.all_finished()}; the results are written again", file=sys.stderr)
        return Outcome({}, "")
    return execute(study, cluster or Local(min(slots, len(left))), minutes=asked.minutes)


def _check_devices() -> None:
    """Raises ValueError, in one line, if jobs could not compute, which each of them would say. An accelerator is theirs
    alone, so a process of its own asks for it."""
    backend.devices()
    if (platforms := os.environ.get("JAX_PLATFORMS", "cpu")) != "cpu":
        with still(f"looking for JAX_PLATFORMS = {platforms}"):
            asked = subprocess.run([sys.executable, "-c", ASK], capture_output=True, cwd=ROOT, stdin=subprocess.DEVNULL)
        if asked.returncode:
            lines = asked.stderr.decode(errors="replace").splitlines()
            said = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
            ended = f"JAX_PLATFORMS = {platforms} ends Python with status {asked.returncode}; use cpu, or unset it"
            raise ValueError(said[-1] if said else ended)


def _list(study: Study, left: list[Due], jobs: int) -> None:
    """What would run: sizes, work and time."""
    if not left:
        print(f"{study.title}: {study.all_finished()}")
        return
    cells: dict[str, list[Due]] = {}
    for due in left:
        cells.setdefault(f"{due.key.name}{' (trials)' if due.role == schedule.TUNE else ''}", []).append(due)
    print_rows(
        [_costs(study, name, mine) for name, mine in cells.items()], f"{study.title}: {len(left)} runs to do", ["run"]
    )
    total = study.clock.total(left)
    searched = any(one.role == schedule.TUNE and one.run.tuning and one.run.tuning.extensions for one in left)
    more = ", without trials that extend a grid" * searched
    print(f"about {duration(total / jobs)} with --jobs={jobs}, {study.clock.basis}{more}")


def _costs(study: Study, name: str, mine: list[Due]) -> dict[str, str]:
    costs = [estimate.cost(due.config) for due in mine]
    return {
        "run": name,
        "seeds": str(len(mine)),
        "parameters": f"{costs[0].num_params:,}",
        "without embeddings": f"{costs[0].num_params_non_embedding:,}",
        "TFLOP": f"{sum(cost.flops for cost in costs) / 1e12:.3g}",
        "minutes": f"{study.clock.total(mine) / 60:.1f}",
    }


def close(study: Study, outcome: Outcome) -> int:
    """Prints what failed, what is left and what to look at; returns the exit status."""
    for run, message in outcome.failed.items():
        print(f"failed: {run}: {message}", file=sys.stderr)
    plan = study.plan()
    for cell, value in plan.on_edge.items():
        print(f"on the edge: {cell} is best at {value:.3g}, the last value that was tried", file=sys.stderr)
    if left := len(plan.due) + len(plan.waiting):
        why = f" ({outcome.stopped})" if outcome.stopped else ""
        runs = "1 run is" if left == 1 else f"{left} runs are"
        print(f"{runs} not finished{why}; the same command goes on from here", file=sys.stderr)
    if outcome.stopped and signals.StopRequest.received:
        return signals.status()
    if outcome.failed:
        return FAILURE
    return UNFINISHED if left else 0
