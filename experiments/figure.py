"""Draws a question's figure and gives its verdict from a table, or from the runs' folders. Nothing is run.

python -m experiments.figure long_range --scale=cpu
python -m experiments.figure long_range --scale=cpu --from-runs    makes the table from runs/long_range/cpu first

Without a table in --results, the committed one of docs/results is copied there and drawn.
"""

# Before what takes time to import: Ctrl-C counts from now on.
import training.machine.signals  # noqa: F401

# isort: split
import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.analysis import table
from experiments.engine import publish, results
from experiments.engine.results import Folders
from experiments.engine.study import Study
from experiments.page import question_page
from experiments.questions import find
from experiments.questions.question import SCALES
from training.command.cli import Parser, check_folder, user_errors


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument("question", help="a name of experiments/questions")
    parser.add_argument("--scale", default="cpu", choices=SCALES)
    parser.add_argument("--from-runs", action="store_true", help="make the table from the runs' folders first")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the runs")
    parser.add_argument("--results", type=Path, default=results.OWN, help="folder of tables and figures")
    return parser.parse_args(argv)


def check(study: Study, source: Path, from_runs: bool) -> None:
    """Raises ValueError in one line where the results of `source` cannot be drawn, or a fuller table would go."""
    command = f"python -m experiments.run {study.name} --scale={study.scale}"
    if outdated := study.store.outdated(study.whole().due):
        raise ValueError(f"{outdated}: the table is of another version; {command} runs it again")
    done, everything = study.table()
    if not done:
        raise ValueError(f"{source} has no run of {study.name} at scale {study.scale}; start some with {command}")
    if not len(results.reported(everything)):
        raise ValueError(
            f"{source} holds trials of tuned values alone, which show nothing; {command} goes on from there"
        )
    own = study.folders.results / "table.parquet"
    there = table.read(own) if from_runs and own.is_file() else everything
    if lost := results.runs_of(there) - results.runs_of(everything):
        raise ValueError(f"{own} has {len(lost)} runs that {source} has not; move it away to do without them")


def main(argv: Sequence[str]) -> int:
    options = parse(argv)
    with user_errors():
        name, scale = options.question, options.scale
        question = find(name)
        check_folder("--results", options.results)
        folders = Folders.of(name, scale, options.runs, options.results)
        source = folders.runs if options.from_runs else next(iter(folders.tables()), None)
        if source is None:
            raise FileNotFoundError(
                f"{folders.results / 'table.parquet'} is not there; run python -m experiments.run {name} "
                f"--scale={scale}, or give --from-runs"
            )
        study = Study(question, name, scale, folders, shown="runs" if options.from_runs else "tables")
        check(study, source, options.from_runs)
        print(*publish.write(study), sep="\n")
        plan = study.whole()
        if missing := len(plan.due) + len(plan.waiting):
            print(f"{missing} runs of the grid are not in {source}", file=sys.stderr)
        question_page.write(name, question, scale, options.results)
        print(folders.results / "figure.png")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
