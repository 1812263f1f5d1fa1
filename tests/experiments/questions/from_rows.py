"""What each question judges, from the rows of its table by pandas and numpy alone: the values of each claim, by seed.

Nothing of experiments/ is asked for a number (`test_recomputed.py` computes the intervals and p).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd


class Claim(NamedTuple):
    kind: str  # larger, smaller, equivalent; more; moved, which is counted and not tested
    limit: float  # least, most or margin
    # Of each comparison, one a seed; of `more`, seeds that solve it and seeds, of both systems.
    values: list[list[float]]
    drawn: Sequence[np.ndarray | None] = ()  # of each comparison, (seeds, draws) on resampled sentences
    # Of each comparison of `more`, of both systems: the median steps until a seed solves it, of how many.
    steps: Sequence[list[tuple[float, int]]] = ()


def less(a: Mapping[float, float], b: Mapping[float, float]) -> list[float]:
    """a - b of the seeds that both have; of pandas' series as well."""
    return [a[seed] - b[seed] for seed in sorted(set(a.keys()) & set(b.keys()))]


def counts(a: pd.Series, b: pd.Series) -> list[float]:
    """Of two systems' accuracies by seed: the seeds that solve it and the seeds, of both; none if one has no seed."""
    return [float(n) for one in (a, b) for n in ((one >= 0.9).sum(), len(one))] if len(a) and len(b) else []


def median_steps(accuracy: pd.Series, rows: pd.DataFrame) -> tuple[float, int]:
    """Of the seeds that solve it, the median of `steps_to_solve` among these rows, and of how many it is known."""
    solving = rows.seed.isin(accuracy.index[accuracy >= 0.9])
    known = rows[solving & (rows.measure == "steps_to_solve")].value.dropna()
    return float(known.median()), len(known)


def gradient_flow(table: pd.DataFrame) -> Iterator[tuple[str, Claim]]:
    tanh = ["tanh RNN, 0.8", "tanh RNN, 1.0", "tanh RNN, 1.2"]
    lstms = ["LSTM, bias 0", "LSTM, bias 1", "LSTM, chrono"]
    gates, attention = ["GRU", *lstms], [f"Transformer, {n} {norm}-norm" for n in (2, 8) for norm in ("pre", "post")]
    taps = {**dict.fromkeys(tanh + gates, "decoder.0.hidden"), **dict.fromkeys(lstms, "decoder.0.cell")}

    def curves(system: str, trained: bool, control: str = "none") -> dict[float, np.ndarray]:
        """Seed -> (places, powers of ten) of the median norm, of the seeds that learned."""
        mine = table[(table.system == system) & (table.setting == ("trained" if trained else "at the start"))]
        mine = mine[mine.control == control]
        right = mine[(mine.measure == "best_token_accuracy") & (mine.value >= 0.99)].seed
        part = taps.get(system, "decoder.inputs")
        norms = mine[(mine.measure == "gradient_norm_q50") & (mine.part == part) & (mine.place >= 1)]
        norms = norms[(norms.step > 0) == trained]
        found = {}
        for seed, one in norms.groupby("seed"):
            if not trained or seed in set(right):
                one = one.sort_values("place")
                found[seed] = np.array([one.place, np.log10(np.maximum(one.value, 1e-65))])
        return found

    def lost(system: str, trained: bool, control: str = "none") -> dict[float, float]:
        return {seed: power_X[0] - power_X[-1] for seed, (_, power_X) in curves(system, trained, control).items()}

    def straight(system: str) -> list[float]:
        shares = []
        for place_X, power_X in curves(system, False).values():
            kept_X = power_X > -65
            residual_X = power_X[kept_X] - np.polyval(np.polyfit(place_X[kept_X], power_X[kept_X], 1), place_X[kept_X])
            shares.append(1 - residual_X.var() / power_X[kept_X].var() - 0.9)
        return shares

    def size(system: str) -> dict[float, float]:
        return {seed: abs(one) for seed, one in lost(system, False).items()}

    def each(systems: Sequence[str], trained: bool) -> list[list[float]]:
        return [list(lost(system, trained).values()) for system in systems]

    yield "C2", Claim("larger", 1.0, [list(size(system).values()) for system in tanh])
    yield "C2, geometric", Claim("larger", 0.0, [straight(system) for system in tanh])
    yield "C3", Claim("larger", 1.0, [less(size("tanh RNN, 1.0"), size(system)) for system in gates])
    yield "C8", Claim("smaller", 0.5, each(attention, False))
    yield "C8, either way", Claim("equivalent", 0.5, each(attention, False))
    yield "C2, trained", Claim("smaller", 1.0, each(tanh, True))
    yield "C3, trained", Claim("smaller", 1.0, each(gates, True))
    yield "C8, trained", Claim("smaller", 0.5, each(attention, True))
    controls = [
        less(lost(system, True, control), lost(system, True))
        for system in ("tanh RNN, 1.0", "Transformer, 2 pre-norm")
        for control in ("half the rate", "twice the rate", "no clipping")
    ]
    yield "control", Claim("equivalent", 0.5, controls)
    levelled = ("tanh RNN, 1.0", "GRU", "Transformer, 8 post-norm")
    moved = [less(lost(system, True, "doubled steps"), lost(system, True)) for system in levelled]
    yield "levelled off", Claim("moved", 0.5, moved)


