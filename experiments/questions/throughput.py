"""How much faster does attention train, and what does a token cost to decode? (claim C4, and the decoding half of C20)

    python -m experiments.run throughput --scale=cpu

Decoder-only systems of one budget of parameters on one batch, measured in one process and in turn (the probe
`throughput`); the repeats, each in a process of its own, take the place of seeds. Training: tokens per second over
length, batch and size. Decoding: what one more token costs after so many have been read, without the reading.

RNN back-ends. `scan`: ours, all steps in one compiled loop. `cuDNN`: a layer in one call, for the LSTM, on a GPU.
`a call a step`: a call from Python for each time step and for its backward step (`probes/by_call.py`),
which is what the claim's RNNs ran as, but for the operations within a step, which are one program here. The task is to
give a sequence back reversed; no answer matters here, and every token is real. What else could make the ratio is
varied: the width of heads, the batch, the size. PyTorch stands in docs/performance.md, and is no part of the verdict.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.analysis import fairness, judge
from experiments.analysis.finding import Finding
from experiments.analysis.frames import DataFrame, LayerChart, Series
from experiments.analysis.judge import Comparison
from experiments.analysis.palette import Look
from experiments.analysis.table import by_seed, paired
from experiments.questions.question import Probing, Run, over_seeds

VERSION = 2
HISTORY = {
    1: "as first run, with an attention core at .35 to .68 of PyTorch's speed, found by timing both in turn; 3 repeats",
    2: "with the core that takes attention in blocks; heads narrow and wide; 5 repeats",
}
UNDER_REVIEW = ""
CLAIM = (
    "RNNs must wait for each step; attention computes all at once and is tens to hundreds of times faster (C4). In "
    "decoding recurrence wins: a token costs the same after any context, with attention the more, the longer it is "
    "(C20)."
)
SOURCE = (
    "Vaswani et al. 2017, section 4, table 1. Against it: true of step-by-step kernels at long lengths (175 and 1,324 "
    "times at 512 and 4,096 tokens are reported for minGRU over a sequential GRU, Feng et al. 2024, unverified), false "
    "at short lengths, with large batches, or on few CPU cores."
)
PREDICTION = (
    "On 2 cores a Transformer trains less than 3 times as fast as the scanned RNNs at every length, whatever the width "
    "of its heads, is slower than the tanh RNN from 128 tokens on, and loses ground as the length grows, since "
    "attention's work grows with its square. One wide head trains 1.1 to 2 times as fast as four narrow ones at 512 "
    "tokens. Against a GRU that is called step by step it is faster at small batches, by less than 10 times. On a GPU "
    "it is 10 times as fast as scanned RNNs or more from 512 tokens on, and not at 32. Decoding a token costs the GRU "
    "the same after 16 and after 2,048 tokens, a Transformer at least 1.5 times as much, and more than the GRU."
)
THRESHOLDS = {
    "tens": 1.0,  # powers of ten of the ratio of tokens per second: ten times
    "faster": 0.04,  # that count as faster at all: 1.1 times
    "flat": 0.08,  # within which a cost stays the same: 1.2 times
    "rising": 0.18,  # by which it rises: 1.5 times
}
PROBES = ()
CUT = (
    "Scale cpu has lengths up to 512 in training and 2,048 in decoding, 100,000 parameters (1 million at three "
    "lengths and one batch), and 5 repeats, each in a fresh process."
)
LIMITS = (
    "There are two CPU cores, which a batch fills whatever the model. On an accelerator, thousands of units would "
    "wait for a recurrence (docs/performance.md has two cells on an H200). Recurrences go through XLA's loop, not "
    "through fused kernels. The times are of this code, whose attention uses one core at a time where sequences "
    "are long, and freed pages go back to the system, which train.py keeps. What a token costs after a short and a "
    "long context is measured by different processes, at different times, so a difference of a tenth stays undecided."
)


class System(NamedTuple):
    model: str  # the config's argument
    values: dict[str, Any]
    look: Look


TRANSFORMER, WIDE = "Transformer, narrow heads", "Transformer, wide head"
RNN, GRU, LSTM, CUDNN = "tanh RNN, scan", "GRU, scan", "LSTM, scan", "LSTM, cuDNN"
BY_CALL = "GRU, a call a step"
SYSTEMS = {
    GRU: System("gru_decoder", {}, Look("gru")),
    RNN: System("rnn_decoder", {}, Look("rnn")),
    LSTM: System("lstm_decoder", {}, Look("lstm")),
    TRANSFORMER: System("transformer_decoder", {"model.num_heads": 4}, Look("transformer")),
    WIDE: System("transformer_decoder", {"model.num_heads": 1}, Look("transformer", 1)),
    CUDNN: System("lstm_decoder", {"model.backend": "cudnn"}, Look("lstm", 1)),
}
LOOKS = {name: system.look for name, system in SYSTEMS.items()} | {BY_CALL: Look("gru", 1)}
RNNS = (RNN, GRU, LSTM, CUDNN, BY_CALL)
TRAINING, DECODING = "training", "decoding"
SMALL, LARGE = "small", "large"


class Cell(NamedTuple):
    phase: str
    length: int  # tokens of source and target in training; read before the first decoded one in decoding
    batch: int
    size: str


BUDGETS = {
    "smoke": {SMALL: 2_000},
    "cpu": {SMALL: 100_000, LARGE: 1_000_000},
    "gpu": {SMALL: 1_000_000, LARGE: 10_000_000},
}
CELLS = {
    "smoke": [Cell(TRAINING, 8, 2, SMALL), Cell(DECODING, 4, 2, SMALL)],
    "cpu": [
        *(Cell(TRAINING, length, batch, SMALL) for length in (32, 64, 128, 256, 512) for batch in (4, 32)),
        *(Cell(TRAINING, length, 8, LARGE) for length in (32, 128, 512)),
        *(Cell(DECODING, length, 4, SMALL) for length in (16, 128, 512, 2048)),
    ],
    "gpu": [
        *(Cell(TRAINING, length, batch, SMALL) for length in (32, 512, 2048) for batch in (4, 32)),
        *(Cell(TRAINING, length, 16, LARGE) for length in (32, 2048)),
        *(Cell(DECODING, length, 16, LARGE) for length in (32, 8192)),
    ],
}
SECONDS = {"smoke": 0.0, "cpu": 4.0, "gpu": 1.0}
REPEATS = {"smoke": 1, "cpu": 5, "gpu": 5}


def runs(scale: str) -> Iterator[Run]:
    """smoke: two systems, 8 tokens. cpu: lengths to 512; 100,000 parameters, and 1 million at fewer lengths and one
    batch. gpu: lengths to 2,048 in training and 8,192 in decoding; 1 and 10 million; bfloat16, but for cuDNN's LSTM,
    which has float32 alone."""
    for cell in CELLS[scale]:
        chosen = {name: system for name, system in SYSTEMS.items() if name != CUDNN or scale == "gpu"}
        if scale == "smoke":
            chosen = {name: SYSTEMS[name] for name in (GRU, TRANSFORMER)}
        sized = {name: _sized(system, BUDGETS[scale][cell.size], scale) for name, system in chosen.items()}
        half = cell.length if cell.phase == DECODING else cell.length // 2
        options = {
            "label": GRU,
            "beside": {name: (_where(chosen[name]), values) for name, values in sized.items() if name != GRU},
            "phases": (cell.phase,),
            "by_call": {BY_CALL: GRU} if cell.phase == TRAINING and cell.size == SMALL and scale != "smoke" else {},
            "seconds": SECONDS[scale],
            "decoded": 4 if scale == "smoke" else 32,
            "size": 64 if scale == "smoke" else 0,
        }
        overrides = sized[GRU] | dict.fromkeys(("data.min_length", "data.max_length"), half)
        overrides |= {"data.val_examples": 32, "data.test_examples": 32, "batch_size": cell.batch}
        overrides |= {"steps": 1, "schedule.warmup_steps": 0, "every.eval": 1, "eval_examples": 8}
        overrides |= {"keep_pages": False}  # as the committed runs, from before pages were kept by default
        probes = (Probing("throughput", options=options, alone=True),)
        run = Run(_where(SYSTEMS[GRU]), cell._asdict(), overrides=overrides, probes=probes)
        yield from over_seeds(run, REPEATS[scale])


def _where(system: System) -> str:
    return f"configs/reverse.py:{system.model}"


def _sized(system: System, budget: int, scale: str) -> dict[str, Any]:
    """Two layers within the budget."""
    values = {**system.values, "model.num_layers": 2}
    shape = {key: value for key, value in values.items() if key != "model.backend"}
    # Fused attention on a GPU takes heads whose width is a multiple of 8.
    values |= fairness.fit(_where(system), shape, budget, multiple=32 if scale == "gpu" else 4)
    if scale == "gpu" and values.get("model.backend") != "cudnn":
        values["model.dtype"] = "bfloat16"
    return values


# ---- what the table says ----


class Rates:
    """Powers of ten of the median tokens per second, by repeat, of each cell and system."""

    def __init__(self, table: DataFrame):
        rows = table[table["measure"] == table["phase"] + "_tokens_per_second"]
        self._found = {
            (Cell(phase, int(length), int(batch), size), system): np.log10(by_seed(mine))
            for (phase, length, batch, size, system), mine in rows.groupby([*Cell._fields, "part"])
        }
        self._none = by_seed(rows[:0])
        self.systems = {system for _, system in self._found}

    def __call__(self, cell: Cell, system: str) -> Series:
        return self._found.get((cell, system), self._none)

    def over(self, cell: Cell, system: str, transformer: str = TRANSFORMER) -> Series:
        """Powers of ten by which the Transformer gives more tokens per second, by repeat."""
        return paired(self(cell, transformer), self(cell, system))

    def series(self, phase: str) -> list[tuple[str, list[Cell]]]:
        """(name, the measured cells that differ in nothing but the length), by size and batch."""
        found = {cell for cell, _ in self._found if cell.phase == phase}
        ordered = sorted(found, key=lambda cell: (cell.size != SMALL, cell.batch, cell.length))
        names = itertools.groupby(ordered, lambda cell: f"{cell.size}, batch {cell.batch}")
        return [(name, list(mine)) for name, mine in names]


def figure(table: DataFrame) -> Sequence[LayerChart]:
    """Against length, a panel a size and batch: tokens per second of training; how many times as fast the Transformer
    trains; what a decoded token costs."""
    from experiments.analysis import charts

    rates = Rates(table)
    logs: dict[str, Any] = {"log_x": True, "log_y": True}
    speeds, ratios, costs = [], [], []
    for name, mine in rates.series(TRAINING):
        axes = charts.Axes(f"Training, {name}", "length (tokens)", "tokens per second", **logs)
        cells = [charts.Cell(of, cell.length, 10 ** rates(cell, of)) for of in LOOKS for cell in mine]
        speeds.append(charts.curves(cells, LOOKS, axes))
        over = f"Transformer over each RNN, {name}"
        axes = charts.Axes(over, "length (tokens)", "times as fast", y_domain=(0.1, 20), **logs)
        cells = [charts.Cell(of, cell.length, 10 ** rates.over(cell, of)) for of in RNNS for cell in mine]
        ratios.append(charts.curves(cells, LOOKS, axes) + charts.level(1, "as fast") + charts.level(10, "ten times"))
    for name, mine in rates.series(DECODING):
        axes = charts.Axes(f"Decoding, {name}", "tokens read before", "microseconds per step of the batch", **logs)
        cells = [
            charts.Cell(of, cell.length, 1e6 * cell.batch / 10 ** rates(cell, of)) for of in LOOKS for cell in mine
        ]
        costs.append(charts.curves(cells, LOOKS, axes))
    return [*speeds, *ratios, *costs]


POWERS = "(effects are powers of ten of a ratio: 1 is ten times)"


def training(table: DataFrame) -> Sequence[LayerChart]:
    return ()  # a single step


def verdict(table: DataFrame) -> Sequence[Finding]:
    rates = Rates(table)
    trained, decoded = rates.series(TRAINING), rates.series(DECODING)

    def ratios(end: int, systems: Sequence[str], transformer: str = TRANSFORMER) -> list[Comparison]:
        """A Transformer over each RNN that was measured at all, at the shortest (0) or longest (-1) length."""
        return [
            Comparison(f"over {system}, {mine[end].length} tokens, {name}", rates.over(mine[end], system, transformer))
            for name, mine in trained
            for system in systems
            if any(len(rates(cell, system)) for cell in mine)
        ]

    def growth(system: str) -> list[Comparison]:
        """Powers of ten by which a token costs more after the longest context than after the shortest."""
        return [
            Comparison(
                f"{system}, {mine[-1].length} over {mine[0].length} tokens, {name}",
                paired(rates(mine[0], system), rates(mine[-1], system)),
            )
            for name, mine in decoded
            if len(mine) > 1
        ]

    decoders = [system for system in (RNN, GRU, LSTM) if system in rates.systems]
    won = [
        Comparison(f"{system}, after {mine[-1].length} tokens, {name}", -rates.over(mine[-1], system))
        for name, mine in decoded
        for system in decoders
    ]
    scanned = [system for system in RNNS if system != BY_CALL]
    return [
        judge.larger(
            "C4, long",
            "At the longest length a Transformer trains at ten times the tokens per second of a compiled RNN, or more "
            f"{POWERS}.",
            ratios(-1, scanned),
            least=THRESHOLDS["tens"],
        ),
        judge.larger(
            "C4, short",
            f"At the shortest length as well {POWERS}.",
            ratios(0, scanned),
            least=THRESHOLDS["tens"],
        ),
        judge.larger(
            "C4, step by step",
            f"Ten times those of an RNN that is called step by step, at the longest length {POWERS}.",
            ratios(-1, [BY_CALL]),
            least=THRESHOLDS["tens"],
        ),
        judge.larger(
            "C4, faster at all",
            f"At the longest length a Transformer of four narrow heads trains faster than a compiled RNN {POWERS}.",
            ratios(-1, scanned),
            least=THRESHOLDS["faster"],
        ),
        judge.larger(
            "C4, wide head",
            f"So it does with one wide head, whose products the machine does best {POWERS}.",
            ratios(-1, scanned, WIDE),
            least=THRESHOLDS["faster"],
        ),
        judge.equivalent(
            "C20, flat",
            f"A token costs an RNN the same to decode after any context {POWERS}.",
            [comparison for system in decoders for comparison in growth(system)],
            margin=THRESHOLDS["flat"],
        ),
        judge.larger(
            "C20, rising",
            f"It costs a Transformer the more, the longer the context {POWERS}.",
            growth(TRANSFORMER),
            least=THRESHOLDS["rising"],
        ),
        judge.larger(
            "C20, decoding",
            f"After the longest context an RNN decodes more tokens per second than a Transformer {POWERS}.",
            won,
            least=THRESHOLDS["faster"],
        ),
    ]


def published(table: DataFrame) -> None:
    """No paper has this table."""
