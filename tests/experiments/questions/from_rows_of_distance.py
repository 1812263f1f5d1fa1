"""As `from_rows.py`, for the questions that ask how far back something reaches."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from tests.experiments.questions.claim import Claim, counts, less, median_steps


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
    changes = ("half the rate", "twice the rate", "no clipping")

    def by_change(system: str) -> list[list[float]]:
        return [list(lost(system, True, control).values()) for control in changes]

    yield "C2, trained", Claim("smaller", 1.0, each(tanh, True) + by_change("tanh RNN, 1.0"))
    yield "C3, trained", Claim("smaller", 1.0, each(gates, True))
    yield "C8, trained", Claim("smaller", 0.5, each(attention, True) + by_change("Transformer, 2 pre-norm"))
    controls = [
        less(lost(system, True, control), lost(system, True))
        for system in ("tanh RNN, 1.0", "Transformer, 2 pre-norm")
        for control in changes
    ]
    yield "control", Claim("equivalent", 0.5, controls)
    levelled = ("tanh RNN, 1.0", "GRU", "Transformer, 8 post-norm")
    moved = [less(lost(system, True, "doubled steps"), lost(system, True)) for system in levelled]
    yield "levelled off", Claim("moved", 0.5, moved)


def long_range(table: pd.DataFrame) -> Iterator[tuple[str, Claim]]:
    lstms, tasks = ["LSTM, bias 0", "LSTM, bias 1", "LSTM, chrono"], ["recall", "copying", "adding", "temporal_order"]

    def rows_of(task: str, system: str, control: str = "none") -> pd.DataFrame:
        return table[(table.task == task) & (table.system == system) & (table.control == control)]

    def ends(task: str, system: str, control: str = "none") -> tuple[pd.Series, pd.Series]:
        """(the nearest quarter of the distances, the furthest), by seed."""
        mine = rows_of(task, system, control)
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

    def fall(task: str, system: str, control: str = "none") -> pd.Series:
        """From near to far, of the seeds that learned the task."""
        near, far = ends(task, system, control)
        learned = near[near >= chance(task) + 0.1 * (1 - chance(task))]
        return learned - far[learned.index]

    def falls(system: str) -> list[list[float]]:
        return [fall(task, system).tolist() for task in tasks]

    def more(*pairs: tuple[str, str]) -> Claim:
        each = [[(ends(task, one)[1], rows_of(task, one)) for one in pair] for pair in pairs for task in tasks]
        solved = [counts(*(far for far, _ in pair)) for pair in each]
        return Claim("more", 0.0, solved, steps=[[median_steps(*one) for one in pair] for pair in each])

    tanh, twice = "tanh RNN", "doubled steps"
    yield "C1", Claim("larger", 0.1, falls(tanh))
    yield "C3", more((lstms[1], tanh), ("GRU", tanh))
    yield "C3, bias", more((lstms[1], lstms[0]), (lstms[2], lstms[0]))
    yield "C7", Claim("equivalent", 0.05, falls("GRU with attention") + falls("Transformer"))
    each = [(task, system) for task in tasks for system in (tanh, "GRU", "Transformer")]
    yield "levelled off", Claim("moved", 0.1, [less(ends(*one, twice)[1], ends(*one)[1]) for one in each])
    near = [less(fall(task, tanh, twice), fall(task, tanh)) for task in tasks if len(fall(task, tanh))]
    yield "levelled off, near to far", Claim("moved", 0.1, near)