def parity(table: pd.DataFrame) -> Iterator[tuple[str, Claim]]:
    rotary, rnns = "Transformer, rotary", ("tanh RNN", "GRU", "LSTM")
    others = [f"Transformer, {name}" for name in ("no positions", "sinusoidal", "ALiBi")]

    def accuracy(system: str, low: int, high: int, control: str = "none") -> pd.Series:
        mine = table[(table.system == system) & (table.control == control) & (table.measure == "token_accuracy")]
        mine = mine[(mine.probe == "accuracy_by_length") & (mine.place > low) & (mine.place <= high)]
        return mine.groupby("seed").value.mean()

    def more(pairs: Sequence[tuple[str, str]], low: int, high: int) -> Claim:
        def steps(system: str) -> tuple[float, int]:
            return median_steps(accuracy(system, low, high), at_rest[at_rest.system == system])

        at_rest = table[table.control == "none"]
        solved = [counts(accuracy(a, low, high), accuracy(b, low, high)) for a, b in pairs]
        return Claim("more", 0.0, solved, steps=[[steps(a), steps(b)] for a, b in pairs])

    def from_chance(system: str, control: str = "none") -> list[float]:
        return (accuracy(system, 40, 400, control) - 0.5).tolist()

    yield "C20", more([(rnn, rotary) for rnn in rnns], 40, 400)
    yield "C20, within", more([(rotary, other) for other in others], 20, 40)
    yield "C20, chance", Claim("equivalent", 0.1, [from_chance(system) for system in (rotary, *others)])
    yield "control, rate", Claim("equivalent", 0.1, [from_chance(rotary, "twice the rate")])
    moved = [
        less(accuracy(system, *lengths, "doubled steps"), accuracy(system, *lengths))
        for system in ("tanh RNN", "GRU", rotary)
        for lengths in ((20, 40), (40, 400))
    ]
    yield "levelled off", Claim("moved", 0.05, moved)


