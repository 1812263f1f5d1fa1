"""What does a fixed state hold, does one layer of attention restore it, and how far does a convolution see (claim C5)?

    python -m experiments.run mixers --scale=cpu --jobs=2

All systems are `decoder`, four layers in which nothing but the mixers differs, at one budget of parameters. *Recall*:
pairs of a key and its value without blanks between them, then each key in turn. In linear attention a head's state is
the square of its width, so that fewer heads have more bytes with the same parameters, to the last one; convolutions of
two tokens lie below, since key and value have to meet before they can be stored. *Copying* of a single symbol: a
convolution that sees it has it, and one that does not can tell nothing of it.

Where a system learns recall suddenly or not at all, seeds are counted. Sizes and steps were found with seed 0 and short
runs of the systems one by one; those are not among the runs. Levels of accuracy that the prediction names, and that
GRUs are at chance, are read off the table: the findings judge differences and counts of seeds.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from experiments.analysis import fairness, judge, levelled, shares, training_curves
from experiments.analysis.finding import Finding
from experiments.analysis.frames import DataFrame, LayerChart, Series
from experiments.analysis.judge import Comparison
from experiments.analysis.palette import Look
from experiments.analysis.table import by_seed, paired, select
from experiments.questions.question import DOUBLED, NONE, Probing, Run, Tuning, changed, controlled, doubled, over_seeds

VERSION = 1
HISTORY = {1: "as first run"}
UNDER_REVIEW = ""
CLAIM = (
    "What a fixed state holds grows with its bytes and not with training; one layer of attention in four restores "
    "recall; a convolution sees exactly its receptive field and not a token more (C5)."
)
SOURCE = (
    "Arora et al. 2023 and 2024 (recall of fixed states at matched sizes, and hybrids); Katharopoulos et al. 2020; Bai "
    "et al. 2018 (receptive fields of dilated convolutions). Against it: dilation makes the reach exponential in "
    "depth, and how pairs are coded decides how many a state of so many bytes holds (Yang et al. 2024)."
)
PREDICTION = (
    "Recall of 8 pairs within 4,000 steps: linear attention with 16 heads reaches .2 to .5, with 4 heads .4 to .8, "
    "with one head .8 to 1; more bytes bring .1 or more each time, also over the smaller state after twice the steps, "
    "which bring either of the smaller states less than .1. Of 2 pairs even 16 heads recall .9. One head in half the "
    "width, with a quarter of the bytes and as many parameters, recalls at least .1 less than in the whole width. "
    "Softmax attention in place of the linear one recalls .9 or more from all five seeds. GRUs alone stay at chance "
    "(.125) from every seed; three of them with one layer of attention recall .9 or more from all five, whatever its "
    "positions, and from none where it sees 4 tokens. In place of the second layer of linear attention with 16 heads, "
    "one of softmax attention restores nothing: runs of 1,500 and 2,500 steps had .25 and .26. Copying: convolutions "
    "that see 9, 17 and 31 tokens are right on more than .9 at the last token that they see, and within .05 of chance "
    "(.125) one token beyond and at all beyond, after twice the steps too; a layer of attention above them is right "
    "there. Partly informed: the short runs of seed 0 that found sizes and steps had shown one head at .83, 16 heads "
    "at .23 and GRUs at .11 after 1,500 steps, and both kinds of layers with softmax attention at 1.00 (docs/log.md)."
)
THRESHOLDS = {
    "more": 0.1,  # in accuracy of recall, that more bytes bring
    "training": 0.1,  # in accuracy, that twice the steps or another rate may bring
    "solved": 0.9,  # accuracy that counts as recalled, or seen
    "fall": 0.5,  # in accuracy of copying, from the last token that is seen to the next, or that attention brings
    "chance": 0.05,  # in accuracy of copying from chance that counts as none
}
PROBES = (Probing("accuracy_by_distance"),)
BUDGETS = {"cpu": {"": 65_000}, "gpu": {"": 265_000}}
CUT = (
    "Scale cpu has 65,000 parameters, width 32, 8 pairs of 32 keys and values in 24 tokens, and 4,000 steps of 32 "
    "examples (copying: 1,000). The papers have widths of 64 to 512, up to 64 pairs, and 64 to 512 tokens."
)
LIMITS = (
    "There is one kind of state, in three sizes, on a task whose only difficulty is to keep pairs apart, and one "
    "order of hybrid layers. A state that overwrites (the delta rule) or is gated may hold more in as many bytes. "
    "Softmax attention stands above convolutions of two tokens, as linear attention does: at this size, four "
    "layers of it alone were at chance after 3,000 steps. A convolution sees no further because it is built so; "
    "what is shown is that it learns to see as far."
)


class System(NamedTuple):
    task: str
    values: Mapping[str, Any]
    look: Look


def _linear(heads: int, mixers: str = "conv,linear_attention") -> dict[str, Any]:
    reach = {"model.conv.kernel_size": 2, "model.conv.dilation": 1}
    return {"model.mixers": mixers, "model.linear_attention.num_heads": heads, **reach}


def _conv(kernel: int, dilation: int, mixers: str = "conv") -> dict[str, Any]:
    return {"model.mixers": mixers, "model.conv.kernel_size": kernel, "model.conv.dilation": dilation}


RECALL, COPYING = "recall", "copying"
SMALL, MIDDLE, LARGE = (f"linear attention, {heads} head{'s' * (heads > 1)}" for heads in (16, 4, 1))
GRU, GRU_HYBRID, LINEAR_HYBRID, ATTENTION = (
    "GRU",
    "3 GRU, 1 attention",
    "linear attention, 1 attention",
    "softmax attention",
)
CONV_9, CONV_17, CONV_31 = (f"convolutions, {field} tokens" for field in (9, 17, 31))
CONV_HYBRID = "3 convolutions, 1 attention"
LAYERS = 4
SYSTEMS = {
    SMALL: System(RECALL, _linear(16), Look("other", 0)),
    MIDDLE: System(RECALL, _linear(4), Look("other", 1)),
    LARGE: System(RECALL, _linear(1), Look("other", 2)),
    GRU: System(RECALL, {"model.mixers": "gru"}, Look("gru", 0)),
    GRU_HYBRID: System(RECALL, {"model.mixers": "gru,gru,gru,attention"}, Look("gru", 1)),
    LINEAR_HYBRID: System(RECALL, _linear(16, "conv,linear_attention,conv,attention"), Look("other", 3)),
    ATTENTION: System(RECALL, _linear(16, "conv,attention"), Look("transformer")),
    CONV_9: System(COPYING, _conv(3, 1), Look("conv", 0)),
    CONV_17: System(COPYING, _conv(5, 1), Look("conv", 1)),
    CONV_31: System(COPYING, _conv(3, 2), Look("conv", 2)),
    CONV_HYBRID: System(COPYING, _conv(3, 1, "conv,conv,conv,attention"), Look("attention")),
}
STATES, FIELDS = (SMALL, MIDDLE, LARGE), {CONV_9: 9, CONV_17: 17, CONV_31: 31}
LOOKS = {name: system.look for name, system in SYSTEMS.items()}
STEPS = {RECALL: 4000, COPYING: 1000}
LONGER = (*STATES, GRU, *FIELDS)  # twice the steps of all seeds; of one seed of the others
FEW_PAIRS, HALF, TWICE, SLOWER, BLIND = "2 pairs", "half the width", "twice the rate", "half the rate", "sees 4 tokens"
POSITIONS = ("rotary", "none")  # controls of the hybrid, which has ALiBi


def runs(scale: str) -> Iterator[Run]:
    """smoke: two systems. cpu: all. gpu: a width of 64, 32 pairs."""
    names = (SMALL, CONV_9) if scale == "smoke" else tuple(SYSTEMS)
    for name in names:
        run = _smoke(name) if scale == "smoke" else _run(name, scale)
        yield from over_seeds(run, 2 if scale == "smoke" else 5)
        if scale != "smoke":
            yield from over_seeds(doubled(run), 5 if name in LONGER else 1)
            for control, values, times in _controls(name, scale):
                yield from over_seeds(changed(run, control, values, times=times), 5)


def _run(name: str, scale: str) -> Run:
    task, values, _ = SYSTEMS[name]
    where, steps = f"configs/{task}.py:decoder", STEPS[task] * (1 if scale == "cpu" else 4)
    overrides = {**values, **_data(task, 1 if scale == "cpu" else 4), "model.num_layers": LAYERS, "batch_size": 32}
    overrides |= {"steps": steps, "every.eval": steps // 8}
    if "attention" in values["model.mixers"].split(","):
        overrides["model.positions"] = "alibi"
    overrides |= fairness.fit(where, overrides, BUDGETS[scale][""], multiple=16)
    tuning = Tuning((1e-3, 3e-3, 1e-2), extensions=2)
    return controlled(Run(where, {"task": task, "system": name}, overrides=overrides, tuning=tuning))


def _data(task: str, times: int) -> dict[str, Any]:
    if task == COPYING:
        return {"data.block_length": 1, "data.num_blanks": 32, "data.test_examples": 16_384}
    pairs = {"data.num_pairs": 8 * times, "data.num_queries": 8 * times, "data.target_length": 8 * times}
    return {**pairs, "data.source_length": 16 * times, "data.num_keys": 32 * times, "data.num_values": 32 * times}


def _controls(name: str, scale: str) -> Iterator[tuple[str, dict[str, Any], float]]:
    """(its name, what is changed, the rate in times that of the run)."""
    if name in (SMALL, GRU):
        yield FEW_PAIRS, {"data.num_pairs": 2, "data.num_queries": 2, "data.target_length": 2}, 1.0
    if name in (SMALL, MIDDLE):
        yield TWICE, {}, 2.0
        yield SLOWER, {}, 0.5
    if name == LARGE:  # the state is a quarter, and the feed-forward layers take what is left of the budget
        yield HALF, {"model.hidden_size": 16, "model.mlp_dim": 460} if scale == "cpu" else _HALF_GPU, 1.0
    if name == GRU_HYBRID:
        yield BLIND, {"model.mixers": "gru,gru,gru,local_attention", "model.local_attention.window": 4}, 1.0
        for positions in POSITIONS:
            yield f"positions {positions}", {"model.positions": positions}, 1.0


_HALF_GPU = {"model.hidden_size": 32, "model.mlp_dim": 956}


def _smoke(name: str) -> Run:
    task, values, _ = SYSTEMS[name]
    small = {**values, "model.num_layers": 2, "model.hidden_size": 16, "model.mlp_dim": 16, "batch_size": 4}
    small |= {"steps": 4, "every.eval": 4, "schedule.warmup_steps": 0, "eval_examples": 32, "data.val_examples": 32}
    small |= _data(task, 1) | {"data.test_examples": 512}
    return controlled(Run(f"configs/{task}.py:decoder", {"task": task, "system": name}, overrides=small))


def distances(table: DataFrame, task: str, control: str = NONE) -> DataFrame:
    return select(table, task=task, control=control, probe="accuracy_by_distance", measure="token_accuracy")


def recall(table: DataFrame, system: str, control: str = NONE) -> Series:
    """Accuracy over all distances, by seed."""
    return by_seed(distances(table, RECALL, control), system=system)


def seen(table: DataFrame, system: str, low: int, high: float, control: str = NONE) -> Series:
    """Accuracy of copying what lies `low` to `high` tokens back, by seed."""
    return by_seed(distances(table, COPYING, control).query(f"{low} <= place <= {high}"), system=system)


def chance(table: DataFrame, task: str) -> float:
    """Of who knows which values came, but not with which key; in copying of who guesses."""
    kind = "_in_context" * (task == RECALL)
    stated = select(table, task=task, control=NONE, measure=f"chance_token_accuracy{kind}")["value"]
    return float(stated.iloc[0]) if len(stated) else math.nan


def figure(table: DataFrame) -> Sequence[LayerChart]:
    """Recall against bytes, with the steps, twice as many, and half the width; recall of every seed; copying by
    distance."""
    from experiments.analysis import charts

    panels, guessed = [], charts.level(chance(table, RECALL), "the values, not their keys")
    grown = {NONE: "its steps", DOUBLED: "twice the steps", HALF: HALF}
    looks = {"its steps": Look("other", 0), "twice the steps": Look("other", 1), HALF: Look("rnn", 2)}
    sized = [
        (float(size), said, values)
        for control, said in grown.items()
        for name in STATES
        if len(values := recall(table, name, control))
        for size in by_seed(table, measure="state_bytes", system=name, control=control).unique()[:1]
    ]
    if sized:
        sizes = [f"{size:,.0f}" for size in sorted({size for size, _, _ in sized})]
        cells = [charts.Cell(said, f"{size:,.0f}", values) for size, said, values in sized]
        axes = charts.Axes("Recall by state", "bytes of state", "accuracy", y_domain=(0, 1.02))
        panels.append(charts.points(cells, looks, axes, order=sizes, beside=True, behind=[guessed]))
    every = [(name, recall(table, name)) for name, system in SYSTEMS.items() if system.task == RECALL]
    cells = [charts.Cell(name, name, values) for name, values in every if len(values)]
    if cells:
        axes = charts.Axes("Recall by mixers", "", "accuracy", y_domain=(0, 1.02))
        levels = [guessed, charts.level(THRESHOLDS["solved"], "solved")]
        panels.append(charts.points(cells, LOOKS, axes, behind=levels))
    if len(here := distances(table, COPYING)):
        axes = charts.Axes("Copying by distance", "tokens back", "accuracy", y_domain=(0, 1.02))
        panel = charts.curves(charts.cells_of(here), LOOKS, axes) + charts.level(chance(table, COPYING), "chance")
        for name, field in FIELDS.items():
            panel = panel + charts.limit(field - 0.5, f"{field}") if name in set(here["system"]) else panel
        panels.append(panel)
    return panels


def training(table: DataFrame) -> Sequence[LayerChart]:
    return training_curves.panels(table, "system", LOOKS, by="task")


def verdict(table: DataFrame) -> Sequence[Finding]:
    at_rest = {name: recall(table, name) for name, system in SYSTEMS.items() if system.task == RECALL}
    longer = {name: recall(table, name, DOUBLED) for name in at_rest}
    steps_up = tuple(zip(STATES, STATES[1:], strict=False))
    grown = [Comparison(f"{b} over {a}", paired(at_rest[b], at_rest[a])) for a, b in steps_up]
    grown += [Comparison(f"{b} over {a}, twice the steps", paired(at_rest[b], longer[a])) for a, b in steps_up]

    def count(system: str, control: str = NONE) -> shares.Share:
        found = recall(table, system, control)
        steps = by_seed(table, task=RECALL, system=system, control=control, measure="steps_to_solve")
        said = system + f", {control}" * (control != NONE)
        return shares.Share.of(said, found >= THRESHOLDS["solved"], steps)

    def last(system: str, beyond: int, control: str = NONE) -> Series:
        """Accuracy at so many tokens beyond the last that is seen: 0 is that one."""
        at = FIELDS[system] - 1 + beyond
        return seen(table, system, at, at, control)

    def from_chance(system: str, control: str = NONE) -> list[Comparison]:
        guessed, more = chance(table, COPYING), f", {control}" * (control != NONE)
        return [
            Comparison(f"{system}, one beyond{more}", last(system, 1, control) - guessed),
            Comparison(f"{system}, all beyond{more}", seen(table, system, FIELDS[system], 1e9, control) - guessed),
        ]

    reach = {name: paired(last(name, 0), last(name, 1)) for name in FIELDS}
    beyond = paired(seen(table, CONV_HYBRID, FIELDS[CONV_9], 1e9), seen(table, CONV_9, FIELDS[CONV_9], 1e9))
    few = [
        Comparison(f"{one}, {FEW_PAIRS}", recall(table, one, FEW_PAIRS) - THRESHOLDS["solved"]) for one in (SMALL, GRU)
    ]
    rates = [
        Comparison(f"{one}, {control}", paired(recall(table, one, control), at_rest[one]))
        for one in (SMALL, MIDDLE)
        for control in (TWICE, SLOWER)
    ]
    off = levelled.levelled_off(
        {name: levelled.gain(longer[name], at_rest[name]) for name in at_rest},
        THRESHOLDS["training"],
        "accuracy of recall",
    )
    trained = levelled.within(off, f"{STEPS[RECALL]:,} steps")
    return [
        judge.larger(
            "state, bytes",
            "At equal parameters, what a fixed state holds grows with its bytes, by more than with twice the steps.",
            grown,
            least=THRESHOLDS["more"],
        ),
        judge.smaller(
            "state, training",
            "It does not grow with training: twice the steps bring the smaller states less than "
            f"{THRESHOLDS['training']:g}.",
            [Comparison(name, paired(longer[name], at_rest[name])) for name in (SMALL, MIDDLE)],
            most=THRESHOLDS["training"],
        ),
        shares.more(
            "hybrid",
            f"One layer of attention in four restores recall: with it more seeds recall {trained} than without.",
            [(count(GRU_HYBRID), count(GRU)), (count(LINEAR_HYBRID), count(SMALL))],
        ),
        judge.larger(
            "C5",
            "A convolution sees its whole receptive field: accuracy of copying falls from the last token of it to the "
            "next.",
            [Comparison(name, values) for name, values in reach.items()],
            least=THRESHOLDS["fall"],
        ),
        judge.equivalent(
            "C5, beyond",
            "And not a token more: beyond it is at chance, after twice the steps too.",
            [one for name in FIELDS for control in (NONE, DOUBLED) for one in from_chance(name, control)],
            margin=THRESHOLDS["chance"],
        ),
        judge.larger(
            "control, attention",
            "What convolutions do not see can be learned: with a layer of attention above them it is.",
            [Comparison(f"{CONV_HYBRID} over {CONV_9}", beyond)],
            least=THRESHOLDS["fall"],
        ),
        shares.more(
            "control, softmax",
            "What the smallest state loses can be learned at this size: with softmax attention in place of the linear "
            "one more seeds recall.",
            [(count(ATTENTION), count(SMALL))],
        ),
        judge.larger(
            "control, pairs",
            f"The pairs are too many, not the task too hard: of 2 pairs {THRESHOLDS['solved']:g} or more are recalled.",
            few,
            least=0.0,
        ),
        judge.larger(
            "control, heads",
            "Bytes, not heads: one head with a quarter of the bytes, in half the width, holds less.",
            [Comparison(f"{LARGE} over {HALF}", paired(at_rest[LARGE], recall(table, LARGE, HALF)))],
            least=THRESHOLDS["more"],
        ),
        judge.equivalent(
            "control, rate",
            f"Twice or half the rate moves what the smaller states hold by less than {THRESHOLDS['training']:g}.",
            rates,
            margin=THRESHOLDS["training"],
        ),
        shares.more(
            "control, attention's reach and positions",
            "With rotary positions or with none, more seeds of the hybrid recall than if its attention sees 4 tokens.",
            [(count(GRU_HYBRID, f"positions {one}"), count(GRU_HYBRID, BLIND)) for one in POSITIONS],
        ),
        off,
    ]


def published(table: DataFrame) -> None:
    """No paper has this table."""
