"""What each question judges, from the rows of its table by pandas and numpy alone: the values of each claim, by seed.

Nothing of experiments/ is asked for a number (`by_hand.py` computes the intervals and p).
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pandas as pd

from tests.experiments.questions.claim import Claim, counts, less, median_steps
from tests.experiments.questions.from_rows_of_distance import gradient_flow, long_range


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

    def from_chance(system: str, low: int, high: int, control: str = "none") -> list[float]:
        return (accuracy(system, low, high, control) - 0.5).tolist()

    def moved(*ranges: tuple[int, int]) -> Claim:
        each = [(system, lengths) for system in ("tanh RNN", "GRU", rotary) for lengths in ranges]
        gains = [less(accuracy(one, *of, "doubled steps"), accuracy(one, *of)) for one, of in each]
        return Claim("moved", 0.05, gains)

    everyone = (rotary, *others)
    yield "C20", more([(rnn, rotary) for rnn in rnns], 40, 400)
    yield "C20, within", more([(rotary, other) for other in others], 20, 40)
    yield "C20, chance", Claim("equivalent", 0.1, [from_chance(system, 60, 400) for system in everyone])
    yield "C20, chance just beyond", Claim("equivalent", 0.1, [from_chance(system, 40, 60) for system in everyone])
    yield "control, rate", Claim("equivalent", 0.1, [from_chance(rotary, 60, 400, "twice the rate")])
    yield "levelled off", moved((20, 40), (60, 400))
    yield "levelled off, just beyond", moved((40, 60))


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
        arms = (everywhere, briefly)
        cut_off = [bleu(one, long, arm, "at_decoding_limit") for arm in arms for one in (fixed, *scores)]
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
