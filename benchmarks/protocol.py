"""What every measured program says to the benchmark: it waits for a line, works, and answers in JSON.

    describe    {"num_params": ..., "loss": without dropout, from the weights that were given}
    step N      {"seconds": wall time of N training steps, waited for}
    quit        {"peak_memory_bytes": of the whole process, or of the accelerator}

and, where a model is trained on text or translates it, `step N` also says how many target `tokens` were read, and

    validate    {"loss": nats a token, of the weights as they now are}
    translate   {"seconds": text in, text out}; the translations lie in a file

The standard library alone: the peers have an environment of their own.
"""

import argparse
import dataclasses
import json
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from benchmarks.cases import Case
from benchmarks.text_case import TextCase

AnyCase = TypeVar("AnyCase", Case, TextCase)


def peak_resident_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@dataclasses.dataclass
class Program:
    """One way to do the work of a case."""

    num_params: int
    loss: Callable[[], float]
    step: Callable[[], object]  # starts one training step
    wait: Callable[[], object]  # until every step so far is done
    peak_memory: Callable[[], int] = peak_resident_bytes


def arguments(kind: type[AnyCase]) -> tuple[AnyCase, str, Path]:
    """The case, the setting (`default`, `tuned`, or `freed`, ours alone), and the file of weights or the folder."""
    parser = argparse.ArgumentParser()
    parser.add_argument("case", type=lambda text: kind(**json.loads(text)))
    parser.add_argument("setting", choices=("default", "tuned", "freed"))
    parser.add_argument("files", type=Path)
    options = parser.parse_args()
    return options.case, options.setting, options.files


def requests(answers: Mapping[str, Callable[[], Mapping[str, float]]], peak_memory: Callable[[], int]) -> Iterator[int]:
    """Yields the numbers of steps that are asked for, which the caller takes and answers; answers what else is
    asked, until told to quit or until the benchmark is gone."""
    for line in sys.stdin:
        command, *words = line.split()
        if command == "step":
            yield int(words[0])
        elif command == "quit":
            answer(peak_memory_bytes=peak_memory())
            return
        else:
            answer(**answers[command]())


def serve(program: Program) -> None:
    """Answers for one training step on one batch."""

    def describe() -> dict[str, float]:
        return {"num_params": program.num_params, "loss": program.loss()}

    for steps in requests({"describe": describe}, program.peak_memory):
        start = time.perf_counter()
        for _ in range(steps):
            program.step()
        program.wait()
        answer(seconds=time.perf_counter() - start)


def answer(**values: float) -> None:
    print(json.dumps(values), flush=True)
