"""Runs an ablation of your own: every combination of values with several seeds, in one table, figure and page.

    python -m experiments.sweep --config=configs/recall.py:transformer \\
        --vary=model.num_heads=1,2,4,8 --vary=model.positions=rotary,learned --seeds=5
    python -m experiments.sweep --config=configs/recall.py:gru --config=configs/recall.py:transformer \\
        --budget=100k --rates=1e-3,2e-3,4e-3       two architectures, matched in parameters, each at its best rate

`--config.KEY=VALUE` sets a value for all runs. Finished runs are kept: the same command goes on, and one with more
values or seeds runs what is new. RUNS/results-HASH/ holds table, summary, figure, page and command; the hash is of what
was asked: values, seeds, steps, budget, rates, measure, text.
"""

# Before what takes time to import: Ctrl-C counts from now on.
import training.machine.signals  # noqa: F401

# isort: split
import argparse
import hashlib
import math
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from data import whole_file
from experiments.analysis import table
from experiments.engine import publish, results, sitting, text_folder
from experiments.engine.ablation import LONGEST, MEASURES, RATE, Ablation
from experiments.engine.results import Folders
from experiments.engine.study import Study
from experiments.page import templates
from training.command.cli import Parser, user_errors
from training.command.printed import print_rows

OVERRIDE = re.compile(r"--config\.([^=]+)=(.*)", re.DOTALL)
MOST_RUNS = 10_000
BUDGET = re.compile(r"(\d+(?:\.\d+)?)([kM]?)")
COUNTS = ("parameters", "without embeddings")  # columns of the summary whose thousands are told apart for a reader


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options, and as `fixed` the values of all runs by key."""
    parser = Parser("python -m experiments.sweep", __doc__)
    parser.add_argument(
        "--config", action="append", default=[], metavar="FILE:MODEL", help="what is trained; repeatable"
    )
    parser.add_argument("--vary", action="append", default=[], metavar="KEY=VALUE,VALUE", help="repeatable")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds, counted from 0; default: 3")
    parser.add_argument("--rates", default="", help="learning rates to tune: each cell reports its best on validation")
    parser.add_argument("--budget", default="", help="most parameters without embeddings, such as 100k; sets widths")
    parser.add_argument(
        "--measure",
        default="",
        choices=("", *MEASURES),
        metavar="MEASURE",
        help=f"what is drawn: {', '.join(MEASURES)}; default: the config's best.metric",
    )
    parser.add_argument(
        "--runs", type=Path, help="folder of the runs; default: a folder of runs/ named after the command"
    )
    sitting.add_options(parser)
    parser.set_defaults(fixed={match[1]: match[2] for word in argv if (match := OVERRIDE.fullmatch(word))})
    options = parser.parse_args([word for word in argv if not OVERRIDE.fullmatch(word)])
    return sitting.check(parser, options)


def ablation(options: argparse.Namespace) -> Ablation:
    """Raises ValueError for a sweep that cannot be run."""
    if not options.config:
        raise ValueError("--config is missing; give a file and an architecture, as in --config=configs/recall.py:gru")
    varied: dict[str, list[str]] = {}
    for word in options.vary:
        key, _, values = word.partition("=")
        if key in varied:
            raise ValueError(f"--vary = {key} is given twice; give all of its values in one")
        varied[key] = _listed(f"--vary = {key}", values)
    if not varied and len(options.config) == 1:
        raise ValueError("nothing varies; give --vary=KEY=VALUE,VALUE or several --config")
    if "seed" in varied or "seed" in options.fixed:
        raise ValueError("seed is what every cell is repeated over; use --seeds=N")
    if both := varied.keys() & options.fixed.keys():
        raise ValueError(f"{both.pop()} is varied and set; leave out --vary or --config.KEY=VALUE")
    if options.seeds < 1:
        raise ValueError(f"--seeds = {options.seeds} is not a number of seeds; use 1 or more, better 5")
    runs = options.seeds * math.prod(map(len, varied.values()))
    if runs > MOST_RUNS:
        raise ValueError(f"--seeds and --vary ask for {runs:,} runs of each config; use {MOST_RUNS:,} or fewer")
    if options.data and "data.dir" in {*varied, *options.fixed}:
        raise ValueError(f"--data = {options.data} and data.dir name the same folder; leave one out")
    if options.wandb == "disabled" and (idle := next((key for key in options.fixed if key.startswith("wandb.")), "")):
        raise ValueError(f"--config.{idle} does nothing without --wandb; add --wandb=auto, or leave it out")
    rates = sorted(map(_rate, _listed("--rates", options.rates))) if options.rates else []
    if len({*rates}) < len(rates):
        raise ValueError(f"--rates = {options.rates} has a rate twice; leave one out")
    if rates and RATE in {*varied, *options.fixed}:
        raise ValueError(f"{RATE} is set and chosen by --rates; leave one of them out")
    chosen: dict[str, Any] = {"rates": rates, "budget": _budget(options.budget), "measure": options.measure}
    return Ablation(options.config, varied, options.fixed, seeds=options.seeds, text=options.data, **chosen)


def _listed(what: str, text: str) -> list[str]:
    values = text.split(",")
    if not all(values):
        raise ValueError(f"{what} has an empty value; give some with commas between, such as {what.split()[-1]}=1,2,4")
    return values


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not 0 < rate < math.inf:
        raise ValueError(f"--rates = {text} is not a learning rate; use numbers above 0, such as 1e-3,2e-3,4e-3")
    return rate


def _budget(text: str) -> int:
    found = BUDGET.fullmatch(text)
    size = float(found[1]) * {"": 1, "k": 1e3, "M": 1e6}[found[2]] if found else 0
    if text and not 1 <= size < 1e15:
        raise ValueError(f"--budget = {text} is not a number of parameters; use 100000, 100k or 1.5M")
    return round(size)


def name_of(options: argparse.Namespace) -> str:
    """The name of the sweep: the folder of its runs and their group in wandb, with a hash if values are set for all
    runs."""
    configs = [f"{Path(file).stem}-{argument}" for file, _, argument in (c.rpartition(":") for c in options.config)]
    keys = [word.partition("=")[0].removeprefix("model.") for word in options.vary]
    name = re.sub(r"[^\w.+-]+", "-", "+".join(configs) + f"-by-{'-'.join(keys)}" * bool(keys))
    same = (sorted(options.fixed.items()), options.budget, options.rates)
    if any(same) or len(name) > LONGEST:
        name = f"{name[:LONGEST]}-{hashlib.sha256(repr((options.config, keys, same)).encode()).hexdigest()[:6]}"
    return name


def write(study: Study, asked: Ablation, command: str) -> list[Path]:
    """Writes table, summary, figure, page and command from every finished run. Returns what to look at."""
    from experiments.analysis import picture

    folder = study.folders.results
    done, everything = study.table()
    shown = results.reported(everything) if done else everything
    if not len(shown):
        return []
    panels = asked.figure(shown)
    publish.write_table(everything, folder)
    publish.write_commands([command], study.name, done, folder)
    picture.save(panels, folder)
    rows = asked.summary(shown)
    whole_file.write_text(folder / "summary.csv", table.of_rows(rows).to_csv(index=False, lineterminator="\n"))
    shown_rows = [row | {name: f"{int(row[name]):,}" for name in COUNTS} for row in rows]
    whole_file.write_text(folder / "index.html", page(study, shown_rows, command, panels[0].description))
    print_rows(shown_rows)
    return [folder / "figure.png", folder / "index.html"]


def page(study: Study, rows: Sequence[Mapping[str, str]], command: str, caption: str) -> str:
    """One file that opens from disk and loads nothing. `caption` says what the marks of the figure are."""
    drawn = (study.folders.results / "figure.svg").read_text(encoding="utf-8")
    return templates.render("sweep.html", name=study.name, rows=rows, command=command, drawn=drawn, caption=caption)


def main(argv: Sequence[str]) -> int:
    options = parse(argv)
    jax.config.update("jax_platforms", "cpu")  # of this process, which counts; an accelerator is its jobs' alone
    with user_errors(), text_folder.named():
        asked, name = ablation(options), name_of(options)
        runs = options.runs or Path("runs") / name
        folders = Folders(runs, runs / asked.results, None)
        study = Study(asked, name, "", folders, text=options.data, wandb=options.wandb)
        if (outcome := sitting.sit(study, sitting.Asked.of(options), runs)) is None:
            return 0
        command = shlex.join(["python", "-m", "experiments.sweep", *argv])
        if said := write(study, asked, command):
            print(*said, sep="\n")
        return sitting.close(study, outcome)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
