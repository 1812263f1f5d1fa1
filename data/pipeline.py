"""Batches ahead of the step: Grain runs task and plan in threads or worker processes, in the plan's order.

The state of the pipeline is one index, the batch to come: `train_batches(..., start=k)` gives exactly what
an uninterrupted run would see from batch k on, whatever prefetching or worker processes do.

Neighbouring small batches of one shape are drawn by one call of the task: what a call costs by itself, with 32 short
examples, is three quarters of it.
"""

import dataclasses
import itertools
import sys
import weakref
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

import grain
import numpy as np
from absl import flags
from ml_collections import ConfigDict

from data.batch import Batch, take
from data.buckets import check_budget, length_buckets, single_bucket
from data.plan import BucketPlan, EndlessPlan, Plan
from data.task import Task

EVAL_BUCKETS = 4  # an evaluation is short: fewer shapes to compile are worth some padding
ROW_MULTIPLE = 8
PREFETCH = 16  # batches
DRAWN_AT_ONCE = 256  # rows at least, where batches are smaller
ENDLESS = 1 << 62
FREED = "ignore:resource_tracker:UserWarning"  # which Python gives as it ends, of made batches that nobody took

Shape = tuple[int, int]  # S, T
Made = TypeVar("Made")


@dataclasses.dataclass(frozen=True)
class Batching:
    """How examples become batches: the config keys that decide it. None is a key that the config does not have."""

    seed: int  # of the order of examples, and of those that are drawn
    batch_size: int | None = None  # examples, of one shape
    tokens_per_batch: int | None = None  # padded ones, where lengths differ
    num_buckets: int | None = None  # shapes, where lengths differ
    workers: int = 0  # processes; 0: a thread

    @classmethod
    def of(cls, config: ConfigDict) -> "Batching":
        """Raises ValueError for a size that is not a positive whole number."""
        sizes = {key: _positive(key, config.get(key)) for key in ("batch_size", "tokens_per_batch")}
        num_buckets = _positive("data.num_buckets", config.data.get("num_buckets"))
        return cls(int(config.seed), **sizes, num_buckets=num_buckets, workers=int(config.workers))

    def rows(self, shape: Shape) -> int:
        """Rows of batches of one shape: `batch_size`, or as many as `tokens_per_batch` has room for."""
        if self.batch_size is not None:
            return self.batch_size
        tokens = _given("tokens_per_batch", self.tokens_per_batch)
        check_budget(np.array([shape]), tokens, ROW_MULTIPLE)
        return tokens // max(*shape, 1) // ROW_MULTIPLE * ROW_MULTIPLE


class Batches(Iterator[Made], Generic[Made]):
    """Batches in order, out of what makes several at a time; `close` stops that, and is called at the latest when
    the program ends."""

    def __init__(self, made: grain.DatasetIterator):
        self._made = [made]  # in a list, so that ending the program can let go of it as well as stop it
        self._ready: Iterator[Made] = iter(())
        self.close = weakref.finalize(self, _stop, self._made)

    def __next__(self) -> Made:
        while self._made:
            for batch in self._ready:
                return batch
            self._ready = iter(next(self._made[0]))
        raise StopIteration


def _stop(made: list[grain.DatasetIterator]) -> None:
    while made:
        made.pop().close()


def train_plan(task: Task, batching: Batching) -> BucketPlan | EndlessPlan:
    """The plan of the training split: buckets where the task has lengths, else one shape.

    Raises ValueError where `batch_size` or `tokens_per_batch` does not fit the task.
    """
    num_examples, lengths_N2 = task.num_examples("train"), _varied_lengths(task, "train")
    if lengths_N2 is not None:
        tokens, num_buckets = _for_buckets(batching)
        check_budget(lengths_N2, tokens, ROW_MULTIPLE)
        return BucketPlan(length_buckets(lengths_N2, tokens, num_buckets, ROW_MULTIPLE), batching.seed)
    shape = _one_shape(task, "train")
    rows = batching.rows(shape)
    if num_examples is None:
        return EndlessPlan(rows, shape)
    return BucketPlan(single_bucket(num_examples, rows, shape), batching.seed)


