"""Where does recurrence win? Parity of bit strings, trained to 40 bits, tested to 400 (claim C20).

    python -m experiments.run parity --scale=cpu --jobs=2

All systems are decoder-only: bits and the question are one sequence, so that one budget of parameters buys one stack
for every system. An encoder-decoder would spend half of a recurrent budget on a decoder that does a single step, and
parity needs no look ahead.

Learning parity is sudden: a run stays at chance for long and then solves it. So what is counted is seeds that solve it,
on the lengths of training and beyond, and the steps that took; a mean over seeds would be of two modes. The Transformer
with rotary positions is trained until it has levelled off; those with other positions have the RNNs' steps, and what is
said of them is said of so many steps. Trials of the learning rate are as long as the reported runs, but for the long
ones: there trials of 4,000 steps choose two rates, which are tried at full length with their neighbours.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from experiments.analysis import fairness, judge, levelled, shares, training_curves
from experiments.analysis.finding import Finding
from experiments.analysis.frames import DataFrame, LayerChart, Series
from experiments.analysis.judge import Comparison
from experiments.analysis.palette import Look
from experiments.analysis.table import by_seed, select
from experiments.questions.question import DOUBLED, NONE, Probing, Run, Tuning, changed, doubled, over_seeds

VERSION = 2
HISTORY = {
    1: "as first run; that Transformers are behind within 40 bits was of 4,000 steps: a rotary one, 2 layers of width "
    "40, is right on every string up to 40 bits after 16,000, as running it for longer showed, and at chance beyond",
    2: "the rotary Transformer to 16,000 steps; seeds that solve it are counted; lengths to ten times the trained; "
    "judged again after a reading: 41 to 60 bits apart from 61 to 400, whose mean had hidden them",
}
UNDER_REVIEW = ""
CLAIM = "Recurrence wins somewhere too: parity, trained on short strings, is solved on long ones by RNNs alone (C20)."
SOURCE = (
    "Delétang et al. 2022, table 1 (accuracies on 41 to 500 bits, the best of ten seeds: RNN 100, LSTM 100, "
    "Transformer 52.0, figures unverified); Hahn 2020. Against it: RNNs do not learn it from every seed and learning "
    "rate, and a Transformer can express parity (Chiang & Cholak 2022), though it is hard to learn."
)
PREDICTION = (
    "All five seeds of tanh RNN, GRU and LSTM solve strings of 41 to 400 bits, within a median of 2,000 steps. After "
    "16,000 steps at least four of five rotary Transformers are right on more than 90% of strings of 21 to 40 bits, "
    "and none on more than 60% beyond 40 (one run of the review had shown as much). Within 4,000 steps no Transformer "
    "of other positions is right on more than 90% of 21 to 40 bits, and all are at chance beyond. Twice the steps, or "
    "twice the rate, bring no rotary Transformer beyond 40 bits."
)
THRESHOLDS = {
    "solved": 0.9,  # accuracy that counts as solved, as in Delétang et al.
    "chance": 0.1,  # in accuracy from chance that counts as none
    "levelled": 0.05,  # in accuracy, within or beyond, that twice the steps may bring
}
TRAINED_TO, TESTED_TO, WIDTH = 40, 400, 20  # bits; of a range of lengths
PROBES = (Probing("accuracy_by_length", options={"splits": ("test", "test_long"), "width": WIDTH}),)
BUDGETS = {"cpu": {"": 50_000}, "gpu": {"": 250_000}}
CUT = (
    "Scale cpu has 50,000 parameters, batches of 64 instead of 128, 5 seeds instead of 10, 4,000 steps (16,000 for "
    "the rotary Transformer) instead of a million, 400 bits instead of 500, and fewer test strings."
)
LIMITS = (
    "This shows what gradient descent finds from short strings, not what an architecture can express: some "
    "Transformers compute parity. At 41 to 60 bits the rotary Transformer is right on .65 of the strings, where a "
    "constant answer gets .56, and one seed with twice the steps on .82: there it has not levelled off. Only beyond "
    "60 bits is it at chance. There is one size of model, no intermediate steps are written out, and lengths have no "
    "curriculum."
)

RNNS = {
    "tanh RNN": ("rnn_decoder", Look("rnn")),
    "GRU": ("gru_decoder", Look("gru")),
    "LSTM": ("lstm_decoder", Look("lstm")),
}
POSITIONS = {"rotary": "rotary", "none": "no positions", "sinusoidal": "sinusoidal", "alibi": "ALiBi"}
TRANSFORMERS = {f"Transformer, {said}": name for name, said in POSITIONS.items()}
LONG = "Transformer, rotary"  # trained until it has levelled off
SYSTEMS = (*RNNS, *TRANSFORMERS)
TWICE = "twice the rate"
LEVELLED = ("tanh RNN", "GRU", LONG)  # the smallest step, a middle one, the largest
WITHIN, BEYOND = (TRAINED_TO // 2, TRAINED_TO), (TRAINED_TO, TESTED_TO)  # strings longer than the one, up to the other
JUST_BEYOND, FAR_BEYOND = (TRAINED_TO, TRAINED_TO + WIDTH), (TRAINED_TO + WIDTH, TESTED_TO)
SOLVED_AT = "steps_to_solve"  # the first evaluation with hardly an error (`experiments/engine/record.py`)


def runs(scale: str) -> Iterator[Run]:
    """smoke: 2 systems, 8 bits. cpu: all, 50,000 parameters. gpu: all, the paper's sizes, batch and rates."""
    if scale == "smoke":
        yield from _smoke()
        return
    cpu = scale == "cpu"
    layers, heads, short, long = (2, 4, 4000, 16000) if cpu else (5, 8, 8000, 32000)
    for system in SYSTEMS:
        steps = long if system == LONG else short
        overrides: dict[str, Any] = {"steps": steps, "every.eval": short // 20, "batch_size": 64 if cpu else 128}
        overrides |= {
            "data.long_length": TESTED_TO,
            "data.test_examples": (TESTED_TO - TRAINED_TO) * (5 if cpu else 10),
        }
        where = f"configs/parity.py:{RNNS[system][0] if system in RNNS else 'transformer_decoder'},deletang"
        if system in TRANSFORMERS:
            overrides |= {"model.positions": TRANSFORMERS[system], "model.num_layers": layers, "model.num_heads": heads}
        overrides |= fairness.fit(where, overrides, BUDGETS[scale][""])
        rates = (3e-4, 1e-3, 3e-3) if cpu else (1e-4, 3e-4, 1e-3)
        tuning = Tuning(rates, extensions=2, overrides={"steps": short} if steps > short else {})
        run = Run(where, {"system": system, "control": NONE}, overrides=overrides, tuning=tuning)
        yield from over_seeds(run, 5)
        if system in LEVELLED:
            yield doubled(run)
        if system == LONG:
            yield from over_seeds(changed(run, TWICE, times=2.0), 5)


def _smoke() -> Iterator[Run]:
    small = {"model.hidden_size": 8, "steps": 4, "schedule.warmup_steps": 0, "every.eval": 4, "eval_examples": 32}
    small |= {"data.max_length": 8, "data.long_length": 12, "data.val_examples": 32, "data.test_examples": 64}
    for system, width in (("GRU", "model.embed_size"), (LONG, "model.mlp_dim")):
        positions = {"model.positions": TRANSFORMERS[system]} if system in TRANSFORMERS else {}
        where = f"configs/parity.py:{'transformer' if system in TRANSFORMERS else 'gru'}_decoder,deletang"
        run = Run(where, {"system": system, "control": NONE}, overrides={**small, **positions, width: 8})
        yield from over_seeds(run, 2)


def by_length(table: DataFrame, control: str = NONE) -> DataFrame:
    return select(table, measure="token_accuracy", probe="accuracy_by_length", control=control)


def accuracy(table: DataFrame, system: str, lengths: tuple[float, float] = BEYOND, control: str = NONE) -> Series:
    """Accuracy by seed on strings longer than the one and at most as long as the other."""
    return by_seed(by_length(table, control).query(f"{lengths[0]} < place <= {lengths[1]}"), system=system)


def count(table: DataFrame, system: str, lengths: tuple[float, float] = BEYOND) -> shares.Share:
    """Seeds that solve strings of these lengths, and the steps until they were right on those of validation."""
    found = accuracy(table, system, lengths)
    steps = by_seed(table, system=system, control=NONE, measure=SOLVED_AT)
    return shares.Share.of(system, found >= THRESHOLDS["solved"], steps)


def figure(table: DataFrame) -> Sequence[LayerChart]:
    """Accuracy against length, the range of training in grey; then what is judged: every seed on the longer half of
    that range, just beyond it and far beyond."""
    from experiments.analysis import charts

    looks = {system: look_of(system) for system in SYSTEMS}
    at_chance = charts.level(0.5, "chance")
    axes = charts.Axes("Parity by length", "bits", "accuracy", y_domain=(0, 1.02))
    by_bits = charts.curves(charts.cells_of(by_length(table)), looks, axes)
    panels = [charts.shade(by_bits + at_chance, 0, TRAINED_TO, "trained")]
    for lengths in (WITHIN, JUST_BEYOND, FAR_BEYOND):
        each = {system: accuracy(table, system, lengths) for system in SYSTEMS}
        cells = [
            charts.Cell(name, name.replace("Transformer, ", ""), found) for name, found in each.items() if len(found)
        ]
        if cells:
            axes = charts.Axes(bits(lengths), "", "accuracy", y_domain=(0, 1.02))
            levels = [at_chance, charts.level(THRESHOLDS["solved"], "solved")]
            panels.append(charts.points(cells, looks, axes, behind=levels))
    return panels


def look_of(system: str) -> Look:
    return RNNS[system][1] if system in RNNS else Look("transformer", list(TRANSFORMERS).index(system))


def training(table: DataFrame) -> Sequence[LayerChart]:
    return training_curves.panels(table, "system", {system: look_of(system) for system in SYSTEMS})


def verdict(table: DataFrame) -> Sequence[Finding]:
    def from_chance(
        systems: Sequence[str], lengths: tuple[float, float] = FAR_BEYOND, control: str = NONE
    ) -> list[Comparison]:
        more = f", {control}" * (control != NONE)
        return [Comparison(system + more, accuracy(table, system, lengths, control) - 0.5) for system in systems]

    def level(claim: str, *ranges: tuple[float, float]) -> Finding:
        gains = {
            f"{system}, {bits(of)}": levelled.gain(accuracy(table, system, of, DOUBLED), accuracy(table, system, of))
            for system in LEVELLED
            for of in ranges
        }
        where = " and ".join(map(bits, ranges))
        return levelled.levelled_off(gains, THRESHOLDS["levelled"], f"accuracy at {where}", claim)

    others = [system for system in TRANSFORMERS if system != LONG]
    off, off_just_beyond = level("levelled off", WITHIN, FAR_BEYOND), level("levelled off, just beyond", JUST_BEYOND)
    steps = "16,000 steps"
    long = levelled.within(off, steps)
    return [
        shares.more(
            "C20",
            f"Trained to {TRAINED_TO} bits, RNNs solve strings of {bits(BEYOND)} from more seeds than the rotary "
            f"Transformer does {levelled.within(off_just_beyond, steps)}.",
            [(count(table, rnn), count(table, LONG)) for rnn in RNNS],
        ),
        shares.more(
            "C20, within",
            f"Within {TRAINED_TO} bits more seeds of the rotary Transformer learn parity, in 16,000 steps, than of "
            "those of other positions, in 4,000.",
            [(count(table, LONG, WITHIN), count(table, other, WITHIN)) for other in others],
        ),
        judge.equivalent(
            "C20, chance",
            f"The rotary Transformer is at chance on strings of {bits(FAR_BEYOND)} {long}, those of other positions "
            "within 4,000 steps.",
            from_chance(list(TRANSFORMERS)),
            margin=THRESHOLDS["chance"],
        ),
        judge.equivalent(
            "C20, chance just beyond",
            f"So they are on strings of {bits(JUST_BEYOND)}, {levelled.within(off_just_beyond, steps)} and 4,000.",
            from_chance(list(TRANSFORMERS), JUST_BEYOND),
            margin=THRESHOLDS["chance"],
        ),
        judge.equivalent(
            "control, rate",
            f"Nor does the rotary Transformer leave chance on {bits(FAR_BEYOND)} with twice the rate.",
            from_chance([LONG], control=TWICE),
            margin=THRESHOLDS["chance"],
        ),
        off,
        off_just_beyond,
    ]


def bits(lengths: tuple[float, float]) -> str:
    return f"{lengths[0] + 1:g} to {lengths[1]:g} bits"


def published(table: DataFrame) -> None:
    """No paper has this table."""
