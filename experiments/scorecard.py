"""Screens architectures: a few small tasks, one budget of parameters, two learning rates, one seed; then one table.

    python -m experiments.scorecard mamba_decoder --jobs=2
    python -m experiments.scorecard decoder --config.model.mixers=gru,gru,gru,attention --config.model.num_layers=4
    python -m experiments.scorecard gru_decoder conv_decoder --dry-run       lists the runs with sizes and minutes
    python -m experiments.scorecard gru_decoder --minutes=1                  a twentieth of the steps of --minutes=20

MODEL is any architecture, or one just added. `--config.model.KEY=VALUE` holds for all of them. RUNS/results-HASH/ has
table, figure and page, with chance and the committed GRU and Transformer beside, which had the steps of --minutes=20.
Finished runs are kept: the same command goes on. `--against=TABLE` says how well these scores rank as another table's.
"""

# Before what takes time to import: Ctrl-C counts from now on.
import training.machine.signals  # noqa: F401

# isort: split
import argparse
import math
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

import data
from data import whole_file
from experiments.analysis import scores, table
from experiments.analysis.frames import DataFrame
from experiments.engine import publish, results, sitting, text_folder
from experiments.engine.results import Folders
from experiments.engine.schedule import complete
from experiments.engine.screening import (
    BUDGET,
    FAMILIES,
    MINUTES,
    REFERENCES,
    REVERSED,
    SCORES,
    SPEED,
    TASKS,
    TEXT,
    Screening,
)
from experiments.engine.study import Study
from experiments.page import templates
from models import choices
from training.command.cli import Parser, user_errors
from training.command.printed import print_rows

NAME = "scorecard"
OVERRIDE = re.compile(r"--config\.(model\.[^=]+)=(.*)", re.DOTALL)
COMMITTED = results.PUBLISHED / NAME / "cpu"  # the references
SPOKEN = f"over {2 * REVERSED} tokens, half of them read before the first is decoded, GRU and Transformer beside"


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser("python -m experiments.scorecard", __doc__)
    parser.add_argument("models", nargs="+", metavar="MODEL", help="an architecture")
    parser.add_argument(
        "--minutes",
        type=float,
        default=MINUTES,
        help="length of the training, as minutes for one model on two cores; default: 20",
    )
    parser.add_argument(
        "--tasks", default=",".join((*TASKS, SPEED)), help="some of what it measures, with commas; default: %(default)s"
    )
    parser.add_argument("--seeds", default="0", help="one seed or several, such as 1,2,3,4,5; default: 0")
    parser.add_argument(
        "--against", type=Path, metavar="TABLE", help="a table.parquet of more seeds or steps to compare ranks with"
    )
    parser.add_argument("--runs", type=Path, default=Path("runs") / NAME, help="folder of the runs")
    sitting.add_options(parser)
    given = {match[1]: match[2] for word in argv if (match := OVERRIDE.fullmatch(word))}
    words = [word for word in argv if not OVERRIDE.fullmatch(word)]
    if other := next((word for word in words if word.startswith("--config")), ""):
        parser.error(f"{other}: the tasks are fixed; set --config.model.KEY=VALUE, or use experiments.sweep")
    options = parser.parse_args(words)
    if twice := [name for name in options.models if options.models.count(name) > 1]:
        parser.error(f"{twice[0]} is named twice; leave one out")
    if not 0 < options.minutes < 1e6:
        parser.error(f"--minutes = {options.minutes} is not a length of training; use {MINUTES:g}, or 1 for a look")
    if not re.fullmatch(r"\d{1,9}(,\d{1,9})*", options.seeds):
        parser.error(f"--seeds = {options.seeds} is no list of seeds; use 0, or 1,2,3,4,5")
    options.tasks = options.tasks.split(",")
    with user_errors():
        for task in options.tasks:
            choices.check("--tasks", task, (*TASKS, SPEED))
    options.given, options.seeds = given, [int(seed) for seed in dict.fromkeys(options.seeds.split(","))]
    return sitting.check(parser, options)


def no_text(folder: str) -> str:
    """Why text cannot be read, where it can be neither found nor downloaded."""
    try:
        config = complete(f"configs/{TEXT}.py:gru_decoder", {"data.dir": folder})
        data.build(config.task, config.data)
    except (ValueError, OSError) as error:
        if folder:
            raise
        return text_folder.told(str(error))
    return ""