def eval_plan(task: Task, split: str, batching: Batching, *, limit: int = 0) -> BucketPlan:
    """Every example of the split exactly once, or the first `limit` of them."""
    num_examples, lengths_N2 = task.num_examples(split), _varied_lengths(task, split)
    if limit:
        num_examples = limit if num_examples is None else min(limit, num_examples)
    if num_examples is None:
        raise ValueError(f"split = {split} never ends; choose from {', '.join(s for s in task.splits if s != split)}")
    if lengths_N2 is not None:
        tokens, num_buckets = _for_buckets(batching)
        buckets = length_buckets(lengths_N2[:num_examples], tokens, min(EVAL_BUCKETS, num_buckets), ROW_MULTIPLE)
        return BucketPlan(buckets, None)
    shape = _one_shape(task, split)
    rows = min(batching.rows(shape), -(-num_examples // ROW_MULTIPLE) * ROW_MULTIPLE)
    return BucketPlan(single_bucket(num_examples, rows, shape), None)


def train_batches(task: Task, batching: Batching, *, start: int = 0, plan: Plan | None = None) -> Batches[Batch]:
    """Batches `start`, `start + 1`, ... of training, without end; `plan` is its `train_plan`, if made already."""
    plan = plan or train_plan(task, batching)
    return _stream(_drawing(task, "train", batching.seed, plan), plan, start, ENDLESS, batching.workers)


def one_of_each_shape(task: Task, batching: Batching, plan: Plan, *, start: int = 0) -> Iterator[Batch]:
    """A batch of each shape, in the order in which training from `start` on will use them."""
    draw = _drawing(task, "train", batching.seed, plan)
    seen: set[tuple[int, int, int]] = set()
    for k in itertools.count(start):
        if len(seen) == len(set(plan.shapes)):
            return
        index_B, shape = plan.batch(k)
        if (of := (len(index_B), *shape)) not in seen:
            seen.add(of)
            yield from draw(k, k + 1)


def eval_batches(task: Task, split: str, batching: Batching, *, limit: int = 0) -> Batches[Batch]:
    """Every example of the split exactly once, in the order of buckets; `index` tells which is which."""
    plan = eval_plan(task, split, batching, limit=limit)
    return _stream(_drawing(task, split, batching.seed, plan), plan, 0, plan.num_batches, 0)


def _drawing(task: Task, split: str, seed: int, plan: Plan) -> Callable[[int, int], list[Batch]]:
    """Returns (first, stop) -> batches first, ..., stop - 1; neighbours of one shape are drawn together."""

    def draw(first: int, stop: int) -> list[Batch]:
        batches: list[Batch] = []
        planned = [plan.batch(k) for k in range(first, stop)]
        for shape, group in itertools.groupby(planned, key=lambda one: (len(one.index_B), one.shape)):
            index = [one.index_B for one in group]
            together = task.batch(split, seed, np.concatenate(index), shape[1])
            rows = len(index[0])
            batches += [take(together, slice(n * rows, (n + 1) * rows)) for n in range(len(index))]
        return batches

    return draw


def _stream(draw: Callable[[int, int], list[Made]], plan: Plan, start: int, stop: int, workers: int) -> Batches[Made]:
    """Batches `start` to `stop` - 1, made ahead by a thread or by worker processes."""
    together = max(1, DRAWN_AT_ONCE // len(plan.batch(start).index_B)) if start < stop else 1

    def make(first: int | np.integer) -> list[Made]:
        return draw(int(first), min(int(first) + together, stop))

    dataset = grain.MapDataset.range(start, stop, together).map(make)
    ahead = max(2, PREFETCH // together)
    if workers:
        if FREED not in sys.warnoptions:
            sys.warnoptions.append(FREED)
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()  # Grain reads its own flags, also where no absl app runs
        read = grain.ReadOptions(num_threads=1, prefetch_buffer_size=2)
        options = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=ahead)
        return Batches(iter(dataset.to_iter_dataset(read).mp_prefetch(options)))
    return Batches(iter(dataset.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=ahead))))


def _varied_lengths(task: Task, split: str) -> np.ndarray | None:
    """(N, 2) lengths for buckets; None where every example of the split has the same shape."""
    lengths_N2 = task.lengths(split)
    return None if lengths_N2 is None or len(lengths_N2) != task.num_examples(split) else lengths_N2


def _one_shape(task: Task, split: str) -> Shape:
    lengths_N2 = task.lengths(split)
    if lengths_N2 is None:
        return task.spec.max_source_length, task.spec.max_target_length
    return int(lengths_N2[0, 0]), int(lengths_N2[0, 1])


def _for_buckets(batching: Batching) -> tuple[int, int]:
    """Tokens per batch, and the number of shapes."""
    tokens = _given("tokens_per_batch", batching.tokens_per_batch)
    return tokens, _given("data.num_buckets", batching.num_buckets)


def _given(key: str, value: int | None) -> int:
    if value is None:
        raise ValueError(f"{key} is missing from the config; this task needs it")
    return value


def _positive(key: str, value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{key} = {value!r} is not a positive whole number; use 1 or more")
    return value
