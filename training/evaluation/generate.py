"""Free-running outputs for whole splits and for single lines, over models/decoding.py.

Dims: B batch, N decoded length.
"""

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from data.batch import Batch, pad_rows
from data.tasks.translation import Translation
from models.contract import Architecture, Spec
from models.decoding import Decoded, decoder
from training.evaluation import untrained_positions
from training.machine import mesh as meshes
from training.machine import programs

LONGER = 50  # tokens that a translation may be longer than its source (Vaswani et al. 2017, section 6.1)
MARGIN = 4  # tokens that most translations are longer than the longest source of their batch, at most
TIMES = 2  # or so many times as long, which matters where tokens are characters

_decoder = functools.lru_cache(maxsize=16)(decoder)  # generators of one method share what was compiled


@dataclasses.dataclass(frozen=True)
class Greedy:
    """The most probable token at each position."""

    method: ClassVar[str] = "greedy"


@dataclasses.dataclass(frozen=True)
class Beam:
    """The best of several hypotheses; `length_penalty` is the exponent of ((5 + length) / 6)."""

    method: ClassVar[str] = "beam"
    beam_size: int = 5
    length_penalty: float = 0.6


@dataclasses.dataclass(frozen=True)
class Sample:
    """Tokens drawn at a temperature, from the `top_k` most probable (0: all) and those that hold `top_p`."""

    method: ClassVar[str] = "sample"
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0


Decoding = Greedy | Beam | Sample
GREEDY = Greedy()


def search(beam_size: int, length_penalty: float = 0.6) -> Decoding:
    """Beam search, or greedy decoding for a beam of 1."""
    return Beam(beam_size, length_penalty) if beam_size > 1 else GREEDY


def named(decoding: Decoding) -> str:
    """A short name of a decoding, such as `greedy`, `beam_size10`, `sample-temperature0.5-seed3`, without defaults."""
    differing = [field for field in dataclasses.fields(decoding) if getattr(decoding, field.name) != field.default]
    words = [f"{field.name}{getattr(decoding, field.name):.15g}" for field in differing]
    return "-".join([*([] if isinstance(decoding, Beam) else [decoding.method]), *words])


