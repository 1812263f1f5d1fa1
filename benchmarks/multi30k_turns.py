"""Case `multi30k`: training end to end on real text, beside JoeyNMT with the same model, vocabulary and batch.

Both begin with the same weights, take stretches of steps in turn and read target tokens, of which padding is none.
Compiling and validating are no part of a stretch. With `--minutes`, each then trains alone from the same weights until
its validation loss is down at `--loss`.
"""

import argparse
import contextlib
import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from benchmarks.same_work import check_same_work
from benchmarks.text_case import TextCase
from benchmarks.turns import Contender, Running, ratio_interval

NAME = "multi30k"
STEPS = 20  # a turn
WARM_UP = 5  # rounds thrown away, in which every shape of batch is met and compiled
EVERY = 50  # steps between validations on the way to a loss


def contenders(peers: bool) -> list[Contender]:
    settings = ("default", "tuned") if peers else ()
    return [Contender("ours"), *(Contender("joeynmt", setting) for setting in settings)]


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The numbers of the case. Raises RuntimeError where a program fails or does other work than ours."""
    case, taking_part = TextCase(NAME, str(options.data)), contenders(options.peers)
    rounds: list[list[dict[str, float]]] = []
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        running, described = start(case, taking_part, Path(folder), stack)
        spent = 0.0
        while len(rounds) < WARM_UP + 5 or spent < options.seconds:
            rounds.append([process.ask(f"step {STEPS}") for process in running])
            if len(rounds) > WARM_UP:
                spent += sum(turn["seconds"] for turn in rounds[-1])
        memory = [process.ask("quit")["peak_memory_bytes"] for process in running]
    kept = rounds[WARM_UP:]
    pace = [[turn[n]["seconds"] / turn[n]["tokens"] for turn in kept] for n in range(len(taking_part))]
    rows = []
    for n, contender in enumerate(taking_part):
        ratio, low, high = ratio_interval(pace[0], pace[n])
        rows.append(
            {
                "program": contender.name,
                "rounds": len(kept),
                "steps_a_round": STEPS,
                "target_tokens_per_second": 1 / float(np.median(pace[n])),
                "p10_target_tokens_per_second": 1 / float(np.quantile(pace[n], 0.9)),
                "p90_target_tokens_per_second": 1 / float(np.quantile(pace[n], 0.1)),
                "target_tokens_a_step": float(np.mean([turn[n]["tokens"] for turn in kept])) / STEPS,
                "seconds_a_step": float(np.median([turn[n]["seconds"] for turn in kept])) / STEPS,
                "compile_seconds": sum(turn[n].get("compile_seconds", 0.0) for turn in rounds),
                "ratio": ratio,
                "ratio_low": low,
                "ratio_high": high,
                "peak_memory_bytes": int(memory[n]),
                "num_params": int(described[n]["num_params"]),
                "loss": described[n]["loss"],
            }
        )
    found = {"case": NAME, "sizes": dataclasses.asdict(case) | {"data": ""}, "programs": rows}
    if options.minutes:
        for row, contender in zip(rows, taking_part, strict=True):
            row["race"] = race(case, contender, options.loss, options.minutes)
    return found


def start(
    case: TextCase, taking_part: Sequence[Contender], folder: Path, stack: contextlib.ExitStack
) -> tuple[list[Running], list[dict[str, float]]]:
    """Every program with what it says of itself; ours first, since it writes what the others begin with."""
    running, described = [], []
    for contender in taking_part:
        running.append(stack.enter_context(Running(contender, case, folder)))
        described.append(running[-1].ask("describe"))
        check_same_work(case.name, contender.name, described[0], described[-1])
    return running, described


def race(case: TextCase, contender: Contender, loss: float, minutes: float) -> dict[str, Any]:
    """Trains until the validation loss is `loss` nats a token or less, for so many minutes of training at most."""
    curve, compiling, seconds, steps, tokens = [], 0.0, 0.0, 0, 0
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        taking_part = dict.fromkeys([Contender("ours"), contender])  # ours writes the weights
        running, described = start(case, list(taking_part), Path(folder), stack)
        for process in running[:-1]:
            process.ask("quit")
        now = described[-1]["loss"]
        while now > loss and seconds < 60 * minutes:
            turn = running[-1].ask(f"step {EVERY}")
            seconds, steps, tokens = seconds + turn["seconds"], steps + EVERY, tokens + int(turn["tokens"])
            compiling += turn.get("compile_seconds", 0.0)
            now = running[-1].ask("validate")["loss"]
            curve.append({"steps": steps, "tokens": tokens, "seconds": seconds, "loss": now})
    return {
        "wanted": loss,
        "reached": now <= loss,
        "seconds": seconds,
        "compile_seconds": compiling,
        "curve": curve,
    }


def table(found: dict[str, Any]) -> Table:
    title = "Multi30k, de to en: target tokens a second without padding (10 % to 90 %), and how many times ours"
    made = Table(title=title)
    columns = ("program", "tokens/s", "ratio (95 %)", "ms a step", "tokens a step", "to the loss", "peak memory")
    for column in columns:
        made.add_column(column, justify="left" if column == "program" else "right", no_wrap=True)
    for number, row in enumerate(found["programs"]):
        span = f"({row['p10_target_tokens_per_second']:,.0f} to {row['p90_target_tokens_per_second']:,.0f})"
        ratio = f"{row['ratio']:.2f} ({row['ratio_low']:.2f} to {row['ratio_high']:.2f})" if number else ""
        made.add_row(
            row["program"],
            f"{row['target_tokens_per_second']:,.0f} {span}",
            ratio,
            f"{1e3 * row['seconds_a_step']:.0f}",
            f"{row['target_tokens_a_step']:.0f}",
            said_of(row.get("race")),
            f"{row['peak_memory_bytes'] / 2**20:,.0f} MiB",
        )
    return made


def said_of(race: dict[str, Any] | None) -> str:
    if race is None:
        return ""
    spent = f"{race['wanted']:g} in {race['seconds']:.0f} s"
    if race["compile_seconds"]:
        spent += f" + {race['compile_seconds']:.0f} s compiling"
    return spent if race["reached"] else f"not {spent}, but {race['curve'][-1]['loss']:.2f}"
