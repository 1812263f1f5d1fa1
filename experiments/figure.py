"""Draws a question's figure and verdict anew, from its table alone; and the table from the runs' folders alone.

python -m experiments.figure long_range --scale=cpu
python -m experiments.figure long_range --scale=cpu --from-runs    the table first, from runs/long_range/cpu

Where there is no table of one's own, the committed one of docs/results is copied to --results and drawn there, as
`experiments.run` does.
"""

# Before what takes time to import: Ctrl-C counts from now on.
import training.machine.signals  # noqa: F401

# isort: split
import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.analysis import table
from experiments.engine import publish, results, version
from experiments.engine.results import Folders
from experiments.page import question_page
from experiments.questions import find
from experiments.questions.question import SCALES
from training.command.cli import Parser, check_folder, user_errors


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(__doc__)
    parser.add_argument("question", help="a name of experiments/questions")
    parser.add_argument("--scale", default="cpu", choices=SCALES)
    parser.add_argument("--from-runs", action="store_true", help="make the table from the runs' folders first")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where the runs are")
    parser.add_argument("--results", type=Path, default=results.OWN, help="where table and figure are")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> int:
    options = parse(argv)
    with user_errors():
        question, name = find(options.question), options.question
        check_folder("--results", options.results)
        folders = Folders.of(name, options.scale, options.runs, options.results)
        path = next(iter(folders.tables()), None)
        if options.from_runs:
            everything, path = results.of_runs_alone(folders), folders.results / "table.parquet"
        elif path is None:
            raise FileNotFoundError(
                f"{folders.results / 'table.parquet'} is not there; run python -m experiments.run {name} "
                f"--scale={options.scale}, or give --from-runs"
            )
        else:
            everything = table.read(path)
        grid = list(question.runs(options.scale))
        if len(everything) and not set(everything["run"]) & {run.name for run in grid}:
            raise ValueError(
                f"{path} has no run of {name} at scale {options.scale}; it is of another question or scale"
            )
        publish.check_version(question, grid, everything, path)
        if changed := version.since(everything):
            print(changed, file=sys.stderr)
        if not len(results.reported(everything)):
            raise ValueError(
                f"{path} holds trials of tuned values alone, which show nothing; python -m experiments.run {name} "
                f"--scale={options.scale} goes on to the runs that are judged"
            )
        there = table.read(path) if options.from_runs and path.is_file() else everything
        if lost := results.runs_of(there) - results.runs_of(everything):
            raise ValueError(
                f"{path} has {len(lost)} runs that {folders.runs} has not; move it away to do without them"
            )
        if path.parent != folders.results or options.from_runs:
            table.write(everything, folders.results)
        findings = publish.publish(question, name, options.scale, everything, folders.results, len(grid))
        print(*publish.said(question, options.scale, findings), sep="\n")
        if missing := publish.missing(grid, everything):
            print(f"{missing} runs of the grid are not in {path}", file=sys.stderr)
        question_page.write(name, question, options.scale, options.results)
        print(folders.results / "figure.png")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
