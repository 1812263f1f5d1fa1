"""Case `beam5`: test_2016_flickr translated with a beam of 5 by our search and by JoeyNMT's, with the same weights.

The weights are those of a trained run (`--run`); without one, our model is trained for a thousand steps first. Both
programs read text and write text, in turn, so that what is timed is segmentation, batching, search and joining. Our
first pass, which compiles, is said apart.
"""

import argparse
import contextlib
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from benchmarks import multi30k_turns
from benchmarks.text_case import Files, TextCase
from benchmarks.turns import ROOT, ratio_interval
from training.evaluation import quality
from training.run import restore

NAME, SPLIT = "beam5", "test_2016_flickr"
STEPS = 1000  # of training where no run is given
LEAST = 2  # passes


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The numbers of the case. Raises RuntimeError where a program fails or does other work than ours."""
    taking_part = multi30k_turns.contenders(options.peers)
    passes: list[list[float]] = []
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        run = options.run.absolute() if options.run else train(options.data, folder)
        case = case_of(run, options.data)
        running, described = multi30k_turns.start(case, taking_part, folder, stack)
        first = running[0].ask("translate")["seconds"]
        while len(passes) < LEAST or np.sum(passes) < options.seconds:
            passes.append([process.ask("translate")["seconds"] for process in running])
        memory = [process.ask("quit")["peak_memory_bytes"] for process in running]
        references = lines_of(Files(folder).text(SPLIT, case.target))
        hypotheses = [lines_of(Files(folder).hypotheses(contender.name)) for contender in taking_part]
    rows = []
    for n, contender in enumerate(taking_part):
        seconds = [one[n] for one in passes]
        ratio, low, high = ratio_interval([one[0] for one in passes], seconds)
        text = quality.Text(hypotheses[n], references, lowercase=True)
        rows.append(
            {
                "program": contender.name,
                "passes": len(seconds),
                "first_seconds": None if n else first,
                "median_seconds": float(np.median(seconds)),
                "p10_seconds": float(np.quantile(seconds, 0.1)),
                "p90_seconds": float(np.quantile(seconds, 0.9)),
                "sentences_per_second": len(references) / float(np.median(seconds)),
                "ratio": ratio,
                "ratio_low": low,
                "ratio_high": high,
                "peak_memory_bytes": int(memory[n]),
                "num_params": int(described[n]["num_params"]),
                "loss": described[n]["loss"],
                "bleu_lowercase": text.scores()["bleu_lowercase"],
                "same_as_ours": sum(a == b for a, b in zip(hypotheses[0], hypotheses[n], strict=True)),
            }
        )
    return {"case": NAME, "sentences": len(references), "programs": rows}


def case_of(run: Path, data: Path) -> TextCase:
    """The sizes of a run. Raises RuntimeError where JoeyNMT has no such model."""
    config = restore.read_config(run)
    model = config.model
    wanted = {"name": "transformer", "positions": "sinusoidal", "norm": "pre", "activation": "relu"}
    for key, value in wanted.items():
        if model[key] != value:
            raise RuntimeError(f"{NAME}: {run} has model.{key} = {model[key]}, and JoeyNMT is compared with {value}")
    return TextCase(
        NAME,
        str(data),
        str(run),
        SPLIT,
        config.data.source_language,
        config.data.target_language,
        model.hidden_size,
        model.num_layers,
        model.num_heads,
        model.mlp_dim,
        config.data.tokenizer.vocab_size,
    )


def train(data: Path, folder: Path) -> Path:
    """A run of a thousand steps, which translate badly but at the right length."""
    run = folder / "trained"
    words = [
        sys.executable,
        "train.py",
        "--config=configs/multi30k.py:transformer",
        f"--workdir={run}",
        f"--config.data.dir={data}",
        f"--config.steps={STEPS}",
        "--config.wandb.mode=disabled",
    ]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{NAME}: training: {done.stderr.strip().splitlines()[-1]}")
    return run


def lines_of(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").removesuffix("\n").split("\n")


def table(found: dict[str, Any]) -> Table:
    made = Table(title=f"{found['sentences']:,} sentences, beam 5: median (10 % to 90 %), and how many times as long")
    for column in ("program", "s", "ratio (95 %)", "sentences/s", "first pass", "BLEU", "as ours", "peak memory"):
        made.add_column(column, justify="left" if column == "program" else "right", no_wrap=True)
    for number, row in enumerate(found["programs"]):
        ratio = f"{row['ratio']:.2f} ({row['ratio_low']:.2f} to {row['ratio_high']:.2f})" if number else ""
        made.add_row(
            row["program"],
            f"{row['median_seconds']:.1f} ({row['p10_seconds']:.1f} to {row['p90_seconds']:.1f})",
            ratio,
            f"{row['sentences_per_second']:.0f}",
            "" if number else f"{row['first_seconds']:.1f} s",
            f"{row['bleu_lowercase']:.2f}",
            f"{row['same_as_ours']:,}" if number else "",
            f"{row['peak_memory_bytes'] / 2**20:,.0f} MiB",
        )
    return made
