"""A scorecard's runs: small tasks, one budget of parameters, two learning rates each, in the form of a question.

The tasks, their sizes and their steps are `TASKS`. Whoever changes one raises `Screening.VERSION` and makes the
committed references again (docs/howto/scorecard.md).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import models
from experiments.analysis import fairness
from experiments.engine.ablation import RATE, typed
from experiments.questions.question import Probing, Run, Unclaimed
from models import choices

BUDGET = 20_000  # parameters without embeddings, on every task
MINUTES = 20.0  # in which one architecture is done on two cores, with the steps below
EVALUATIONS = 8  # on validation, of which the best is kept
SCORES, SPEED = "scores", "speed"  # what the engine calls a question's scales; the second has the machine to itself
TEXT = "shakespeare"
REFERENCES = {"GRU": "gru_decoder", "Transformer": "transformer_decoder"}
FAMILIES = {"GRU": "gru", "Transformer": "transformer"}  # of which each has its colour

BY_DISTANCE = Probing("accuracy_by_distance")
BEYOND = Probing("accuracy_by_length", options={"splits": ("test_long",)})


FAST, CAREFUL = (3e-3, 1e-2), (1e-3, 3e-3)  # the two rates of a task


class Task(NamedTuple):
    steps: int  # of a card of MINUTES
    rates: tuple[float, float]
    values: Mapping[str, Any]  # by dotted key
    probes: tuple[Probing, ...] = ()


def _examples(val: int, test: int) -> dict[str, int]:
    return {"data.val_examples": val, "data.test_examples": test}


FOUR_PAIRS = {"data.num_pairs": 4, "data.num_queries": 4, "data.target_length": 4, "data.source_length": 24}
FOUR_PAIRS |= {"data.num_keys": 16, "data.num_values": 16}
TASKS = {
    "recall": Task(1500, FAST, {**FOUR_PAIRS, **_examples(512, 1024)}, (BY_DISTANCE,)),
    "selective_copying": Task(
        1000, FAST, {"data.num_kept": 6, "data.num_blanks": 34, **_examples(512, 1024)}, (BY_DISTANCE,)
    ),
    "adding": Task(1200, FAST, {"data.length": 40, **_examples(1024, 2048)}, (BY_DISTANCE,)),
    "induction_heads": Task(
        800, FAST, {"data.length": 32, "data.long_length": 128, **_examples(1024, 1024)}, (BY_DISTANCE, BEYOND)
    ),
    "parity": Task(1000, CAREFUL, {"data.long_length": 60, **_examples(1024, 1024)}, (BEYOND,)),
    TEXT: Task(800, FAST, {"data.tokenizer.name": "byte", "data.length": 64}),
}
REVERSED = 64  # symbols that are read and given back, where speed is measured
SECONDS = 2.0  # of each program there


class Screening(Unclaimed):
    """The runs of some architectures: two for every task, and one for speed."""

    VERSION = 2  # recall of 4 pairs: with 8 in 40 tokens neither the GRU nor the Transformer left chance

    def __init__(
        self,
        architectures: Sequence[str],
        given: Mapping[str, str] | None = None,
        *,
        tasks: Sequence[str] = (),
        minutes: float = MINUTES,
        seeds: Sequence[int] = (0,),
        text: str = "",
        no_text: str = "",
    ):
        """`given` are values of the models by key, as the command line gives them; `tasks` are some of TASKS and SPEED,
        all of them by default; `minutes` shortens or lengthens every training in proportion; `text` is the folder of
        the text, and `no_text` says why there is none.

        Raises ValueError, or ends the process with one line, for what cannot be trained.
        """
        self.labels: list[str] = []
        self.left_out: dict[tuple[str, str], str] = {}  # (label, task) -> why
        self._given, self._share, self._seeds = given or {}, minutes / MINUTES, seeds
        self._values = {task: dict(of.values) for task, of in TASKS.items()}
        self._values[TEXT] |= {"data.dir": text} if text else {}
        self._runs: dict[str, list[Run]] = {SCORES: [], SPEED: []}
        self.tasks = tasks or (*TASKS, SPEED)
        for name in architectures:
            choices.check("architecture", name, models.MODELS)
            if models.MODELS[name].counted:
                raise ValueError(f"{name} is trained by counting, and a scorecard is of gradients; leave it out")
            label = " ".join([name, *(f"{key.removeprefix('model.')}={value}" for key, value in self._given.items())])
            self.labels.append(label)
            for task in self.tasks:
                try:
                    if task == TEXT and no_text:
                        raise ValueError(no_text)
                    made = [self._timed(name, label)] if task == SPEED else self._trained(name, label, task)
                except ValueError as error:
                    self.left_out[label, task] = str(error).partition("; use one of")[0]  # those are no way out here
                else:
                    self._runs[SPEED if task == SPEED else SCORES] += made
            trained = [task for task in self.tasks if task != SPEED]
            if trained and all((label, task) in self.left_out for task in trained):
                raise ValueError(f"{name} can do no task of the scorecard: {self.left_out[label, trained[0]]}")

    @property
    def results(self) -> str:
        """The name of the results folder: a hash of every run."""
        said = [[run.name, run.seed, run.overrides] for scale in self._runs for run in self._runs[scale]]
        return f"results-{hashlib.sha256(json.dumps([self.VERSION, said]).encode()).hexdigest()[:8]}"

    @property
    def scales(self) -> list[str]:
        """Those that have runs."""
        return [scale for scale, runs in self._runs.items() if runs]

    def runs(self, scale: str) -> list[Run]:
        return self._runs[scale]

    def steps(self, task: str) -> int:
        return max(1, round(TASKS[task].steps * self._share))

    def _trained(self, name: str, label: str, task: str) -> list[Run]:
        """A run a rate and a seed."""
        where, steps = f"configs/{task}.py:{name}", self.steps(task)
        shared: dict[str, Any] = {"batch_size": 32, "eval_examples": 0, **TASKS[task].values, "steps": steps}
        shared |= {"every.eval": -(-steps // EVALUATIONS), "schedule.warmup_steps": min(100, steps // 10)}
        shared |= _sized(where, self._given, self._values[task])
        axes: dict[str, str | int | float] = {"architecture": label, "task": task}
        return [
            Run(where, {**axes, "rate": rate}, seed=seed, overrides={**shared, RATE: rate}, probes=TASKS[task].probes)
            for rate in TASKS[task].rates
            for seed in self._seeds
        ]

    def _timed(self, name: str, label: str) -> Run:
        """One step, and the speed of the architecture and the references in turn, in one process."""
        where = {one: f"configs/reverse.py:{one}" for one in (name, *REFERENCES.values())}
        values: dict[str, Any] = {"data.min_length": REVERSED, "data.max_length": REVERSED}
        beside = {said: (where[one], _sized(where[one], {}, values)) for said, one in REFERENCES.items()}
        values |= _sized(where[name], self._given, values) | {"batch_size": 16, "schedule.warmup_steps": 0}
        values |= {"steps": 1, "every.eval": 1, "eval_examples": 8, **_examples(32, 32)}
        values |= {"keep_pages": False}  # as the committed runs, from before pages were kept by default
        phases = ("training", "decoding") if models.MODELS[name].decodes else ("training",)
        options = {"label": label, "beside": beside, "phases": phases, "seconds": SECONDS, "size": 512}
        axes: dict[str, str | float] = {"architecture": label, "task": SPEED, "rate": 0.0}
        return Run(where[name], axes, overrides=values, probes=(Probing("throughput", options=options, alone=True),))


def _sized(where: str, given: Mapping[str, str], values: Mapping[str, Any]) -> dict[str, Any]:
    """The given values and the widths that meet the budget. Raises ValueError where the architecture does not fit."""
    chosen = typed(where, given)
    if taken := [key for key in chosen if key.removeprefix("model.") in models.widths(where.rpartition(":")[2])]:
        raise ValueError(f"{taken[0]} follows from the budget of {BUDGET:,} parameters; leave it out")
    return {**chosen, **fairness.fit(where, {**values, **chosen}, BUDGET)}
