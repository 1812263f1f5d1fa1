"""Draws a question's figure and gives its verdict from what is finished. Nothing is run.

    python -m experiments.figure long_range --scale=cpu

Runs count that are in the table of --results, in the committed one of docs/results, or in the folders of --runs, such
as those of a command that is still at work.
"""

# Before what takes time to import: Ctrl-C counts from now on.
import training.machine.signals  # noqa: F401

# isort: split
import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.engine import publish, results
from experiments.engine.results import Folders
from experiments.engine.study import Study
from experiments.page import question_page
from experiments.questions import find
from experiments.questions.question import SCALES
from training.command.cli import Parser, check_folder, user_errors


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser("python -m experiments.figure", __doc__)
    parser.add_argument("question", help="its name, as experiments.run lists it")
    parser.add_argument("--scale", default="cpu", choices=SCALES, help="size of the runs; default: cpu")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the runs")
    parser.add_argument("--results", type=Path, default=results.OWN, help="folder of tables and figures")
    return parser.parse_args(argv)


def check(study: Study) -> None:
    """Raises ValueError or FileNotFoundError in one line if nothing of this version can be drawn."""
    command = f"python -m experiments.run {study.name} --scale={study.scale}"
    if (folder := study.folders.results.parents[1]) != results.OWN:
        command += f" --results={folder}"
    if outdated := study.store.outdated(study.whole().due):
        raise ValueError(f"{outdated}: the table is of another version; {command} runs it again")
    done, everything = study.table()
    if not done and (path := next(iter(study.folders.tables()), None)):
        raise ValueError(f"{path} has no run of {study.name} at scale {study.scale}; start some with {command}")
    if not done:
        raise FileNotFoundError(f"{study.folders.results / 'table.parquet'} is not there; start with {command}")
    if not len(results.reported(everything)):
        raise ValueError(f"trials of tuned values alone are finished, which show nothing; {command} goes on from there")


def main(argv: Sequence[str]) -> int:
    options = parse(argv)
    with user_errors():
        name, scale = options.question, options.scale
        question = find(name)
        check_folder("--results", options.results)
        folders = Folders.of(name, scale, options.runs, options.results)
        study = Study(question, name, scale, folders, of_any_machine=True)
        check(study)
        print(*publish.write(study), sep="\n")
        plan = study.whole()
        if missing := len(plan.due) + len(plan.waiting):
            print(f"{missing} runs of the grid are not finished", file=sys.stderr)
        question_page.write(name, question, scale, options.results)
        print(folders.results / "figure.png")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
