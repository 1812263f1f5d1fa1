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
import sys

from experiments.questions import claims

if __name__ == "__main__" and not sys.argv[1:]:
    print(*(f"{name:16} {claim}" for name, claim in claims().items()), sep="\n")  # before what takes seconds to import
    sys.exit(0)

import argparse
from collections.abc import Sequence
from pathlib import Path

import jax

from experiments.analysis import moved, table
from experiments.engine import publish, results, schedule, sitting, version
from experiments.engine.results import Folders, Store
from experiments.engine.sitting import Sitting
from experiments.engine.study import Study
from experiments.page import question_page
from experiments.questions import find
from experiments.questions.question import SCALES
from training.command.cli import Parser, user_errors


def write(study: Study) -> list[str]:
    """Writes table and commands of every finished run, and figure and verdict as soon as one of them is reported.

    Trials alone are kept for the next sitting and show nothing. Returns what came out.
    """
    folder = study.folders.results
    done, everything = study.table()
    if not done:
        return []
    if aside := publish.write_table(everything, folder):
        print(f"the table had runs that no longer count; it is kept as {aside}", file=sys.stderr)
    if changed := version.since(everything):
        print(changed, file=sys.stderr)
    command = f"python -m experiments.run {study.name} --scale={study.scale}"
    what = f"# {study.title}: the runs, the table, the figure and the verdict"
    anew = f"# Anew, and compared to what is here: {command} --fresh"
    publish.write_commands([what, anew, command], study.name, done, folder)
    if not len(results.reported(everything)):
        return []
    plan = study.whole()
    grid = sum(due.role == schedule.REPORT for due in plan.runs) + len(plan.waiting)
    findings = publish.publish(study.question, study.name, study.scale, everything, folder, grid)
    if folder.name == study.scale:  # not what is run anew beside it
        question_page.write(study.name, study.question, study.scale, folder.parent.parent)
    return publish.said(study.question, study.scale, findings)


def compared(study: Study, committed: Sequence[Path]) -> list[str]:
    """What is run anew beside what is committed."""
    if not committed:
        return []
    before, after = (results.reported(table.read(path)) for path in (*committed[-1:], *study.folders.tables()))
    return moved.lines(before, after, results.OF_THE_MACHINE)


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, Sitting]:
    parser = Parser(__doc__)
    parser.add_argument("question", nargs="?", default="", help="a name of experiments/questions")
    parser.add_argument("--scale", default="cpu", choices=SCALES)
    parser.add_argument("--only", default="", help="runs whose name holds this, or task=recall,system=gru")
    parser.add_argument("--fresh", action="store_true", help="run anew beside what is finished, and compare at the end")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where the runs go")
    parser.add_argument("--results", type=Path, default=results.OWN, help="where table and figure go")
    sitting.add_options(parser, "--budget")
    options = parser.parse_args(argv)
    return options, sitting.check(parser, options, "--budget")


def main(argv: Sequence[str]) -> int:
    options, asked = parse(argv)
    if not options.question:
        print(*(f"{name:16} {claim}" for name, claim in claims().items()), sep="\n")
        return 0
    jax.config.update("jax_platforms", "cpu")  # of this process, which counts; an accelerator is its workers' alone
    with user_errors():
        name, scale = options.question, options.scale
        question, folders = find(name), Folders.of(name, scale, options.runs, options.results)
        committed = folders.tables() if options.fresh else []
        chosen = {"text": options.data, "only": options.only, "wandb": options.wandb}
        study = Study(question, name, scale, folders.beside() if options.fresh else folders, **chosen)
        if options.fresh:
            study.learn(Store(folders))
        if (outcome := sitting.sit(study, asked, options.runs, options.results)) is None:
            return 0
        if said := write(study):
            print(*said, *compared(study, committed), f"{study.folders.results}/figure.png", sep="\n")
        return sitting.close(study, outcome)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
