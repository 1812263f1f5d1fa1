"""How far back can each architecture look? Accuracy against distance at fixed length (claims C1, C3 and C7).

    python -m experiments.run long_range --scale=cpu --jobs=2

Four tasks whose answer lies a known number of tokens back: associative recall, a copied block, the adding problem
(accuracy is the share of errors below 0.04, distance that of the older marker) and temporal order. The primary
comparison is decoder-only, where source and answer are one sequence; the one encoder-decoder reads its source in one
direction and unreversed, since a bidirectional encoder puts the first token beside the final state. Every system has
the same budget of parameters, batches, steps and trials of its learning rate.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from experiments.analysis import fairness, judge
from experiments.analysis.finding import Finding
from experiments.analysis.judge import Comparison
from experiments.analysis.palette import Look
from experiments.analysis.table import paired
from experiments.questions.question import Probing, Run, Tuning, over_seeds

if TYPE_CHECKING:
    from altair import LayerChart
    from pandas import DataFrame, Series

VERSION = 1
HISTORY = {1: "as first run"}
UNDER_REVIEW = "means over a seed that failed"
CLAIM = (
    "In an RNN information passes step by step and is lost the sooner, the further away it lies (C1); gates ease this, "
    "since part of the state flows almost linearly (C3); with attention length no longer hurts (C7)."
)
SOURCE = (
    "Bengio et al. 1994; Hochreiter & Schmidhuber 1997; Cho et al. 2014; Bahdanau et al. 2015. Against it: clipped, "
    "regularised tanh RNNs bridge 200 steps (Pascanu et al. 2013); an LSTM with forget bias 1 can sit at chance "
    "where chrono initialisation does not (Tallec & Ollivier 2018)."
)
PREDICTION = (
    "Within one budget of steps, the tanh RNN's accuracy falls with distance on every task that it learns at all. LSTM "
    "with forget bias 1 and GRU are better far away than the tanh RNN; forget bias 0 is worse far away than bias 1 and "
    "chrono. GRU with attention and the Transformer are as good far away as near, where they learn the task."
)
THRESHOLDS = {
    "near": 0.25,  # of the distances: the nearest quarter
    "far": 0.25,  # and the furthest
    "learned": 0.1,  # of the way from chance to 1, near: below, a system has not learned the task
    "drop": 0.1,  # in accuracy from near to far that counts as a loss
    "gain": 0.1,  # in accuracy far away that counts as easing it
    "margin": 0.05,  # in accuracy from near to far that counts as no difference
}
PROBES = (Probing("accuracy_by_distance"),)
CUT = (
    "At cpu sequences of 66 to 80 tokens instead of 200 and more, 50,000 parameters, 4,000 steps of 32 examples; "
    "trials of the learning rate take half of the steps."
)

RNN, LSTM_0, LSTM_1, CHRONO, GRU = "tanh RNN", "LSTM, bias 0", "LSTM, bias 1", "LSTM, chrono", "GRU"
ATTENTION, TRANSFORMER = "GRU with attention", "Transformer"
SYSTEMS = {  # the config's argument, the values set, how it is drawn
    RNN: ("rnn_decoder", {}, Look("rnn")),
    LSTM_0: ("lstm_decoder", {"model.forget_bias": 0.0}, Look("lstm", 1)),
    LSTM_1: ("lstm_decoder", {"model.forget_bias": 1.0}, Look("lstm", 0)),
    CHRONO: ("lstm_decoder", {}, Look("lstm", 2)),
    GRU: ("gru_decoder", {}, Look("gru")),
    ATTENTION: ("gru_attention", {}, Look("attention")),
    TRANSFORMER: ("transformer_decoder", {}, Look("transformer")),
}
LOOKS = {system: look for system, (_, _, look) in SYSTEMS.items()}
TASKS = {
    "recall": "Associative recall",
    "copying": "Delayed copy",
    "adding": "Adding problem",
    "temporal_order": "Temporal order",
}
SETTINGS = {"recall": "zoology_256_16", "copying": "urnn_200", "adding": "urnn_200", "temporal_order": "pascanu_200"}
ANYWHERE = {
    "copying": {"data.offset": "anywhere"},
    "adding": {"data.positions": "anywhere"},
    "temporal_order": {"data.positions": "anywhere"},
}
"""What the papers' settings fix, which would put all answers at a few distances."""
LENGTHS = {
    "cpu": {"recall": 80, "copying": 74, "adding": 66, "temporal_order": 66},
    "gpu": {"recall": 256, "copying": 220, "adding": 201, "temporal_order": 201},
}
BUDGETS = {"cpu": {"": 50_000}, "gpu": {"": 200_000}}
ADDING_CHANCE = 0.08 - 0.04**2  # that the sum of two uniform numbers lies within 0.04 of 1