def sentence_length(table: pd.DataFrame) -> Iterator[tuple[str, Claim]]:
    fixed, scores, short, long = "fixed vector", ["additive", "scaled dot"], 14.5, 55.0
    everywhere, briefly = "to 60 words", "to 20 words"

    def found(arm: str, system: str, place: float, measure: str, control: str = "none") -> np.ndarray:
        """(seeds, 1 + draws): as measured, then each resample of the sentences, if there are any."""
        mine = table[
            (table.arm == arm) & (table.system == system) & (table.place == place) & (table.measure == measure)
        ]
        mine = mine[mine.control == control]
        wide = mine.pivot(index="seed", columns="part", values="value")
        return wide.reindex(columns=sorted(wide, key=lambda part: (len(part), part))).to_numpy()

    def bleu(system: str, place: float, arm: str = everywhere, measure: str = "bleu_lowercase") -> np.ndarray:
        return found(arm, system, place, measure)

    def share_lost(system: str) -> np.ndarray:
        return bleu(fixed, short) / bleu(system, short) - bleu(fixed, long) / bleu(system, long)

    def copy_lost(system: str, near: float, far: float) -> np.ndarray:
        near_N, far_N = (found("to 15 symbols", system, place, "token_accuracy") for place in (near, far))
        return near_N - far_N

    def beyond(measure: str) -> list[np.ndarray]:
        pairs = [[bleu(one, n, arm, measure) for arm in (briefly, everywhere)] for one in scores for n in (24.5, long)]
        return [1 - trained_briefly / whole for trained_briefly, whole in pairs]

    def ahead(measure: str) -> list[np.ndarray]:
        return [bleu(one, long, measure=measure) - bleu(fixed, long, measure=measure) for one in scores]

    def kept(system: str) -> np.ndarray:
        return bleu(system, long, briefly) / bleu(system, long)

    def claims() -> Iterator[tuple[str, str, float, list[np.ndarray]]]:
        copies = [*scores, "Transformer"]
        yield "C6", "larger", 0.1, [share_lost("additive"), copy_lost(fixed, 3, 13)]
        yield "C7", "larger", 2.0, ahead("bleu_lowercase")
        yield "C7, precision", "larger", 2.0, ahead("ngram_precision")
        yield "C7, by length", "larger", 0.1, [share_lost(one) for one in scores]
        yield "C7, flat", "equivalent", 0.05, [copy_lost(one, 3, 13) for one in copies]
        yield "C7, beyond", "smaller", 0.1, beyond("bleu_lowercase") + [copy_lost(one, 13, 28) for one in copies]
        yield "C7, beyond, precision", "smaller", 0.1, beyond("ngram_precision")
        yield "C7, beyond, against the fixed vector", "larger", 0.1, [kept("additive") - kept(fixed)]
        yield "C7, scores", "equivalent", 2.0, [bleu("scaled dot", long) - bleu("additive", long)]
        cut_off = [bleu(one, long, measure="at_decoding_limit") for one in (fixed, *scores)]
        yield "control, decoding limit", "smaller", 0.05, cut_off

    def longest(system: str, control: str) -> pd.Series:
        mine = table[(table.arm == everywhere) & (table.system == system) & (table.control == control)]
        mine = mine[(mine.place == long) & (mine.measure == "bleu_lowercase") & (mine.part == "")]
        return mine.set_index("seed").value

    for claim, kind, limit, each in claims():
        drawn = [one[:, 1:] if one.shape[1] > 1 else None for one in each]
        yield claim, Claim(kind, limit, [one[:, 0].tolist() for one in each], drawn)
    moved = [less(longest(one, "doubled steps"), longest(one, "none")) for one in (fixed, *scores)]
    yield "levelled off", Claim("moved", 2.0, moved)


def mixers(table: pd.DataFrame) -> Iterator[tuple[str, Claim]]:
    linear = [f"linear attention, {heads}" for heads in ("16 heads", "4 heads", "1 head")]
    fields = {f"convolutions, {field} tokens": field for field in (9, 17, 31)}
    hybrids = {"3 GRU, 1 attention": "GRU", "linear attention, 1 attention": linear[0]}

    def accuracy(system: str, control: str = "none", low: float = 0, high: float = 999) -> pd.Series:
        mine = table[(table.system == system) & (table.control == control) & table.place.between(low, high)]
        return mine[mine.measure == "token_accuracy"].groupby("seed").value.mean()

    def solving(*pairs: tuple[tuple[str, str], tuple[str, str]]) -> Claim:
        """Of pairs of (system, control)."""

        def steps(system: str, control: str) -> tuple[float, int]:
            mine = table[(table.system == system) & (table.control == control)]
            return median_steps(accuracy(system, control), mine)

        solved = [counts(accuracy(*a), accuracy(*b)) for a, b in pairs]
        return Claim("more", 0.0, solved, steps=[[steps(*a), steps(*b)] for a, b in pairs])

    steps_up = list(zip(linear[1:], linear[:-1], strict=True))
    more = [less(accuracy(a), accuracy(b, control)) for control in ("none", "doubled steps") for a, b in steps_up]
    yield "state, bytes", Claim("larger", 0.1, more)
    trained = [less(accuracy(one, "doubled steps"), accuracy(one)) for one in linear[:2]]
    yield "state, training", Claim("smaller", 0.1, trained)
    yield "hybrid", solving(*(((a, "none"), (b, "none")) for a, b in hybrids.items()))
    yield "control, softmax", solving((("softmax attention", "none"), (linear[0], "none")))
    last = [less(accuracy(one, "none", f - 1, f - 1), accuracy(one, "none", f, f)) for one, f in fields.items()]
    yield "C5", Claim("larger", 0.5, last)
    beyond = [
        (accuracy(one, control, field, end) - 0.125).tolist()
        for one, field in fields.items()
        for control in ("none", "doubled steps")
        for end in (field, 999)
    ]
    yield "C5, beyond", Claim("equivalent", 0.05, beyond)
    far = [accuracy(one, "none", 9) for one in ("3 convolutions, 1 attention", "convolutions, 9 tokens")]
    yield "control, attention", Claim("larger", 0.5, [less(*far)])
    few = [(accuracy(one, "2 pairs") - 0.9).tolist() for one in (linear[0], "GRU")]
    yield "control, pairs", Claim("larger", 0.0, few)
    yield "control, heads", Claim("larger", 0.1, [less(accuracy(linear[2]), accuracy(linear[2], "half the width"))])
    rates = [less(accuracy(a, f"{b} the rate"), accuracy(a)) for a in linear[:2] for b in ("twice", "half")]
    yield "control, rate", Claim("equivalent", 0.1, rates)
    blind = [
        (("3 GRU, 1 attention", f"positions {one}"), ("3 GRU, 1 attention", "sees 4 tokens"))
        for one in ("rotary", "none")
    ]
    yield "control, attention's reach and positions", solving(*blind)
    recalling = (*linear, "GRU", *hybrids, "softmax attention")
    moved = [less(accuracy(one, "doubled steps"), accuracy(one)) for one in recalling]
    yield "levelled off", Claim("moved", 0.1, moved)