class Generator:
    """Decodes batches in one way; each set of shapes compiles once.

    The rows of a batch are shared out between the devices of a single process. Each has `outputs` that follow each
    other: draws of a sample, or the best of a beam, the best first. A draw depends on the seed, the row's example and
    which of its draws it is, and on nothing else.
    """

    def __init__(self, model: Architecture, spec: Spec, decoding: Decoding = GREEDY, *, outputs: int = 1):
        self._spec, self._outputs, self._positions = spec, outputs, untrained_positions.tables(model)
        self._draws = outputs if isinstance(decoding, Sample) else 0
        options = dataclasses.asdict(decoding)
        if isinstance(decoding, Beam):
            options["num_best"] = outputs
        self._key = jax.random.key(options.pop("seed", 0))
        self._mesh: Mesh | None = None
        if jax.device_count() > 1 and jax.process_count() == 1:
            self._mesh = meshes.make()
            graph, state = nnx.split(model)
            model = nnx.merge(graph, jax.device_put(state, meshes.replicated(self._mesh)))
        self._model = model
        options |= {"bos": spec.bos, "eos": spec.eos, "pad": spec.pad}
        self._decode = _decoder(decoding.method, self._mesh, programs.check_decoding, **options)

    def __call__(self, batch: Batch) -> Decoded:
        """Token ids and scores of each row; without an end-of-sequence token, as many ids as the target is long."""
        decoded = self._fetch(self._start(batch), len(batch["index"]))
        self._check_positions(int(batch["source_mask"].sum(1).max(initial=0)), decoded.tokens)
        return decoded

    def _check_positions(self, source_length: int, tokens_BN: jax.Array, prompt_length: int = 0) -> None:
        written = int((np.asarray(tokens_BN) != self._spec.pad).sum(1).max(initial=0))
        untrained_positions.check(self._positions, source_length, prompt_length + written)

    def _start(self, batch: Batch) -> Decoded:
        """Hands the batch to the devices without waiting for them."""
        spec, arrays = self._spec, dict[str, np.ndarray]()
        if self._mesh:
            batch = pad_rows(batch, self._mesh.size)
        max_len, expected_len = batch["target_out"].shape[1], None
        if spec.eos is not None:
            longest = batch["source_mask"].shape[1]
            max_len, expected_len = _round_up(int(_limit(longest))), _round_up(longest + MARGIN)
            # A row that only fills the shape would be searched to its limit, and keep the others waiting.
            arrays["limit"] = np.where(batch["index"] < 0, 0, _limit(batch["source_mask"].sum(1)))
        return self._run(batch["source"], batch["source_mask"], batch["index"], arrays, max_len, expected_len)

    def continuations(self, prompts: Sequence[np.ndarray], max_len: int, *, first: int = 0) -> Decoded:
        """At most `max_len` token ids that a language model writes after each prompt; `first` numbers the prompts."""
        fillers = -len(prompts) % (self._mesh.size if self._mesh else 1)
        rows, longest = len(prompts) + fillers, max(len(ids) for ids in prompts) + 1
        prefix, mask = np.full((rows, longest), self._spec.pad, np.int32), np.zeros((rows, longest), bool)
        for row, seen, ids in zip(prefix, mask, prompts, strict=False):
            row[: len(ids) + 1], seen[: len(ids) + 1] = [self._spec.bos, *ids], True
        nothing, index = np.zeros((rows, 0), np.int32), np.arange(rows)
        arrays = {"prefix": prefix, "prefix_mask": mask}
        if fillers:
            arrays["limit"] = np.where(index < len(prompts), max_len, 0)
        decoded = self._fetch(self._run(nothing, nothing > 0, first + index, arrays, max_len), len(prompts))
        self._check_positions(0, decoded.tokens, longest - 1)
        return decoded

    def _run(self, source, mask, index, arrays, max_len: int, expected_len: int | None = None) -> Decoded:
        if self._draws:
            source, mask, index, arrays = jax.tree.map(
                lambda rows: np.repeat(rows, self._draws, axis=0), (source, mask, index, arrays)
            )
            draw = np.tile(np.arange(self._draws), len(index) // self._draws)
            arrays["key"] = _keys(self._key, np.maximum(index, 0), draw)
        source, mask, arrays = jax.tree.map(jnp.asarray, (source, mask, arrays))
        return self._decode(self._model, source, mask, max_len=max_len, expected_len=expected_len, **arrays)

    def _fetch(self, decoded: Decoded, rows: int) -> Decoded:
        """Waits, and drops the rows that only filled the devices."""
        return jax.tree.map(lambda array: np.asarray(array)[: rows * self._outputs], decoded)

    def split(self, batches: Iterable[Batch]) -> dict[int, np.ndarray]:
        """Token ids of the first output by example index; the devices work one batch ahead."""
        found: dict[int, np.ndarray] = {}
        waiting: tuple[Batch, Decoded] | None = None
        for batch in batches:
            following = batch, self._start(batch)
            found |= self._by_index(waiting)
            waiting = following
        return found | self._by_index(waiting)

    def _by_index(self, decoded: tuple[Batch, Decoded] | None) -> dict[int, np.ndarray]:
        """Waits for a batch, and drops the rows that only filled its shape."""
        if decoded is None:
            return {}
        index_B = decoded[0]["index"]
        tokens_BN = self._fetch(decoded[1], len(index_B)).tokens[:: self._outputs]
        self._check_positions(0, tokens_BN)
        return {int(i): row for i, row in zip(index_B, tokens_BN, strict=True) if i >= 0}


@jax.jit
def _keys(key: jax.Array, index_B: np.ndarray, draw_B: np.ndarray) -> jax.Array:
    fold = jax.vmap(jax.random.fold_in)
    return fold(jax.vmap(jax.random.fold_in, (None, 0))(key, index_B), draw_B)


def _round_up(length: int) -> int:
    return -(-length // 8) * 8  # few different lengths to compile


def _limit(source_length: int | np.ndarray) -> np.ndarray:
    return np.maximum(source_length + LONGER, TIMES * source_length)


def at_limit(tokens: Mapping[int, np.ndarray], batches: Iterable[Batch], spec: Spec) -> list[int]:
    """The examples whose output was cut off where decoding ends, by index."""
    found = []
    for batch in batches:
        limit_B = _limit(batch["source_mask"].sum(1))
        for index, limit in zip(batch["index"].tolist(), limit_B.tolist(), strict=True):
            if index >= 0 and spec.eos not in tokens[index] and (tokens[index] != spec.pad).sum() >= limit:
                found.append(index)
    return found


def source_batch(task: Translation, lines: Sequence[str], *, first: int = 0) -> Batch:
    """A batch of source lines without known targets; `first` is the number of the first line."""
    encoded = task.encode_source(lines)
    length = -(-max(len(ids) for ids in encoded) // 8) * 8
    source = np.full((len(lines), length), task.spec.pad, np.int32)
    for row, ids in zip(source, encoded, strict=True):
        row[: len(ids)] = ids
    lengths = np.array([len(ids) for ids in encoded])
    empty = np.zeros((len(lines), 1), np.int32)
    return {
        "source": source,
        "source_mask": np.arange(length) < lengths[:, None],
        "target_in": empty,
        "target_out": empty,
        "target_weights": empty.astype(np.float32),
        "distance": empty - 1,
        "index": first + np.arange(len(lines), dtype=np.int32),
    }
