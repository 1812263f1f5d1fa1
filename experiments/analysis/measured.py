"""What was measured of each system that translates, in words: columns of a table on a question's page."""

from collections.abc import Mapping

from experiments.analysis.frames import DataFrame, Series
from experiments.analysis.judge import Comparison
from experiments.analysis.published import interval
from experiments.analysis.table import by_seed, select
from experiments.analysis.words import NONE, number

WITH_INTERVALS = (("loss", "accuracy_by_length", "loss", ".3f"), ("BLEU", "bleu_by_length", "bleu_lowercase", ".1f"))
MEANS = (
    ("n-gram precision", "bleu_by_length", "ngram_precision", ".1f"),
    ("brevity penalty", "bleu_by_length", "brevity_penalty", ".3f"),
    ("length ratio", "bleu_by_length", "length_ratio", ".3f"),
    ("cut off", "bleu_by_length", "at_decoding_limit", ".1%"),
)
REMARK = (
    "Loss, BLEU and what stands behind them are ours: means over seeds, for loss and BLEU with 95 % t intervals. Cut "
    "off is the share of translations that reached the decoding limit. Milliseconds a step are medians over runs, with "
    "their range. These runs had other jobs beside them, so it is no benchmark."
)


def columns(rows_by_cell: Mapping[int, DataFrame]) -> dict[int, dict[str, str]]:
    """Of each cell: loss, BLEU with its parts, and milliseconds a step on each device. The rows are one system's, of a
    single range of lengths."""
    times = {cell: _step_times(rows) for cell, rows in rows_by_cell.items()}
    devices = sorted({device for one in times.values() for device in one})
    return {
        cell: {
            **{name: interval(Comparison("", _values(rows, *which)), form) for name, *which, form in WITH_INTERVALS},
            **{name: number(_values(rows, *which).mean(), form) for name, *which, form in MEANS},
            **{f"ms a step, {device}": times[cell].get(device, NONE) for device in devices},
        }
        for cell, rows in rows_by_cell.items()
    }


def _values(rows: DataFrame, probe: str, measure: str) -> Series:
    """By seed, as measured: without the draws of sentences."""
    rows = select(rows, probe=probe, measure=measure)
    return by_seed(rows[~rows["part"].str.startswith("draw ")])


def _step_times(rows: DataFrame) -> dict[str, str]:
    """By device."""
    timed = select(rows, measure="training_seconds")
    said = {}
    for device, ms in (1000 * timed["value"] / timed["step"]).groupby(timed["device"]):
        form = ",.0f" if ms.median() >= 20 else ".1f"
        runs = f"{number(ms.min(), form)} to {number(ms.max(), form)} in {len(ms)} runs" if len(ms) > 1 else "1 run"
        said[str(device).rsplit(" (", 1)[0]] = f"{number(ms.median(), form)} ({runs})"
    return said