def head_count(table: pd.DataFrame) -> Iterator[tuple[str, Claim]]:
    text, recall = (table[table.task == task] for task in ("multi30k", "recall"))

    def by_seed(rows: pd.DataFrame, heads: int, control: str, measure: str, probe: str) -> pd.Series:
        mine = rows[(rows.heads == heads) & (rows.control == control) & (rows.measure == measure)]
        return mine[mine.probe == probe].groupby("seed").value.mean()

    def loss(heads: int, control: str = "none") -> pd.Series:
        return by_seed(text, heads, control, "loss", "accuracy_by_length")

    def bleu(heads: int) -> pd.DataFrame:
        """By seed: as measured, then each resample of the sentences."""
        mine = text[(text.heads == heads) & (text.control == "none") & (text.probe == "bleu_by_length")]
        wide = mine[mine.measure == "bleu_lowercase"].pivot(index="seed", columns="part", values="value")
        return wide[sorted(wide, key=lambda part: (len(part), part))]

    def bleus(pairs: Sequence[tuple[int, int]], kind: str) -> Claim:
        each = [(bleu(a) - bleu(b)).dropna().to_numpy() for a, b in pairs]
        return Claim(kind, 0.3, [one[:, 0].tolist() for one in each], [one[:, 1:] for one in each])

    def solving(*pairs: tuple[int, int], control: str = "none") -> Claim:
        def accuracy(heads: int) -> pd.Series:
            return by_seed(recall, heads, control, "token_accuracy", "accuracy_by_distance")

        def steps(heads: int) -> tuple[float, int]:
            return median_steps(accuracy(heads), recall[(recall.heads == heads) & (recall.control == control)])

        solved = [counts(accuracy(a), accuracy(b)) for a, b in pairs]
        return Claim("more", 0.0, solved, steps=[[steps(a), steps(b)] for a, b in pairs])

    def needed() -> list[float]:
        mine = text[(text.heads == 8) & (text.control == "none") & (text.probe == "head_importance")]
        whole = mine[mine.measure == "loss"].set_index("seed").value
        gained = mine[mine.measure == "loss_increase"]
        return [float((one.value >= 0.01 * whole[seed]).mean()) - 0.5 for seed, one in gained.groupby("seed")]

    yield "C10, several", Claim("larger", 0.015, [less(loss(n), loss(8)) for n in (1, 2, 4)])
    yield "C10, several, BLEU", bleus([(8, n) for n in (1, 2, 4)], "larger")
    yield "C10, several, recall", solving(*((8, n) for n in (1, 2, 4)))
    yield "C10, nothing more", Claim("smaller", 0.015, [less(loss(8), loss(n)) for n in (16, 32)])
    yield "C10, nothing more, BLEU", bleus([(n, 8) for n in (16, 32)], "smaller")
    yield "more than 8, recall", solving(*((n, 8) for n in (16, 32)))
    yield "C10, 16 as good", Claim("equivalent", 0.015, [less(loss(8), loss(16))])
    yield "C10, masked", Claim("larger", 0.0, [needed()])
    yield "control, slopes", solving((8, 1), control="ALiBi")
    moved = [less(loss(n, "doubled steps"), loss(n)) for n in (1, 8, 32)]
    yield "levelled off", Claim("moved", 0.015, moved)


