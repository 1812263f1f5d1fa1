"""The question `head_count`: made-up tables give every outcome."""

import numpy as np
import pandas as pd
import pytest
from pandas import DataFrame
from scipy import stats

from experiments.analysis.finding import Outcome
from experiments.analysis.table import of_rows
from experiments.engine import schedule
from experiments.questions import head_count
from experiments.questions.head_count import BEST, HEADS, RECALL, TEST, TRANSLATION
from experiments.questions.question import DOUBLED, NONE
from tests.experiments import committed, panels

# By heads: loss of translation, BLEU, accuracy of recall.
AS_TAUGHT = {
    1: (1.80, 33.0, 0.20),
    2: (1.76, 34.0, 0.20),
    4: (1.74, 34.5, 0.20),
    8: (1.70, 36.0, 0.99),
    16: (1.70, 36.0, 0.99),
    32: (1.70, 36.0, 0.99),
}
ALL_ALIKE = dict.fromkeys(HEADS, (1.70, 36.0, 0.99))
MORE_IS_BETTER = {n: (2.0 - 0.1 * i, 30.0 + 2 * i, 0.99 if n > BEST else 0.2) for i, n in enumerate(HEADS)}
NEEDED, IDLE = 0.05, 0.0
PARTS = {"ngram_precision": 40.0, "brevity_penalty": 0.9, "length_ratio": 0.905, "at_decoding_limit": 0.002}
CPU, GPU = "1 x Old (cpu, x86_64)", "1 x New (gpu, x86_64)"
SEEDS = range(5)


def made_up(levels, head=NEEDED, noise=0.001, seeds=SEEDS, more=0.0, slopes=0.99) -> DataFrame:
    """Results at these levels, with a little noise by seed; each of 8 heads raises the loss by `head` when masked.
    Twice the steps lower the loss by `more`; with ALiBi 8 heads have the accuracy `slopes`, and one is at chance."""
    rng, rows = np.random.default_rng(0), []

    def add(run, measure, value, scale=1.0, **more):
        rows.append({**run, "role": "report", "measure": measure, "value": value + noise * scale * rng.normal()} | more)

    for heads, (loss, bleu, accuracy) in levels.items():
        for seed in seeds:
            text, recall = (
                {"run": f"{task}-{heads}", "task": task, "heads": heads, "seed": seed, "control": NONE}
                for task in (TRANSLATION, RECALL)
            )
            add(text, "best_loss", 0.0)  # of validation, which chose the rate and the checkpoint
            add(text, "loss", loss, probe="accuracy_by_length", part=TEST, place=20.0)
            for part in ("", *(f"draw {n}" for n in range(9))):
                add(text, "bleu_lowercase", bleu, 10, probe="bleu_by_length", part=part, place=500.5)
            for place in (10.0, 70.0):
                add(recall, "token_accuracy", accuracy, probe="accuracy_by_distance", place=place)
            add(recall, "chance_token_accuracy_in_context", 0.125, 0.0, probe="accuracy_by_distance")
            if not seed:
                add(text | {"control": DOUBLED}, "loss", loss - more, probe="accuracy_by_length", part=TEST, place=20.0)
            if heads in (1, BEST):
                at = {"probe": "accuracy_by_distance", "place": 10.0, "control": head_count.ALIBI}
                add(recall | {"control": head_count.ALIBI}, "token_accuracy", slopes if heads == BEST else 0.125, **at)
            if heads == BEST:
                add(text, "loss", 1.7, probe="head_importance")
                for place in range(8):
                    kind = ("encoder.0.heads", "decoder.0.heads", "decoder.0.cross_heads")[place % 3]
                    there = {"probe": "head_importance", "part": f"{kind} {place}", "place": place}
                    add(text, "loss_increase", head * 1.7, **there)
                    add(text, "bleu_loss", 10 * head, 10, **there)
            for part, value in PARTS.items():
                at = {"probe": "bleu_by_length", "part": "", "place": 500.5}
                rows.append({**text, **at, "role": "report", "measure": part, "value": value})
            for draw in range(9):
                at = {"probe": "bleu_by_length", "part": f"draw {draw}", "place": 500.5}
                rows.append({**text, **at, "role": "report", "measure": "ngram_precision", "value": 0.0})
            at = {"probe": "run", "step": 200.0, "device": GPU if seed else CPU}
            rows.append({**text, **at, "role": "report", "measure": "training_seconds", "value": 2.0 + seed})
    return of_rows(rows)


