"""Free-running outputs for whole splits and for single lines, over models/decoding.py.

Dims: B batch, N decoded length.
"""

import functools
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from data.batch import Batch
from models.contract import Architecture
from models.decoding import decoder

LONGER = 50  # tokens that a translation may be longer than its source (Vaswani et al. 2017, section 6.1)
TIMES = 2  # or so many times as long, which matters where tokens are characters

_decoder = functools.lru_cache(maxsize=16)(decoder)  # generators of one method share what was compiled


class Generator:
    """Decodes batches with one method and its options; each set of shapes compiles once."""

    def __init__(self, model: Architecture, spec: Any, method: str = "greedy", *, seed: int = 0, **options):
        self._model, self._spec, self._sampled = model, spec, method == "sample"
        self._key = jax.random.key(seed)
        self._decode = _decoder(method, bos=spec.bos, eos=spec.eos, pad=spec.pad, **options)

    def __call__(self, batch: Batch, *, number: int = 0) -> np.ndarray:
        """(B, N) token ids; without an end-of-sequence token, as many as the target is long."""
        spec, arrays = self._spec, {}
        if spec.eos is None:
            max_len = batch["target_out"].shape[1]
        else:
            max_len = -(-_limit(batch["source_mask"].shape[1]) // 8) * 8  # few different lengths to compile
            arrays["limit"] = jnp.asarray(_limit(batch["source_mask"].sum(1)))
        if self._sampled:
            arrays["key"] = jax.random.fold_in(self._key, number)
        source, mask = jnp.asarray(batch["source"]), jnp.asarray(batch["source_mask"])
        return np.asarray(self._decode(self._model, source, mask, max_len=max_len, **arrays).tokens)

    def continuations(self, prompts: Sequence[np.ndarray], max_len: int) -> np.ndarray:
        """(B, max_len) token ids that a language model writes after each prompt."""
        longest = max(len(ids) for ids in prompts) + 1
        prefix, mask = (
            np.full((len(prompts), longest), self._spec.pad, np.int32),
            np.zeros((len(prompts), longest), bool),
        )
        for row, seen, ids in zip(prefix, mask, prompts, strict=True):
            row[: len(ids) + 1], seen[: len(ids) + 1] = [self._spec.bos, *ids], True
        nothing = jnp.zeros((len(prompts), 0), jnp.int32)
        arrays = {"prefix": jnp.asarray(prefix), "prefix_mask": jnp.asarray(mask)}
        if self._sampled:
            arrays["key"] = self._key
        return np.asarray(self._decode(self._model, nothing, nothing > 0, max_len=max_len, **arrays).tokens)

    def split(self, batches: Iterable[Batch]) -> dict[int, np.ndarray]:
        """Token ids by example index."""
        found: dict[int, np.ndarray] = {}
        for number, batch in enumerate(batches):
            tokens_BN = self(batch, number=number)
            found |= {int(i): row for i, row in zip(batch["index"], tokens_BN, strict=False) if i >= 0}
        return found


def _limit(source_length: Any) -> Any:
    return np.maximum(source_length + LONGER, TIMES * source_length)


def source_batch(task: Any, lines: Sequence[str]) -> Batch:
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