def long_range(table: pd.DataFrame) -> Iterator[tuple[str, Claim]]:
    lstms, tasks = ["LSTM, bias 0", "LSTM, bias 1", "LSTM, chrono"], ["recall", "copying", "adding", "temporal_order"]

    def ends(task: str, system: str) -> tuple[pd.Series, pd.Series]:
        """(the nearest quarter of the distances, the furthest), by seed."""
        mine = table[(table.task == task) & (table.system == system) & (table.control == "none")]
        rows = mine[(mine.probe == "accuracy_by_distance") & (mine.measure == "token_accuracy")]
        low, high = rows.place.min(), rows.place.max()
        quarter = (high - low) / 4
        near, far = rows[rows.place <= low + quarter], rows[rows.place >= high - quarter]
        return near.groupby("seed").value.mean(), far.groupby("seed").value.mean()

    def chance(task: str) -> float:
        mine = table[table.task == task]
        for measure in ("chance_token_accuracy_in_context", "chance_token_accuracy"):
            if len(said := mine[mine.measure == measure]):
                return float(said.value.iloc[0])
        return 0.08 - 0.04**2

    def falls(system: str) -> list[list[float]]:
        """From near to far, of the seeds that learned the task."""
        found = []
        for task in tasks:
            near, far = ends(task, system)
            learned = near[near >= chance(task) + 0.1 * (1 - chance(task))]
            found.append([learned[seed] - far[seed] for seed in learned.index])
        return found

    def more(a: str, b: str) -> list[list[float]]:
        each = [[ends(task, one)[1] for one in (a, b)] for task in tasks]
        return [[float(n) for far in pair for n in ((far >= 0.9).sum(), len(far))] for pair in each]

    yield "C1", Claim("larger", 0.1, falls("tanh RNN"))
    yield "C3", Claim("more", 0.0, more(lstms[1], "tanh RNN") + more("GRU", "tanh RNN"))
    yield "C3, bias", Claim("more", 0.0, more(lstms[1], lstms[0]) + more(lstms[2], lstms[0]))
    yield "C7", Claim("equivalent", 0.05, falls("GRU with attention") + falls("Transformer"))


def throughput(table: pd.DataFrame) -> Iterator[tuple[str, Claim]]:
    narrow, wide, by_call = "Transformer, narrow heads", "Transformer, wide head", "GRU, a call a step"
    rnns = ["tanh RNN, scan", "GRU, scan", "LSTM, scan"]
    scanned = [*rnns, "LSTM, cuDNN"]
    rows = table[table.measure == table.phase + "_tokens_per_second"]

    def series(phase: str) -> list[pd.DataFrame]:
        """Of each size, the small one first, and batch: the rows of all lengths."""
        mine = rows[rows.phase == phase].assign(large=lambda of: of["size"] != "small")
        return [one for _, one in mine.groupby(["large", "batch"])]

    def power(mine: pd.DataFrame, system: str, end: str) -> pd.Series:
        """Powers of ten of tokens per second by repeat, at the shortest (min) or longest (max) length."""
        here = mine[(mine.length == mine.length.agg(end)) & (mine.part == system)]
        return np.log10(here.groupby("seed").value.mean())

    def ahead(end: str, systems: Sequence[str], transformer: str = narrow) -> list[list[float]]:
        """A Transformer in training over each RNN that this size and batch has."""
        return [
            less(power(mine, transformer, end), power(mine, system, end))
            for mine in series("training")
            for system in systems
            if system in set(mine.part)
        ]

    def dearer(system: str) -> list[list[float]]:
        """Of a token, after the longest context than after the shortest."""
        several = [mine for mine in series("decoding") if mine.length.nunique() > 1]
        return [less(power(mine, system, "min"), power(mine, system, "max")) for mine in several]

    decoders = [system for system in rnns if system in set(rows.part)]
    won = [
        less(power(mine, system, "max"), power(mine, narrow, "max"))
        for mine in series("decoding")
        for system in decoders
    ]
    yield "C4, long", Claim("larger", 1.0, ahead("max", scanned))
    yield "C4, short", Claim("larger", 1.0, ahead("min", scanned))
    yield "C4, step by step", Claim("larger", 1.0, ahead("max", [by_call]))
    yield "C4, faster at all", Claim("larger", 0.04, ahead("max", scanned))
    yield "C4, wide head", Claim("larger", 0.04, ahead("max", scanned, wide))
    yield "C20, flat", Claim("equivalent", 0.08, [one for system in decoders for one in dearer(system)])
    yield "C20, rising", Claim("larger", 0.18, dearer(narrow))
    yield "C20, decoding", Claim("larger", 0.04, won)


RECOMPUTED: dict[str, Callable[[pd.DataFrame], Iterator[tuple[str, Claim]]]] = {
    "gradient_flow": gradient_flow,
    "head_count": head_count,
    "long_range": long_range,
    "mixers": mixers,
    "parity": parity,
    "sentence_length": sentence_length,
    "throughput": throughput,
}