def outcomes(*args, **options) -> dict[str, Outcome]:
    return {finding.claim: finding.outcome for finding in head_count.verdict(made_up(*args, **options))}


MORE_ON_RECALL = "more than 8, recall"


def test_as_taught():
    found = outcomes(AS_TAUGHT)
    assert found.pop(MORE_ON_RECALL) is Outcome.NOT_SUPPORTED
    assert set(found.values()) == {Outcome.SUPPORTED}


def test_against_what_is_taught():
    found = outcomes(ALL_ALIKE, head=IDLE, more=0.1, slopes=0.125)
    assert found.pop("C10, 16 as good") is Outcome.SUPPORTED
    assert found.pop("control, slopes") is found.pop("levelled off") is Outcome.NOT_SUPPORTED
    assert found.pop(MORE_ON_RECALL) is Outcome.NOT_SUPPORTED
    assert {claim: said for claim, said in found.items() if "nothing" not in claim} == dict.fromkeys(
        ("C10, several", "C10, several, BLEU", "C10, several, recall", "C10, masked"), Outcome.NOT_SUPPORTED
    )
    found = outcomes(MORE_IS_BETTER)
    assert found[MORE_ON_RECALL] is Outcome.SUPPORTED
    assert {said for claim, said in found.items() if "nothing" in claim} == {Outcome.NOT_SUPPORTED}
    assert found["C10, 16 as good"] is Outcome.NOT_SUPPORTED


def test_within_limits():
    levels = {**AS_TAUGHT, 4: AS_TAUGHT[8], 32: (1.6, 38.0, 0.99)}
    found = outcomes(levels)
    assert found.pop("C10, masked") is found.pop("C10, 16 as good") is Outcome.SUPPORTED
    assert found.pop("control, slopes") is found.pop("levelled off") is Outcome.SUPPORTED
    assert found.pop(MORE_ON_RECALL) is Outcome.NOT_SUPPORTED
    assert set(found.values()) == {Outcome.WITHIN_LIMITS}


def test_what_had_not_levelled_off_is_said_within_its_budget():
    for more, said in ((0.0, "after training"), (0.05, "within 3,000 steps")):
        assert said in head_count.verdict(made_up(AS_TAUGHT, more=more))[0].statement


def test_what_is_worse_brings_nothing():
    found = outcomes({**AS_TAUGHT, 32: (1.9, 33.0, 0.8)})
    assert {said for claim, said in found.items() if "nothing" in claim} == {Outcome.SUPPORTED}


def test_sentences_count_beside_seeds():
    """Where the draws of sentences disagree, no number of seeds shows a difference of BLEU."""
    table = made_up(AS_TAUGHT)
    moves = {
        f"draw {n}": move for n, move in enumerate(np.random.default_rng(1).normal(0, 5, 9))
    }  # alike for all seeds
    value = table["value"] + np.where(table["heads"] == BEST, table["part"].map(moves).fillna(0.0), 0.0)
    found = {one.claim: one.outcome for one in head_count.verdict(table.assign(value=value))}
    assert found["C10, several, BLEU"] is Outcome.UNDECIDED and found["C10, several"] is Outcome.SUPPORTED


def test_noise_is_undecided_and_says_how_many_seeds_would_decide():
    found = head_count.verdict(made_up(ALL_ALIKE, noise=0.05))
    by_claim = {finding.claim: finding for finding in found}
    assert by_claim["C10, nothing more"].outcome is Outcome.UNDECIDED
    assert (by_claim["C10, nothing more"].seeds_to_decide or 1001) > len(SEEDS)


def test_seeds_that_solve_recall_are_counted():
    table = made_up(AS_TAUGHT)
    failed = (table["task"] == RECALL) & (table["heads"] == BEST) & (table["seed"] < 2) & (table["control"] == NONE)
    table["value"] = table["value"].where(~(failed & (table["measure"] == "token_accuracy")), 0.2)
    found = {finding.claim: finding for finding in head_count.verdict(table)}
    several = found["C10, several, recall"]
    assert several.outcome is Outcome.UNDECIDED and "8 heads 3 of 5 seeds; 1 head 0 of 5 seeds" in several.because
    assert "8 heads, ALiBi 5 of 5 seeds; 1 head, ALiBi 0 of 5 seeds" in found["control, slopes"].because


