"""A first look: three architectures learn associative recall; how far back can each one find the answer?

    make demo

Trains `gru`, `gru_attention` and `transformer` for some minutes on two CPU cores, then prints accuracy against
distance and draws the figure. Nothing is downloaded. The same command goes on where an earlier one was stopped.
"""

# Before what takes time to import: Ctrl-C counts from now on.
from training.machine import signals

# isort: split
import sys
from pathlib import Path
from typing import Any

import eval
import train
from data import whole_file
from training.command.cli import Parser, load, user_errors
from training.command.printed import print_whole
from training.run.restore import restore

MODELS = ("gru", "gru_attention", "transformer")
COLOURS = {"gru": "#d1495b", "gru_attention": "#edae49", "transformer": "#00798c"}
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
    from rich.table import Table

    table = Table(title="Accuracy against distance (tokens between a pair and its query)")
    table.add_column("distance")
    for name in results:
        table.add_column(name, justify="right")
    table.add_column("chance", justify="right")
    table.add_column("answers", justify="right")
    columns = {name: binned(found["by_distance"]) for name, found in results.items()}
    for rows in zip(*columns.values(), strict=True):
        table.add_row(rows[0][0], *(f"{accuracy:.1%}" for _, accuracy, _ in rows), f"{chance:.1%}", str(rows[0][2]))
    print_whole(table)


def draw(results: dict[str, dict], chance: dict[str, float], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    for name, found in results.items():
        rows = found["by_distance"]
        middle = [(row["low"] + row["high"]) / 2 for row in rows]
        axes.plot(middle, [row["token_accuracy"] for row in rows], color=COLOURS[name], marker="o", ms=4, label=name)
    # A model that knows which values came up, but not with which key, guesses among those.
    levels = {"chance": chance["token_accuracy"], "chance among the values seen": chance["token_accuracy_in_context"]}
    for (name, level), (side, shift, align) in zip(levels.items(), ((0, 4, "left"), (1, -4, "right")), strict=True):
        axes.axhline(level, color="grey", linestyle="--", linewidth=1, zorder=0)
        axes.annotate(
            name,
            (side, level),
            xycoords=("axes fraction", "data"),
            xytext=(shift, 3),
            textcoords="offset points",
            ha=align,
            color="grey",
            fontsize=9,
        )
    axes.set(xlabel="distance to the answer (tokens)", ylabel="accuracy", ylim=(-0.02, 1.04))
    axes.set_title("Associative recall: who finds the answer, how far back?", loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(frameon=False, loc="center right")
    with whole_file.replacing(path) as partial:
        figure.savefig(partial, dpi=150)
    pyplot.close(figure)


def main(argv: list[str]) -> None:
    parser = Parser(__doc__)
    parser.add_argument("--folder", type=Path, default=Path("runs/demo"), help="where the runs go")
    parser.add_argument("--steps", type=int, default=0, help="steps of training each; 0 for the config's")
    options = parser.parse_args(argv)
    with user_errors():
        show({name: run(name, options.folder / name, options.steps) for name in MODELS}, options.folder)


def show(results: dict[str, dict], folder: Path) -> None:
    """The table, and the figure beside the runs."""
    chance = results[MODELS[0]]["chance"]
    print_table(results, chance["token_accuracy"])
    path = folder / "accuracy_by_distance.png"
    draw(results, chance, path)
    print(f"figure: {path}")


if __name__ == "__main__":
    main(sys.argv[1:])
