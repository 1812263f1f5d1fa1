"""Free-running outputs for whole splits and for single lines, over models/decoding.py.

Dims: B batch, N decoded length.
"""

import dataclasses
import functools
from collections.abc import Iterable, Sequence
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
from training.machine import mesh as meshes

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
    """A beam, or greedy decoding where it is of 1."""
    return Beam(beam_size, length_penalty) if beam_size > 1 else GREEDY


class Generator:
    """Decodes batches in one way; each set of shapes compiles once.

    The rows of a batch are shared out between the devices of a single process, but for sampling, whose draws are
    to stay the same on any number of devices.
    """

    def __init__(self, model: Architecture, spec: Spec, decoding: Decoding = GREEDY):
        self._spec, self._sampled = spec, isinstance(decoding, Sample)
        options = dataclasses.asdict(decoding)
        self._key = jax.random.key(options.pop("seed", 0))
        self._mesh: Mesh | None = None
        if jax.device_count() > 1 and jax.process_count() == 1 and not self._sampled:
            self._mesh = meshes.make()
            graph, state = nnx.split(model)
            model = nnx.merge(graph, jax.device_put(state, meshes.replicated(self._mesh)))
        self._model = model
        self._decode = _decoder(decoding.method, bos=spec.bos, eos=spec.eos, pad=spec.pad, mesh=self._mesh, **options)

    def __call__(self, batch: Batch, *, number: int = 0) -> np.ndarray:
        """(B, N) token ids; without an end-of-sequence token, as many as the target is long."""
        return np.asarray(self._start(batch, number).tokens)[: len(batch["index"])]

    def _start(self, batch: Batch, number: int) -> Decoded:
        """Hands the batch to the devices and does not wait for them."""
        spec, arrays = self._spec, dict[str, jax.Array | np.ndarray]()
        if self._mesh:
            batch = pad_rows(batch, self._mesh.size)
        max_len, expected_len = batch["target_out"].shape[1], None
        if spec.eos is not None:
            longest = batch["source_mask"].shape[1]
            max_len, expected_len = _round_up(int(_limit(longest))), _round_up(longest + MARGIN)
            # A row that only fills the shape would be searched to its limit, and keep the others waiting.
            arrays["limit"] = np.where(batch["index"] < 0, 0, _limit(batch["source_mask"].sum(1)))
        if self._sampled:
            arrays["key"] = jax.random.fold_in(self._key, number)
        source, mask = jnp.asarray(batch["source"]), jnp.asarray(batch["source_mask"])
        return self._decode(self._model, source, mask, max_len=max_len, expected_len=expected_len, **arrays)

    def continuations(self, prompts: Sequence[np.ndarray], max_len: int) -> np.ndarray:
        """(B, max_len) token ids that a language model writes after each prompt."""
        fillers = -len(prompts) % (self._mesh.size if self._mesh else 1)
        rows, longest = len(prompts) + fillers, max(len(ids) for ids in prompts) + 1
        prefix, mask = np.full((rows, longest), self._spec.pad, np.int32), np.zeros((rows, longest), bool)
        for row, seen, ids in zip(prefix, mask, prompts, strict=False):
            row[: len(ids) + 1], seen[: len(ids) + 1] = [self._spec.bos, *ids], True
        nothing = jnp.zeros((rows, 0), jnp.int32)
        arrays: dict[str, jax.Array] = {"prefix": jnp.asarray(prefix), "prefix_mask": jnp.asarray(mask)}
        if fillers:
            arrays["limit"] = jnp.where(jnp.arange(rows) < len(prompts), max_len, 0)
        if self._sampled:
            arrays["key"] = self._key
        decoded = self._decode(self._model, nothing, nothing > 0, max_len=max_len, **arrays)
        return np.asarray(decoded.tokens)[: len(prompts)]

    def split(self, batches: Iterable[Batch]) -> dict[int, np.ndarray]:
        """Token ids by example index; the devices work one batch ahead."""
        found: dict[int, np.ndarray] = {}
        waiting: tuple[Batch, Decoded] | None = None
        for number, batch in enumerate(batches):
            following = batch, self._start(batch, number)
            found |= _by_index(waiting)
            waiting = following
        return found | _by_index(waiting)


def _by_index(decoded: tuple[Batch, Decoded] | None) -> dict[int, np.ndarray]:
    """Waits for a batch, and leaves out the rows that only filled its shape."""
    if decoded is None:
        return {}
    batch, tokens_BN = decoded[0], np.asarray(decoded[1].tokens)
    return {int(i): row for i, row in zip(batch["index"], tokens_BN, strict=False) if i >= 0}


def _round_up(length: int) -> int:
    return -(-length // 8) * 8  # few different lengths to compile


def _limit(source_length: int | np.ndarray) -> np.ndarray:
    return np.maximum(source_length + LONGER, TIMES * source_length)


def source_batch(task: Translation, lines: Sequence[str]) -> Batch:
    """A batch of source lines whose target is not known."""
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
        "index": np.arange(len(lines), dtype=np.int32),
    }
