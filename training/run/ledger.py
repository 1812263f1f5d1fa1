"""The totals of a run so far. They are part of the checkpoint, so a resumed run goes on counting."""

import dataclasses
import math
import statistics
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from data.batch import Batch, filled_positions
from training.machine import provenance

ACTIVITIES = ("training", "compile", "eval", "save", "mirror")
AVERAGED = ("loss", "nll", "token_accuracy")  # over the steps of a logged row

Metrics = Mapping[str, jax.Array | np.ndarray]  # scalars of one step, that the device may still be working on


class NonFiniteError(FloatingPointError):
    """The loss, the gradient norm or the update stopped being a number."""

    def __init__(self, step: int, name: str, value: float):
        super().__init__(f"{name} is {value} at step {step}")
        self.step = step


@dataclasses.dataclass
class Ledger:
    """Totals over the whole run, and those of the window since the last logged row, as far as they were saved."""

    source_tokens: int = 0  # without padding
    target_tokens: int = 0  # positions that count in the loss
    filled: int = 0  # source and target positions that hold something
    positions: int = 0  # all of them, with padding
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)  # by activity, see training/machine/clock.py
    step_seconds: list[float] = dataclasses.field(default_factory=list)  # mean of each window between logged rows
    start_to_first_step_seconds: float | None = None  # from the start of the process, imports included
    latest: dict[str, float] | None = None  # validation metrics and their step
    best: dict[str, float] | None = None
    evaluations: int = 0  # 0 in checkpoints of earlier code, which did not count them
    stale_evaluations: int = 0  # since the best
    window: dict[str, float] = dataclasses.field(default_factory=dict)  # sums over its steps
    window_steps: int = 0
    window_seconds: float = 0.0  # of training
    mark: list[int] = dataclasses.field(default_factory=list)  # target tokens, filled and positions where it begins

    def __post_init__(self) -> None:
        self._new: list[Metrics] = []  # of the window's further steps
        self.mark = self.mark or [self.target_tokens, self.filled, self.positions]

    def count(self, batch: Batch, metrics: Metrics) -> None:
        """Takes one step's batch and metrics; nothing waits for the device."""
        source, target = int(batch["source_mask"].sum()), int(np.count_nonzero(batch["target_weights"]))
        self.source_tokens += source
        self.target_tokens += target
        self.filled += filled_positions(batch)
        self.positions += batch["source_mask"].size + batch["target_in"].size
        self._new.append(metrics)

    def hold(self, step: int, seconds: float) -> Mapping[str, np.ndarray] | None:
        """Adds the steps up to `step`, which took `seconds` of training, to what a checkpoint keeps; returns the
        metrics of the last. Waits for the device. Raises NonFiniteError naming the first bad step."""
        new = self.check(step)
        for metrics in new:
            for name in AVERAGED:
                self.window[name] = self.window.get(name, 0.0) + float(metrics[name])
        self.window_steps += len(new)
        self.window_seconds += seconds
        self._new = []
        return new[-1] if new else None

    def row(self, step: int, seconds: float, *, perplexity: bool) -> dict[str, float]:
        """The row to log for the window that ends with `step`, whose new steps took `seconds` of training.

        Loss, nll and accuracy are means over the window; norms and learning rate are its last step's. Raises as `hold`.
        """
        latest = self.hold(step, seconds) or {}
        mean = {name: self.window[name] / self.window_steps for name in AVERAGED}
        last = {name: float(value) for name, value in latest.items() if name not in mean}
        target_tokens, filled, positions = self.mark
        self.step_seconds.append(self.window_seconds / self.window_steps)
        row = mean | last | ({"perplexity": math.exp(min(mean["nll"], 700.0))} if perplexity else {})
        row |= {
            "target_tokens_per_second": (self.target_tokens - target_tokens) / self.window_seconds,
            "step_seconds": self.step_seconds[-1],
            "padding_share": 1 - (self.filled - filled) / (self.positions - positions),
            "device_memory_bytes": provenance.device_memory_bytes(),
        }
        # What was not training, since the run began.
        row |= {f"{activity}_seconds": self.seconds.get(activity, 0.0) for activity in ACTIVITIES[1:]}
        self.window, self.window_steps, self.window_seconds = {}, 0, 0.0
        self.mark = [self.target_tokens, self.filled, self.positions]
        return row

    def counted_row(self, nll: float, seconds: float, *, perplexity: bool) -> dict[str, float]:
        """The row of a model that was counted in one step; `nll` is of the text that it was counted on."""
        self.step_seconds.append(seconds)
        row = {"loss": nll, "nll": nll} | ({"perplexity": math.exp(min(nll, 700.0))} if perplexity else {})
        speed = {"target_tokens_per_second": self.target_tokens / seconds, "step_seconds": seconds}
        return row | speed | {"device_memory_bytes": provenance.device_memory_bytes()}

    def check(self, step: int) -> list[Mapping[str, np.ndarray]]:
        """The metrics of the steps since the last row or save, up to `step`, fetched.

        Raises NonFiniteError naming the first bad step.
        """
        new = jax.tree.map(np.asarray, self._new)  # an eighth of the time that device_get takes
        for number, metrics in enumerate(new, start=step - len(new) + 1):
            for name in ("loss", "gradient_norm", "update_ratio"):  # the last is known where a state is saved
                if not math.isfinite(metrics[name]):
                    raise NonFiniteError(number, name, float(metrics[name]))
        return new

    def note_evaluation(self, step: int, metrics: dict[str, float], metric: str) -> bool:
        """Keeps the best evaluation by `metric`; True when this is it. A tie keeps the earlier one."""
        sign = -1 if metric in ("loss", "perplexity") else 1
        before = math.nan if self.best is None else self.best[metric]
        better = self.best is None or sign * metrics[metric] > sign * before
        better |= math.isnan(before) and not math.isnan(metrics[metric])
        self.latest = {**metrics, "step": step}
        self.best = self.latest if better else self.best
        self.evaluations += 1
        self.stale_evaluations = 0 if better else self.stale_evaluations + 1
        return better

    def out_of_patience(self, patience: int) -> bool:
        """Early stopping: so many evaluations in a row without a new best; with 0 never."""
        return 0 < patience <= self.stale_evaluations

    def to_json(self) -> dict[str, Any]:
        """What a checkpoint keeps; `Ledger(**kept)` goes on from it."""
        return dataclasses.asdict(self)

    def totals(self) -> dict[str, Any]:
        """The run's totals under the names of summary.json.

        Steps are not waited for one by one, so `median_step_seconds` is the median over windows of their mean.
        """
        training = self.seconds.get("training", 0.0)
        return {
            "tokens_seen": self.source_tokens + self.target_tokens,
            "target_tokens_per_second": self.target_tokens / training if training else 0.0,
            "median_step_seconds": statistics.median(self.step_seconds) if self.step_seconds else 0.0,
            "start_to_first_step_seconds": self.start_to_first_step_seconds,
            "padding_share": 1 - self.filled / max(self.positions, 1),
            **{f"{activity}_seconds": self.seconds.get(activity, 0.0) for activity in ACTIVITIES},
            "longest_compile_seconds": self.seconds.get("longest_compile", 0.0),  # of one wait for a program
        }
