"""A first look: three architectures learn associative recall. How far back can each one find the answer?

    make demo

Trains `gru`, `gru_attention` and `transformer` for a few minutes on two CPU cores, then prints accuracy against
distance and draws a figure. Nothing is downloaded. After an interruption the same command goes on.
"""

# Before what takes time to import: Ctrl-C counts from now on.
from training.machine import signals

# isort: split
import sys
from pathlib import Path
from typing import Any

import eval
import train
from experiments.analysis.palette import Look
from training.command.cli import Parser, check_folder, load, user_errors
from training.command.printed import print_rows
from training.command.validate import LARGEST
from training.run.restore import restore

MODELS = {"gru": Look("gru"), "gru_attention": Look("attention"), "transformer": Look("transformer")}
BINS = 8  # rows of the table


def run(name: str, workdir: Path, steps: int) -> dict[str, Any]:
    """Trains one architecture (or goes on with it) and returns its evaluation on the test split."""
    config = load(f"configs/recall.py:{name}")
    config.steps = steps or config.steps
    config.wandb.mode = "disabled"
    config.lock()
    if not train.train(config, workdir, accept_changes=True):
        sys.exit(signals.status())  # asked to stop; the message is out
    return eval.evaluate(restore(workdir), "test")[0]


def binned(rows: list[dict], count: int = BINS) -> list[tuple[str, float, int]]:
    """(distances, accuracy, answers) of neighbouring distances taken together."""
    low, high = rows[0]["low"], rows[-1]["high"]
    width = -(-(high - low + 1) // count)
    table = []
    for start in range(low, high + 1, width):
        here = [row for row in rows if start <= row["low"] < start + width]
        answers = sum(row["num_answers"] for row in here)
        right = sum(row["token_accuracy"] * row["num_answers"] for row in here)
        if here:
            table.append((f"{start}-{here[-1]['high']}", right / answers, answers))
    return table


def print_table(results: dict[str, dict], chance: float) -> None:
    columns = {name: binned(found["by_distance"]) for name, found in results.items()}
    rows = [
        {"distance": bins[0][0]}
        | {name: f"{accuracy:.1%}" for name, (_, accuracy, _) in zip(columns, bins, strict=True)}
        | {"chance": f"{chance:.1%}", "answers": str(bins[0][2])}
        for bins in zip(*columns.values(), strict=True)
    ]
    print_rows(rows, "Accuracy against distance (tokens between a pair and its query)", ["distance"])


def draw(results: dict[str, dict], chance: dict[str, float], folder: Path) -> None:
    """`figure.png` and `figure.svg`, with two levels of guessing: among all values, and among those in the source."""
    from experiments.analysis import charts, picture

    cells = [
        charts.Cell(name, (row["low"] + row["high"]) / 2, [row["token_accuracy"]])
        for name, found in results.items()
        for row in found["by_distance"]
    ]
    axes = charts.Axes("Associative recall", "distance to the answer (tokens)", "accuracy", y_domain=(0, 1.02))
    panel = charts.curves(cells, MODELS, axes) + charts.level(chance["token_accuracy"], "chance")
    seen = chance["token_accuracy_in_context"]
    picture.save([panel + charts.level(seen, "the values, not their keys")], folder)


def main(argv: list[str]) -> None:
    parser = Parser("python -m experiments.demo", __doc__)
    parser.add_argument("--folder", type=Path, default=Path("runs/demo"), help="where the runs go")
    parser.add_argument("--steps", type=int, default=0, help="steps of training each; 0 for the config's")
    options = parser.parse_args(argv)
    if not 0 <= options.steps <= LARGEST:
        parser.error(f"--steps = {options.steps} is no number of steps; use 1 or more, or 0 for the config's")
    with user_errors():
        check_folder("--folder", options.folder)
        show({name: run(name, options.folder / name, options.steps) for name in MODELS}, options.folder)


def show(results: dict[str, dict], folder: Path) -> None:
    """The table, and the figure beside the runs."""
    chance = next(iter(results.values()))["chance"]
    print_table(results, chance["token_accuracy"])
    draw(results, chance, folder)
    print(f"figure: {folder / 'figure.png'}")


if __name__ == "__main__":
    main(sys.argv[1:])