def test_a_difference_is_shown_as_it_is():
    (effect, _) = head_count.verdict(made_up(MORE_IS_BETTER))[3].effects
    assert effect.name == "16 over 8, nats" and effect.size == pytest.approx(0.1, abs=0.01)
    assert effect.low < effect.size < effect.high


def test_a_partial_table_says_what_was_not_run():
    found = head_count.verdict(made_up({heads: AS_TAUGHT[heads] for heads in (1, 8)}))
    assert found[0].outcome is Outcome.UNDECIDED and "not run: 8 over 2, nats; 8 over 4, nats" in found[0].because


def test_the_figure_sets_the_paper_beside_and_shows_the_best_run():
    table = made_up(AS_TAUGHT)
    drawn = head_count.figure(table)
    titles = panels.titles(drawn)
    assert len(titles) == 4
    assert titles[3] == f"One of 8 heads masked (best run, seed {head_count.loss(table, BEST).idxmin():g})"
    assert drawn[1].to_dict()["title"]["subtitle"] == "grey: Vaswani et al. 2017, En-De, single runs"
    assert panels.names(drawn[3]) == ["encoder", "decoder, self", "decoder, to the source"]
    theirs = next(one for one in panels.frames(drawn[1]) if set(one) == {"x", "y"})
    assert theirs["y"].tolist() == [-0.9, -0.3, 0.0, 0.0, -0.4]
    shaped = table.query(f"task == {TRANSLATION!r} and heads == {BEST} and control == {NONE!r}")
    shaped = shaped.assign(control="keys of 16")
    drawn = head_count.figure(pd.concat([table, shaped.assign(value=shaped["value"] + 0.1)]))
    assert panels.titles(drawn)[3] == "Multi30k, 8 heads in other shapes: loss, less that of 8 heads"
    means = next(one for one in panels.frames(drawn[3]) if "mean" in one)
    assert means["mean"].tolist() == pytest.approx([0.1])


def test_theirs_and_ours_are_within_the_panels_and_recall_has_no_means():
    drawn = head_count.figure(made_up(AS_TAUGHT))
    for panel, row in zip(drawn[:2], (head_count.VASWANI_LOSS, head_count.VASWANI_BLEU), strict=True):
        ((low, high),) = {tuple(one["scale"]["domain"]) for one in panels.channels(panel.to_dict(), "y")}
        assert low < min(row.values()) and max(row.values()) < high
        assert all(low < end < high for end in panels.means(panel)[["low", "high"]].to_numpy().ravel())
    assert not any("interval" in frame for frame in panels.frames(drawn[2]))


def test_curves_of_training_are_drawn():
    table = made_up(AS_TAUGHT)
    some = table[table["measure"] == "best_loss"].assign(measure="validation_loss")
    curves = pd.concat([some.assign(place=place, value=9.0 - place / 100) for place in (100.0, 200.0)])
    (drawn,) = head_count.training(pd.concat([table, curves]))
    assert panels.names(drawn) == ["1 head", "8 heads", "32 heads"]


def test_the_papers_row_stands_beside():
    found = head_count.published(made_up(AS_TAUGHT, noise=0.0))
    assert found is not None and [row["heads"] for row in found.rows] == [str(n) for n in HEADS]
    assert [row["BLEU gap, theirs"] for row in found.rows] == ["-0.9", "–", "-0.3", "+0.0", "+0.0", "-0.4"]
    assert [row["loss gap, theirs"] for row in found.rows][:4] == ["+0.073", "–", "+0.016", "+0.000"]
    assert [row["loss gap, here"] for row in found.rows][:4] == ["+0.100", "+0.060", "+0.040", "+0.000"]
    noisy = head_count.published(made_up(AS_TAUGHT))
    assert noisy is not None and noisy.rows[0]["BLEU gap, here"].startswith("-3.0 (-3.")
    assert head_count.published(made_up(AS_TAUGHT).query("task == 'recall'")) is None


