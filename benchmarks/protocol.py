"""What every measured program says to the benchmark: it waits for a line, works, and answers in JSON.

    describe    {"num_params": ..., "loss": without dropout, from the weights that were given}, and of ours "flops" and
                "tokens" of a step, where it is always the same
    step N      {"seconds": wall time of N steps, waited for}, and how many "tokens" or "sentences" they took in
    quit        {"peak_memory_bytes": of the whole process, or of the accelerator}

`python -m benchmarks.protocol MODULE CASE FOLDER` serves the module's `program(case, folder)`: the case has the fields
of `contender.Contender`, and the first program of a comparison leaves in the folder what the others begin with
(`handover.py`). The standard library alone: the peers have an environment of their own.
"""

import importlib
import json
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace

Answer = Mapping[str, float]


def peak_resident_bytes() -> int:
    """Of this process, or of the largest that it started."""
    return 1024 * max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


class Program:
    """What a module's `program` returns; by default a training step on one batch, again and again."""

    def __init__(self, said: Answer, step: Callable[[], object], wait: Callable[[], object], peak_memory=None):
        """`step` starts one, `wait` returns when every step so far is done."""
        self.said, self.step, self.wait = said, step, wait
        self.peak_memory: Callable[[], int] = peak_memory or peak_resident_bytes

    def describe(self) -> Answer:
        return self.said

    def take(self, steps: int) -> Answer:
        """Returns when they are done; the answer may say their seconds, which are else those of this call."""
        for _ in range(steps):
            self.step()
        self.wait()
        return {}

    def serve(self) -> None:
        for steps in self.requests():
            start = time.perf_counter()
            said = self.take(steps)
            answer(**{"seconds": time.perf_counter() - start, **said})

    def requests(self) -> Iterator[int]:
        """Yields numbers of steps, which the caller answers; answers what else is asked, until told to quit."""
        for line in sys.stdin:
            if line.startswith("step"):
                yield int(line.split()[1])
            elif line.startswith("describe"):
                answer(**self.describe())
            else:
                return answer(peak_memory_bytes=self.peak_memory())


def answer(**values: float) -> None:
    print(json.dumps(values), flush=True)


if __name__ == "__main__":
    module, case, folder = sys.argv[1:]
    importlib.import_module(module).program(SimpleNamespace(**json.loads(case)), Path(folder)).serve()
