"""What every measured program says to the benchmark: it waits for a line, works, and answers in JSON.

    describe    {"num_params": ..., "loss": without dropout, from the weights that were given}
    step N      {"seconds": wall time of N training steps, waited for}
    quit        {"peak_memory_bytes": of the whole process, or of the accelerator}

The standard library alone: the peers have an environment of their own.
"""

import argparse
import dataclasses
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

from experiments.benchmarks.cases import Case


@dataclasses.dataclass
class Program:
    """One way to do the work of a case."""

    num_params: int
    loss: Callable[[], float]
    step: Callable[[], object]  # starts one training step
    wait: Callable[[], object]  # until every step so far is done
    peak_memory: Callable[[], int] = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # bytes


def arguments() -> tuple[Case, str, Path]:
    """The case, the setting (`default` or `tuned`), and the file of weights."""
    parser = argparse.ArgumentParser()
    parser.add_argument("case", type=lambda text: Case(**json.loads(text)))
    parser.add_argument("setting", choices=("default", "tuned"))
    parser.add_argument("weights", type=Path)
    options = parser.parse_args()
    return options.case, options.setting, options.weights


def serve(program: Program) -> None:
    """Answers until told to quit, or until the benchmark is gone."""
    for line in sys.stdin:
        command, *words = line.split()
        if command == "describe":
            answer(num_params=program.num_params, loss=program.loss())
        elif command == "step":
            start = time.perf_counter()
            for _ in range(int(words[0])):
                program.step()
            program.wait()
            answer(seconds=time.perf_counter() - start)
        elif command == "quit":
            answer(peak_memory_bytes=program.peak_memory())
            return


def answer(**values: float) -> None:
    print(json.dumps(values), flush=True)
