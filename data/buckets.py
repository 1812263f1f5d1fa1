"""Length buckets: few static shapes that hold examples of many lengths with little padding.

A bucket is a static shape (rows, S, T) and the examples that it serves, so each bucket compiles once; a
budget of tokens a batch sets its rows.

Dims: N examples, C cells (different pairs of lengths), G shapes.
"""

import dataclasses
import heapq

import numpy as np

FAR = 1 << 40  # tokens: the cost of a shape that an example does not fit


@dataclasses.dataclass(frozen=True)
class Bucket:
    rows: int
    shape: tuple[int, int]
    examples: np.ndarray  # int64, ascending

    @property
    def num_batches(self) -> int:
        return -(-len(self.examples) // self.rows)


def single_bucket(num_examples: int, rows: int, shape: tuple[int, int]) -> list[Bucket]:
    """Examples of one shape."""
    return [Bucket(rows, shape, np.arange(num_examples))]


def length_buckets(
    lengths_N2: np.ndarray, tokens_per_batch: int, num_buckets: int, row_multiple: int = 8
) -> list[Bucket]:
    """At most `num_buckets` shapes with little padding, for int lengths (N, 2) of source and target.

    An example goes to the smallest shape (S + T) that holds it. Shapes are chosen one by one, each the one
    that saves most padding beside those before it, then moved while that saves more. A bucket's rows are a
    multiple of `row_multiple` with rows * S and rows * T within `tokens_per_batch`, or `row_multiple` where
    its longest example leaves no room for more.
    """
    lengths_N2 = np.asarray(lengths_N2, np.int64)
    cells_C2, cell_N, count_C = np.unique(_levels(lengths_N2), axis=0, return_inverse=True, return_counts=True)
    shapes_G2 = _move(cells_C2, count_C, _choose(cells_C2, count_C, num_buckets, row_multiple))
    shapes_G2 = shapes_G2[np.argsort(shapes_G2.sum(axis=1), kind="stable")]
    shape_N = _cost(cells_C2, shapes_G2).argmin(axis=1)[cell_N.reshape(-1)]
    buckets = []
    for number, shape in enumerate(shapes_G2):
        examples = np.flatnonzero(shape_N == number)
        if not len(examples):
            continue
        most = max(tokens_per_batch // max(*shape, 1) // row_multiple, 1) * row_multiple
        larger_NG = _cost(lengths_N2[examples], shapes_G2[number + 1 :])
        rows, moved = _rows(larger_NG.min(axis=1, initial=FAR) - shape.sum(), int(shape.sum()), most, row_multiple)
        shape_N[examples[moved]] = number + 1 + larger_NG[moved].argmin(axis=1) if len(moved) else number
        examples = np.delete(examples, moved)
        if len(examples):
            source, target = (int(length) for length in lengths_N2[examples].max(axis=0))
            buckets.append(Bucket(rows, (source, target), examples))
    return sorted(buckets, key=lambda bucket: bucket.shape)


def check_budget(lengths_N2: np.ndarray, tokens_per_batch: int, row_multiple: int = 8) -> None:
    """Raises ValueError if the longest example leaves no room for `row_multiple` rows."""
    longest = int(np.max(lengths_N2, initial=0))
    if tokens_per_batch < row_multiple * longest:
        raise ValueError(
            f"tokens_per_batch = {tokens_per_batch} has no room for {row_multiple} rows of the longest example "
            f"({longest} tokens); use {row_multiple * longest} or more, or lower data.max_length"
        )


def _rows(extra_N: np.ndarray, size: int, most: int, multiple: int) -> tuple[int, np.ndarray]:
    """Rows of a bucket's batches, at most `most`, and which of its examples to move to a larger shape.

    `extra_N` is what moving an example costs in tokens, `size` what a row costs. What is left over after
    whole batches either moves or is filled up with empty rows, whichever wastes less.
    """
    num_examples = len(extra_N)
    cheapest = np.argsort(extra_N, kind="stable")
    moving = np.concatenate([[0], np.cumsum(extra_N[cheapest])])
    most = min(most, -(-num_examples // multiple) * multiple)
    options = [(int(moving[-1]), 0, num_examples)]  # (waste, -rows, how many move)
    for rows in range(most, max(int(0.75 * most) // multiple, 1) * multiple - 1, -multiple):
        left = num_examples % rows
        options.append((-num_examples % rows * size, -rows, 0))
        if left < num_examples:
            options.append((int(moving[left]), -rows, left))
    _, negative_rows, left = min(options)
    return -negative_rows, cheapest[:left]


def _levels(lengths_N2: np.ndarray, most: int = 64) -> np.ndarray:
    """Lengths rounded up to at most `most` different ones per side, which bounds the search below."""
    rounded = np.empty_like(lengths_N2)
    for side in (0, 1):
        values = np.unique(lengths_N2[:, side])
        levels = values[np.unique(np.linspace(0, len(values) - 1, most).round().astype(int))]
        rounded[:, side] = levels[np.searchsorted(levels, lengths_N2[:, side])]
    return rounded


def _cost(cells_C2: np.ndarray, shapes_G2: np.ndarray) -> np.ndarray:
    """(C, G) tokens that one example of a cell takes in a shape; a huge number if it does not fit."""
    fits_CG = (cells_C2[:, None] <= shapes_G2).all(axis=2)
    return np.where(fits_CG, shapes_G2.sum(axis=1), FAR)


def _choose(cells_C2: np.ndarray, count_C: np.ndarray, num_shapes: int, row_multiple: int) -> np.ndarray:
    """Greedy shapes (G, 2), the first holding everything. The gain of a shape only falls as others join, so a candidate
    whose old gain is not the greatest need not be evaluated again (lazy greedy, Minoux 1978)."""
    shapes = [cells_C2.max(axis=0)]
    cost_C = np.full(len(cells_C2), shapes[0].sum())
    (sources, source_C), (targets, target_C) = (np.unique(cells_C2[:, side], return_inverse=True) for side in (0, 1))
    held_ST = np.zeros((len(sources), len(targets)), np.int64)
    held_ST[source_C, target_C] = count_C
    held_ST = held_ST.cumsum(axis=0).cumsum(axis=1)
    size_ST = sources[:, None] + targets
    gain_ST = held_ST * (cost_C[0] - size_ST) - row_multiple * size_ST  # the filler that one more bucket may bring
    candidates = [(-int(gain_ST[i, j]), int(sources[i]), int(targets[j])) for i, j in np.argwhere(gain_ST > 0)]
    heapq.heapify(candidates)
    while candidates and len(shapes) < num_shapes:
        _, source, target = heapq.heappop(candidates)
        size, inside_C = source + target, (cells_C2 <= (source, target)).all(axis=1)
        gain = int((np.maximum(cost_C - size, 0) * count_C)[inside_C].sum()) - row_multiple * size
        if candidates and gain < -candidates[0][0]:
            heapq.heappush(candidates, (-gain, source, target))
        elif gain > 0:
            shapes.append(np.array([source, target]))
            cost_C = np.where(inside_C, np.minimum(cost_C, size), cost_C)
        else:
            break
    return np.array(shapes)


def _move(cells_C2: np.ndarray, count_C: np.ndarray, shapes_G2: np.ndarray) -> np.ndarray:
    """Moves one shape at a time to a neighbouring size while that saves tokens. The first shape stays."""
    shapes_G2 = shapes_G2.copy()
    moves = [np.array([ds, dt]) for ds in range(-2, 3) for dt in range(-2, 3)]
    least, moved = (_cost(cells_C2, shapes_G2).min(axis=1) * count_C).sum(), True
    while moved:
        moved = False
        for i in range(1, len(shapes_G2)):
            others_C = _cost(cells_C2, np.delete(shapes_G2, i, axis=0)).min(axis=1)
            for move in moves:
                candidate = shapes_G2[i] + move
                tokens = (np.minimum(others_C, _cost(cells_C2, candidate[None])[:, 0]) * count_C).sum()
                if tokens < least:
                    least, shapes_G2[i], moved = tokens, candidate, True
    return shapes_G2
