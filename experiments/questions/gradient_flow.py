"""How do gradients travel back through time? Norms of dL/dh_t against distance (claims C2, C3 and C8).

    python -m experiments.run gradient_flow --scale=cpu --jobs=2

The loss is that of the last symbol of a delayed copy. Measured at initialisation and at the end of training, for tanh
RNNs whose recurrent matrix is orthogonal times 0.8, 1.0 and 1.2, for gates (an LSTM's h and c apart) and for
Transformers, shallow and deep, pre- and post-norm. A loss of gradient is counted in decades: powers of ten between the
nearest state that is measured before the loss and the furthest one. The probe cannot tell a norm below 1e-65 from 0:
where a norm is, the decades lost are at least so many, and its logarithm is no point of a curve.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from experiments.analysis import fairness, judge
from experiments.analysis.finding import Finding
from experiments.analysis.judge import Comparison
from experiments.analysis.palette import Look
from experiments.analysis.table import paired
from experiments.questions.question import Probing, Run, over_seeds

if TYPE_CHECKING:
    from altair import LayerChart
    from pandas import DataFrame, Series

VERSION = 1  # 1: as first run
UNDER_REVIEW = '"after training" is of runs that had not learned'
CLAIM = (
    "Back-propagated gradients shrink or explode geometrically, a product of W and tanh' (C2); gates ease this, since "
    "part of the state flows almost linearly (C3); attention has no vanishing gradient, since a few matrix products "
    "lie between any two positions (C8)."
)
SOURCE = (
    "Hochreiter 1991; Bengio et al. 1994; Pascanu et al. 2013; Vaswani et al. 2017, table 1. Against it: orthogonal "
    "or chrono initialisation bends the curve (Tallec & Ollivier 2018); depth brings its own vanishing, and post-norm "
    "needs warm-up (Xiong et al. 2020)."
)
PREDICTION = (
    "At initialisation the tanh RNN loses or gains at least a decade over some seventy tokens at every scale, along a "
    "straight line in the logarithm. The cell of an LSTM with forget bias 1 or chrono loses at least a decade less "
    "than the tanh RNN at scale 1; that of forget bias 0 does not. A GRU loses as much as the tanh RNN at the start. "
    "A Transformer, shallow or deep, pre- or post-norm, loses less than half a decade with distance."
)
THRESHOLDS = {
    "decades": 1.0,  # lost or gained that count as shrinking or exploding
    "straight": 0.9,  # share of variance that a straight line explains
    "eased": 1.0,  # decades less than the tanh RNN
    "flat": 0.5,  # decades lost or gained that count as none
}
PROBES = (
    Probing(
        "gradient_by_time",
        at=("start", "evaluations"),
        options={"examples": 32, "places": 24, "quantiles": (0.25, 0.5, 0.75)},
    ),
)


class System(NamedTuple):
    model: str  # the config's argument
    values: dict[str, Any]
    state: str  # the tap that carries the past on
    look: Look
    group: str  # its row of the figure


HIDDEN, CELL, INPUTS = "decoder.0.hidden", "decoder.0.cell", "decoder.inputs"
TANH, GATED, ATTENTION = "tanh RNN", "gates", "attention"
SYSTEMS = {
    "tanh RNN, 0.8": System("rnn_decoder", {"model.recurrent_scale": 0.8}, HIDDEN, Look("rnn", 1), TANH),
    "tanh RNN, 1.0": System("rnn_decoder", {"model.recurrent_scale": 1.0}, HIDDEN, Look("rnn", 0), TANH),
    "tanh RNN, 1.2": System("rnn_decoder", {"model.recurrent_scale": 1.2}, HIDDEN, Look("rnn", 2), TANH),
    "GRU": System("gru_decoder", {}, HIDDEN, Look("gru"), GATED),
    "LSTM, bias 0": System("lstm_decoder", {"model.forget_bias": 0.0}, CELL, Look("lstm", 1), GATED),
    "LSTM, bias 1": System("lstm_decoder", {"model.forget_bias": 1.0}, CELL, Look("lstm", 0), GATED),
    "LSTM, chrono": System("lstm_decoder", {"model.chrono_length": 74}, CELL, Look("lstm", 2), GATED),
    "Transformer, 2 pre-norm": System(
        "transformer_decoder", {"model.num_layers": 2, "model.norm": "pre"}, INPUTS, Look("transformer", 0), ATTENTION
    ),
    "Transformer, 2 post-norm": System(
        "transformer_decoder", {"model.num_layers": 2, "model.norm": "post"}, INPUTS, Look("transformer", 1), ATTENTION
    ),
    "Transformer, 8 pre-norm": System(
        "transformer_decoder", {"model.num_layers": 8, "model.norm": "pre"}, INPUTS, Look("transformer", 2), ATTENTION
    ),
    "Transformer, 8 post-norm": System(
        "transformer_decoder", {"model.num_layers": 8, "model.norm": "post"}, INPUTS, Look("transformer", 3), ATTENTION
    ),
}
SMOKE = ("tanh RNN, 1.0", "Transformer, 2 pre-norm")
BUDGETS = {"cpu": {"": 50_000}, "gpu": {"": 200_000}}
MOMENTS = ("at the start", "after training")
MEDIAN = "gradient_norm_q50"
LEAST = 1e-65  # the probe calls 0 what lies below
CUT = (
    "At cpu 74 tokens instead of 220, 50,000 parameters, and 1,000 steps with the config's learning rate: it was not "
    "tuned, and training was not followed to convergence."
)


def runs(scale: str) -> Iterator[Run]:
    """smoke: two systems on 17 tokens, one seed. cpu: all, on 74. gpu: 220 tokens, the setting of the unitary RNN."""
    for name, system in SYSTEMS.items():
        if scale == "smoke" and name not in SMOKE:
            continue
        where = f"configs/copying.py:{system.model}" + (",urnn_200" if scale == "gpu" else "")
        if scale == "smoke":
            overrides = {
                **system.values,
                "model.hidden_size": 8,
                "steps": 4,
                "schedule.warmup_steps": 0,
                "data.num_blanks": 12,
                "data.val_examples": 32,
                "batch_size": 16,
                "every.eval": 4,
            }
            overrides |= {"model.mlp_dim": 16} if system.group == ATTENTION else {"model.embed_size": 8}
        else:
            steps = 1000 if scale == "cpu" else 4000
            # Evaluated after three quarters too, to see whether there was still something to gain.
            overrides = {**system.values, "steps": steps, "every.eval": 3 * steps // 4, "batch_size": 32}
            if "model.chrono_length" in overrides and scale == "gpu":
                overrides["model.chrono_length"] = 220
            overrides |= fairness.fit(where, overrides, BUDGETS[scale][""]).overrides
        yield from over_seeds(Run(where, {"system": name}, overrides=overrides), 1 if scale == "smoke" else 5)


def norms(table: DataFrame, system: str, moment: str, state: str = "") -> DataFrame:
    """Median norms of one system at one moment: a row a seed, a column a place before the loss that all seeds have."""
    state = state or SYSTEMS[system].state
    rows = table.query(f"system == {system!r} and measure == {MEDIAN!r} and part == {state!r} and place >= 1")
    step = rows["step"].min() if moment == MOMENTS[0] else rows["step"].max()
    return rows[rows["step"] == step].pivot(index="seed", columns="place", values="value").dropna(axis=1)


def logarithms(norms_NX: DataFrame) -> DataFrame:
    """Powers of ten; what the probe calls 0 is at `LEAST`."""
    return np.log10(norms_NX.clip(lower=LEAST))


def above_floor(powers: Any) -> Any:
    """Which powers of ten are measured norms, rather than the least that there can be."""
    return powers > np.log10(LEAST)


def decades(table: DataFrame, system: str, moment: str) -> Series:
    """Decades lost (at least) from the nearest place to the furthest, by seed; negative where they are gained."""
    powers_NX = logarithms(norms(table, system, moment))
    return powers_NX.iloc[:, 0] - powers_NX.iloc[:, -1] if powers_NX.size else powers_NX.sum(axis=1)


def straightness(table: DataFrame, system: str, moment: str) -> list[float]:
    """Share of the variance of the logarithm that a straight line over places explains, as far as it is measured; of
    each seed with at least 4 places."""
    shares = []
    for _, powers_X in logarithms(norms(table, system, moment)).iterrows():
        kept_X = powers_X[above_floor(powers_X)]
        if len(kept_X) > 3:
            shares.append(float(np.corrcoef(kept_X.index, kept_X)[0, 1]) ** 2)
    return shares


def figure(table: DataFrame) -> Sequence[LayerChart]:
    """A panel a group and moment: the norm against distance, relative to the nearest state before the loss.

    An LSTM's last c does not reach the loss, since its h has been computed; so all curves begin before it. They end
    where the norm of a seed is too small to be told from 0.
    """
    from experiments.analysis import charts

    looks = {named(name): system.look for name, system in SYSTEMS.items()}
    looks |= {named(name, HIDDEN): s.look._replace(pale=True) for name, s in SYSTEMS.items() if s.state == CELL}
    measured = set(table.query(f"measure == {MEDIAN!r}")["system"])
    panels = []
    for group in (TANH, GATED, ATTENTION):
        names = [name for name, system in SYSTEMS.items() if system.group == group and name in measured]
        for moment in MOMENTS if names else ():
            cells: list[charts.Cell] = []
            bounds = charts.level(0, "")
            for name in names:
                for state in dict.fromkeys((SYSTEMS[name].state, HIDDEN if group == GATED else SYSTEMS[name].state)):
                    powers_NX = relative(table, name, moment, state)
                    cells += charts.columns_of(named(name, state), powers_NX)
                if group == TANH and len(bound := norm_bound(table, name, moment, powers_NX.columns)):
                    bounds += charts.line(bound, f"bound of {name}", SYSTEMS[name].look.colour)
            axes = charts.Axes(f"{group}, {moment}", "tokens before the loss", "relative norm (powers of ten)")
            panels.append(charts.curves(cells, looks, axes) + bounds)
    return panels


def named(name: str, state: str = "") -> str:
    """A system, and which state of an LSTM."""
    if SYSTEMS[name].state != CELL:
        return name
    return f"{name}, {'h' if state == HIDDEN else 'c'}"


def relative(table: DataFrame, name: str, moment: str, state: str) -> DataFrame:
    """Powers of ten relative to the first place, over the places where every seed's norm is measured; every second
    one, which is enough to see."""
    powers_NX = logarithms(norms(table, name, moment, state)).iloc[:, ::2]
    return powers_NX.sub(powers_NX.iloc[:, 0], axis=0).loc[:, above_floor(powers_NX).all()]


def norm_bound(table: DataFrame, name: str, moment: str, places: Sequence[float]) -> dict[float, float]:
    """Powers of ten, by place, to which the largest singular value of W bounds the norm."""
    rows = table.query(f"system == {name!r} and measure == 'largest_singular_value'")
    rows = rows[rows["step"] == (rows["step"].min() if moment == MOMENTS[0] else rows["step"].max())]
    power = np.log10(rows["value"].mean())
    return {place: (place - places[0]) * power for place in places} if len(rows) else {}


def verdict(table: DataFrame) -> Sequence[Finding]:
    def cells(group: str, names: Sequence[str] = ()) -> list[tuple[str, str]]:
        chosen = names or [name for name, system in SYSTEMS.items() if system.group == group]
        return [(name, moment) for name in chosen for moment in MOMENTS]

    def lost(name: str, moment: str) -> Series:
        return decades(table, name, moment)

    def eased(name: str, moment: str) -> Series:
        return paired(lost("tanh RNN, 1.0", moment).abs(), lost(name, moment).abs())

    return [
        judge.larger(
            "C2",
            "A tanh RNN's gradient shrinks or explodes with distance.",
            [Comparison(f"{n}, {m}", lost(n, m).abs()) for n, m in cells(TANH)],
            least=THRESHOLDS["decades"],
        ),
        judge.larger(
            "C2, geometric",
            f"Geometrically: a straight line explains more than {THRESHOLDS['straight']:g} of its logarithm.",
            [
                Comparison(f"{n}, {m}", np.array(straightness(table, n, m)) - THRESHOLDS["straight"])
                for n, m in cells(TANH)
            ],
            least=0.0,
        ),
        judge.larger(
            "C3",
            "Gates lose, or gain, fewer decades than the tanh RNN at scale 1.",
            [Comparison(f"{n}, {m}", eased(n, m)) for n, m in cells(GATED)],
            least=THRESHOLDS["eased"],
        ),
        judge.smaller(
            "C8",
            "A Transformer's gradient does not vanish with distance: it loses less than "
            f"{THRESHOLDS['flat']:g} decades.",
            [Comparison(f"{n}, {m}", lost(n, m)) for n, m in cells(ATTENTION)],
            most=THRESHOLDS["flat"],
        ),
        judge.equivalent(
            "C8, either way",
            "Nor does it grow: it does not depend on distance.",
            [Comparison(f"{n}, {m}", lost(n, m)) for n, m in cells(ATTENTION)],
            margin=THRESHOLDS["flat"],
        ),
    ]