def references(**shape: Any) -> tuple[list[dict[str, Any]], str]:
    """(the committed rows of the references that had the same tasks and steps, what to say of those that had not)."""
    of = Screening([*REFERENCES.values()], **shape)
    _, rows = Study(of, NAME, SCORES, Folders(COMMITTED, COMMITTED, COMMITTED), text=shape["text"]).table()
    found = set(rows["architecture"]) if len(rows) else set()
    said = [
        f"{name}: no committed runs with these tasks and steps." for name in REFERENCES if REFERENCES[name] not in found
    ]
    name_of = {model: name for name, model in REFERENCES.items()}
    return [row | {"architecture": name_of[row["architecture"]]} for row in rows.to_dict("records")], " ".join(said)


def write(asked: Screening, rows: DataFrame, notes: list[str], folder: Path, command: str) -> list[Path]:
    """Writes card, figure and page. Returns what to look at."""
    from experiments.analysis import picture

    there = set(rows["part"]) | set(rows["architecture"])
    card = scores.card(rows, [*asked.labels, *(name for name in REFERENCES if name in there)], results.SECONDS)
    shown = scores.words(card)
    picture.save(scores.figure(card, scores.looks(asked.labels, FAMILIES)), folder)
    whole_file.write_text(folder / "commands.sh", f"#!/bin/sh\n{command}\n")
    whole_file.write_text(folder / "scorecard.csv", table.of_rows(shown).to_csv(index=False, lineterminator="\n"))
    tasks = [
        {
            "task": name,
            "steps": f"{asked.steps(name):,}",
            "learning rates": " and ".join(f"{rate:g}" for rate in of.rates),
        }
        for name, of in TASKS.items()
        if name in asked.tasks
    ]
    drawn = (folder / "figure.svg").read_text(encoding="utf-8")
    page = templates.render("scorecard.html", rows=shown, notes=notes, tasks=tasks, drawn=drawn, command=command)
    whole_file.write_text(folder / "index.html", page)
    print_rows(shown, left=["architecture"])
    print(*notes, sep="\n")
    return [folder / "figure.png", folder / "index.html"]


def notes_on(asked: Screening, rows: DataFrame, seeds: int, minutes: float, against: Path | None) -> list[str]:
    """What a reader has to know of the card, a sentence each."""
    of = "One seed: a screening, no result" if seeds == 1 else f"Means over {seeds} seeds"
    said = [f"{of}. At most {BUDGET:,} parameters without embeddings; the better of two learning rates on validation."]
    if minutes != MINUTES:
        said.append(f"Steps of --minutes={minutes:g}: {minutes / MINUTES:.3g} times those of a whole card.")
    if machines := sorted(set(rows[rows["probe"] == "throughput"]["device"])):
        said.append(f"Speeds were measured in turn, {SPOKEN}, on {'; '.join(machines)}.")
    said += [f"{label} on {task}: {why}" for (label, task), why in asked.left_out.items()]
    if against:
        for title, (rho, both) in scores.agreement(rows, table.read(against)).items():
            known = "too few to rank" if math.isnan(rho) else f"Spearman {rho:.2f}"
            said.append(f"{title}, against {against}: {known} ({', '.join(both)}; its best first).")
    return said


def main(argv: Sequence[str]) -> int:
    options = parse(argv)
    jax.config.update("jax_platforms", "cpu")  # of this process, which counts; an accelerator is its jobs' alone
    with user_errors(), text_folder.named():
        if options.against and not options.against.is_file():
            raise FileNotFoundError(f"--against = {options.against} is not a file; give a table.parquet")
        why = no_text(options.data) if TEXT in options.tasks else ""
        shape: dict[str, Any] = {"tasks": options.tasks, "minutes": options.minutes}
        shape |= {"text": options.data, "no_text": why}
        asked = Screening(options.models, options.given, seeds=options.seeds, **shape)
        folders = Folders(options.runs, options.runs / asked.results, None)
        reads = any(run.axes["task"] == TEXT for run in asked.runs(SCORES))
        texts = {SCORES: options.data if reads else "", SPEED: ""}
        studies = [Study(asked, NAME, one, folders, text=texts[one], wandb=options.wandb) for one in asked.scales]
        ended = []
        for study in studies:
            outcome = sitting.sit(study, sitting.Asked.of(options), options.runs)
            ended += [(study, outcome)] if outcome else []
            if outcome and outcome.stopped:
                break
        if not ended:
            return 0
        mine = [row for study in studies for row in study.table()[1].to_dict("records")]
        if mine:
            publish.write_table(table.of_rows(mine), folders.results)
            beside, said = references(**shape)
            rows = table.of_rows([*mine, *beside])
            notes = [
                *notes_on(asked, rows, len(options.seeds), options.minutes, options.against),
                *filter(None, [said]),
            ]
            command = shlex.join(["python", "-m", "experiments.scorecard", *argv])
            print(*write(asked, rows, notes, folders.results, command), sep="\n")
        return max(sitting.close(study, outcome) for study, outcome in ended)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
