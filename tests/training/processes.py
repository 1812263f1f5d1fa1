"""Runs `train.py` and `eval.py` as real processes on a small text task, for the reliability tests."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
WORDS = ["eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun", "zehn"]
TRANSLATED = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


def write_text(folder: Path) -> Path:
    """Parallel files whose target is the source, word for word translated and reversed."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(0)
    for split, lines in (("train", 160), ("val", 24), ("test", 24)):
        numbers = [[rng.randrange(10) for _ in range(rng.randint(1, 7))] for _ in range(lines)]
        for suffix, words, order in (("de", WORDS, 1), ("en", TRANSLATED, -1)):
            text = "".join(" ".join(words[n] for n in line[::order]) + "\n" for line in numbers)
            (folder / f"{split}.{suffix}").write_text(text)
    return folder


def command(workdir: Path, text: Path, *extra: str, model: str = "rnn") -> list[str]:
    """Bucketed text, dropout, clipping and accumulation, in a model small enough to compile at once."""
    values = {
        "steps": 24,
        "tokens_per_batch": 512,
        "data.dir": text,
        "data.source_language": "de",
        "data.target_language": "en",
        "data.tokenizer.name": "char",
        "data.num_buckets": 2,
        "data.max_length": 64,
        "model.hidden_size": 16,
        "model.num_layers": 1,
        "model.dropout_rate": 0.1,
        "optimizer.accumulation": 2,
        "optimizer.clip_norm": 1.0,
        "schedule.warmup_steps": 4,
        "every.log": 4,
        "every.eval": 12,
        "every.save": 3,
        "wandb.mode": "disabled",
    } | ({"model.embed_size": 16} if "transformer" not in model else {"model.mlp_dim": 32, "model.num_heads": 2})
    flags = [f"--config.{key}={value}" for key, value in values.items()]
    return [
        sys.executable,
        "train.py",
        f"--config=configs/translate.py:{model}",
        f"--workdir={workdir}",
        *flags,
        *extra,
    ]


def start(words: list[str], **env: str) -> subprocess.Popen:
    return subprocess.Popen(
        words,
        cwd=ROOT,
        # Compiling is most of what these short runs cost, so the compiler is told not to try hard.
        env=os.environ | {"JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "true"} | env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(words: list[str], status: int = 0, **env: str) -> str:
    """Runs to the end, checks the exit status and returns what was printed."""
    process = start(words, **env)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == status, f"exit {process.returncode}:\n{output}"
    return output


def summary(workdir: Path) -> dict:
    return json.loads((workdir / "summary.json").read_text())


def rows(workdir: Path, kind: str) -> list[dict]:
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if row["kind"] == kind]