def test_what_8_heads_reach_stands_there_with_the_parts_of_bleu_and_the_time_of_a_step():
    found = head_count.published(made_up(AS_TAUGHT, noise=0.0))
    assert found is not None
    assert dict(list(found.rows[HEADS.index(BEST)].items())[5:]) == {
        "loss": "1.700",
        "BLEU": "36.0",
        "n-gram precision": "40.0",
        "brevity penalty": "0.900",
        "length ratio": "0.905",
        "cut off": "0.2%",
        "ms a step, 1 x New": "22 (15 to 30 in 4 runs)",
        "ms a step, 1 x Old": "10.0 (1 run)",
    }
    one_seed = head_count.published(made_up(AS_TAUGHT, seeds=[0]))
    assert one_seed is not None and "ms a step, 1 x New" not in one_seed.rows[0]
    some = made_up(AS_TAUGHT).query(f"heads != 4 or measure != 'training_seconds' or device == {GPU!r}")
    without = head_count.published(some)
    assert without is not None and without.rows[2]["ms a step, 1 x Old"] == "–"


def rows_committed() -> DataFrame:
    table = pd.read_parquet(committed.table("head_count"))
    return table[table["role"] == "report"]


def test_the_committed_rows_give_what_the_page_says():
    """By pandas and scipy alone: means over seeds of what was measured, without the draws."""
    table = rows_committed()
    found = head_count.published(table)
    assert found is not None
    page = (committed.RESULTS / "head_count.md").read_text()
    for row in found.rows:
        assert " | ".join(row.values()) in page
        mine = table[(table.task == TRANSLATION) & (table.heads == int(row["heads"])) & (table.control == NONE)]
        whole = mine[(mine.probe == "bleu_by_length") & (mine.part == "")].groupby("measure")["value"]
        assert row["n-gram precision"] == f"{whole.mean()['ngram_precision']:.1f}"
        assert row["brevity penalty"] == f"{whole.mean()['brevity_penalty']:.3f}"
        assert row["length ratio"] == f"{whole.mean()['length_ratio']:.3f}"
        assert row["cut off"] == f"{whole.mean()['at_decoding_limit']:.1%}"
        losses = mine[(mine.probe == "accuracy_by_length") & (mine.measure == "loss")]["value"]
        for name, values, form in (("BLEU", whole.get_group("bleu_lowercase"), ".1f"), ("loss", losses, ".3f")):
            assert len(values) == 5
            low, high = stats.t.interval(0.95, 4, values.mean(), values.sem())
            assert row[name] == f"{values.mean():{form}} ({low:{form}} to {high:{form}})"
        trained = mine[mine.measure == "training_seconds"]
        for device, mean in (1000 * trained.value / trained.step).groupby(trained.device).median().items():
            said = row[f"ms a step, {str(device).split(' (')[0]}"]
            assert float(said.split()[0]) == pytest.approx(mean, abs=0.5 if mean > 20 else 0.05)


def test_the_committed_rows_give_what_the_limits_say_of_recall():
    table = rows_committed()
    right = table[(table.probe == "accuracy_by_distance") & (table.measure == "token_accuracy")]
    right = right.groupby(["control", "heads", "seed"])["value"].mean()
    one, eight, most = (f"{right[DOUBLED, n, 0]:.2f}".lstrip("0") for n in (1, BEST, 32))
    assert f"1 head answers {one} right, 8 heads {eight} and 32 {most}" in head_count.LIMITS
    assert (right[NONE, BEST] >= head_count.SOLVED).sum() == 2 and "two of five seeds do" in head_count.LIMITS


@pytest.mark.parametrize("scale", ["smoke", "cpu", "gpu"])
def test_the_grid(scale):
    grid = schedule.grid(head_count, scale)
    cells = {(run.axes["task"], run.axes["heads"]) for run in grid}
    if scale != "smoke":
        assert cells == {(task, n) for task in (TRANSLATION, RECALL) for n in HEADS}
    assert {run.seed for run in grid} == set(range(1 if scale == "smoke" else 5))
    due = schedule.plan(head_count, scale, lambda due: [{"measure": "best_loss", "value": 1.0}]).runs
    for task in (TRANSLATION, RECALL):
        configs = [one.config for one in due if one.config.task == task and one.role == "report"]
        changed = {name for one in configs for name in one.model if one.model[name] != configs[0].model[name]}
        shapes = {"key_size", "num_layers"} if (task, scale) == (TRANSLATION, "gpu") else set()
        assert shapes <= changed <= {"num_heads", "positions"} | shapes
        reported = {one.config.steps for one in due if one.config.task == task and one.run.axes["control"] == NONE}
        trials = {one.config.steps for one in due if one.config.task == task and one.role == "tune"}
        assert len(reported) == 1 and trials <= reported  # as long as the reported runs
        assert len({one.optimizer.learning_rate for one in configs}) == 1
