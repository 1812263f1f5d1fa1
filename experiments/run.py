"""Answers a question: runs what is missing, then writes table, figure and verdict.

    python -m experiments.run                                    lists the questions
    python -m experiments.run long_range --scale=cpu --jobs=2    starts, or goes on where an earlier start stopped
    python -m experiments.run long_range --scale=cpu --dry-run   lists the runs with their sizes and minutes
    python -m experiments.run QUESTION --data=FOLDER             reads text from a folder instead of downloading it
    python -m experiments.run QUESTION --fresh                   runs everything again and says what moved

Finished runs are kept: Ctrl-C, a kill or a failing run costs nothing that was done. `results/QUESTION/SCALE/` holds the
results and `runs/QUESTION/SCALE/` the runs; `--fresh` uses a folder `fresh` in both.
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
from experiments.engine import publish, results, sitting, text_folder
from experiments.engine.results import Folders, Store
from experiments.engine.study import Study
from experiments.page import question_page
from experiments.questions import find
from experiments.questions.question import SCALES
from training.command.cli import Parser, user_errors


def compared(study: Study, committed: Sequence[Path]) -> list[str]:
    """The new results beside the committed ones."""
    if not committed:
        return []
    before, after = (results.reported(table.read(path)) for path in (*committed[-1:], *study.folders.tables()))
    was, now = (int(one["version"].max()) for one in (before, after))
    if was != now:
        return [f"the committed table is of version {was} and these runs of version {now}: they are not compared"]
    return moved.lines(before, after, results.OF_THE_MACHINE)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser("python -m experiments.run", __doc__)
    parser.add_argument("question", nargs="?", default="", help="its name; without one, all are listed")
    parser.add_argument("--scale", default="cpu", choices=SCALES, help="size of the runs; default: cpu")
    parser.add_argument("--only", default="", help="only runs whose name contains this, or with task=recall,system=gru")
    parser.add_argument("--fresh", action="store_true", help="run everything again and compare with the results")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the runs")
    parser.add_argument("--results", type=Path, default=results.OWN, help="folder of tables and figures")
    sitting.add_options(parser)
    options = parser.parse_args(argv)
    if argv and not options.question:
        parser.error(f"{argv[0]} needs a question; name one of {', '.join(claims())}")
    return sitting.check(parser, options)


def main(argv: Sequence[str]) -> int:
    options = parse(argv)
    if not options.question:
        print(*(f"{name:16} {claim}" for name, claim in claims().items()), sep="\n")
        return 0
    jax.config.update("jax_platforms", "cpu")  # of this process, which counts; an accelerator is its workers' alone
    with user_errors(), text_folder.named():
        name, scale = options.question, options.scale
        question, folders = find(name), Folders.of(name, scale, options.runs, options.results)
        committed = folders.tables() if options.fresh else []
        chosen = {"text": options.data, "only": options.only, "wandb": options.wandb}
        study = Study(question, name, scale, folders.beside() if options.fresh else folders, **chosen)
        if options.fresh:
            study.learn(Store(folders))
        if (outcome := sitting.sit(study, sitting.Asked.of(options), options.runs, options.results)) is None:
            return 0
        if said := publish.write(study):
            if not options.fresh:
                question_page.write(name, question, scale, options.results)
            print(*said, *compared(study, committed), f"{study.folders.results}/figure.png", sep="\n")
        return sitting.close(study, outcome)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