def runs(scale: str) -> Iterator[Run]:
    """smoke: 2 systems on recall. cpu: all. gpu: the papers' lengths, 200 and more."""
    if scale == "smoke":
        yield from _smoke()
        return
    multiple, steps, seeds = (1, 4000, 5) if scale == "cpu" else (8, 4000, 3)
    for task in TASKS:
        for system, (model, values, _) in SYSTEMS.items():
            where = f"configs/{task}.py:{model}" + (f",{SETTINGS[task]}" if scale == "gpu" else "")
            overrides: dict[str, Any] = {**values, "steps": steps, "every.eval": steps // 8, "batch_size": 32}
            if scale == "gpu":
                overrides |= ANYWHERE.get(task, {})
            if system == CHRONO:
                overrides["model.chrono_length"] = LENGTHS[scale][task]
            if model == "transformer_decoder":
                overrides["model.num_layers"] = 2
            overrides |= fairness.fit(where, overrides, BUDGETS[scale][""], multiple=multiple).overrides
            tuning = Tuning(
                (1e-3, 3e-3, 1e-2), overrides={"steps": steps // 2, "every.eval": steps // 8}, extensions=2, finalists=0
            )
            run = Run(where, {"task": task, "system": system}, overrides=overrides, tuning=tuning)
            yield from over_seeds(run, seeds)


def _smoke() -> Iterator[Run]:
    small = {
        "model.hidden_size": 8,
        "model.num_layers": 1,
        "steps": 4,
        "schedule.warmup_steps": 0,
        "every.eval": 4,
        "eval_examples": 32,
        "data.val_examples": 32,
        "data.test_examples": 512,
    }
    for system, width in ((RNN, "model.embed_size"), (TRANSFORMER, "model.mlp_dim")):
        where = f"configs/recall.py:{SYSTEMS[system][0]}"
        run = Run(where, {"task": "recall", "system": system}, overrides={**small, width: 8})
        yield from over_seeds(run, 2)


def figure(table: DataFrame) -> Sequence[LayerChart]:
    """A panel a task: accuracy against distance."""
    from experiments.analysis import charts

    panels = []
    rows = table.query("probe == 'accuracy_by_distance' and measure == 'token_accuracy'")
    for task in TASKS:
        if (here := rows.query(f"task == {task!r}")).empty:
            continue
        y = "share within 0.04" if task == "adding" else "accuracy"
        axes = charts.Axes(TASKS[task], "distance to the answer (tokens)", y, y_domain=(-0.02, 1.02))
        guessed = charts.level(chance(table, task), "the values, not their keys" if task == "recall" else "chance")
        panels.append(charts.curves(charts.cells_of(here), LOOKS, axes) + guessed)
    return panels


def chance(table: DataFrame, task: str) -> float:
    """Accuracy of who cannot tell which answer belongs where: what the task states, for recall that of knowing which
    values came; for real-valued answers that of the constant 1."""
    for measure in ("chance_token_accuracy_in_context", "chance_token_accuracy"):
        if len(stated := table.query(f"task == {task!r} and measure == {measure!r}")):
            return float(stated["value"].iloc[0])
    return ADDING_CHANCE


def verdict(table: DataFrame) -> Sequence[Finding]:
    tasks = [task for task in TASKS if task in set(table["task"])]
    ends = {(task, system): Ends(table, task, system) for task in tasks for system in SYSTEMS}

    def falls(system: str) -> list[Comparison]:
        """Of the seeds that learned the task: one that did not is as good far away as near by, at nothing."""
        cells = [(task, ends[task, system]) for task in tasks]
        return [
            Comparison(f"{system}, {task}{e.of}", paired(e.learned if len(e.learned) else e.near, e.far), e.unknown)
            for task, e in cells
        ]

    def beyond(system: str, other: str) -> list[Comparison]:
        cells = [(task, ends[task, system], ends[task, other]) for task in tasks]
        return [
            Comparison(f"{system} over {other}, {task}", paired(a.far, b.far), a.unknown and b.unknown)
            for task, a, b in cells
        ]

    return [
        judge.larger("C1", "A tanh RNN loses accuracy from near to far.", falls(RNN), least=THRESHOLDS["drop"]),
        judge.larger(
            "C3",
            "LSTM and GRU are more accurate than the tanh RNN far away.",
            beyond(LSTM_1, RNN) + beyond(GRU, RNN),
            least=THRESHOLDS["gain"],
        ),
        judge.larger(
            "C3, bias",
            "An open forget gate at the start (bias 1, chrono) is what it takes: it beats bias 0 far away.",
            beyond(LSTM_1, LSTM_0) + beyond(CHRONO, LSTM_0),
            least=THRESHOLDS["gain"],
        ),
        judge.equivalent(
            "C7",
            "With attention, accuracy far away is that near by, from the seeds that learned the task.",
            falls(ATTENTION) + falls(TRANSFORMER),
            margin=THRESHOLDS["margin"],
        ),
    ]


class Ends:
    """Accuracy of a system on a task in the nearest and the furthest distances, by seed."""

    def __init__(self, table: DataFrame, task: str, system: str):
        rows = table.query(f"task == {task!r} and system == {system!r} and probe == 'accuracy_by_distance'")
        rows = rows.query("measure == 'token_accuracy'")
        low, high = rows["place"].min(), rows["place"].max()
        nearest = rows["place"] <= low + THRESHOLDS["near"] * (high - low)
        furthest = rows["place"] >= high - THRESHOLDS["far"] * (high - low)
        self.near: Series = rows[nearest].groupby("seed")["value"].mean()
        self.far: Series = rows[furthest].groupby("seed")["value"].mean()
        least = chance(table, task) + THRESHOLDS["learned"] * (1 - chance(table, task))
        self.learned = self.near[self.near >= least]
        self.unknown = self.of = ""
        if len(rows):
            if 0 < len(self.learned) < len(self.near):
                self.of = f" ({len(self.learned)} of {len(self.near)} seeds learned)"
            self.unknown = "" if len(self.learned) else "too little is learned near by"
            if low == high:
                self.unknown = "all answers lie at one distance"
