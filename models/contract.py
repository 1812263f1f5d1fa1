"""The one contract: what pipeline, step, decoding and probes know of an architecture.

Dims: B batch, S source length, T target length, P prefix length, V outputs per position.

    model = models.build(name, config.model, spec, key)
    output = model(source, source_mask, target_in, key=None, carry=None, taps=None)
    logits = model.logits(output.readout)  # output.logits once more, or those of some positions
    memory, state = model.start(source, source_mask, max_len, prefix=None, prefix_mask=None)
    logits_BV, state = model.step(token_B, t, memory, state)
"""

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from models.options import EVERY, Options
from models.shapes import Array, Bool, Float, Int, Key, Num


class Spec(Protocol):
    """What a model may know of its task (`data/spec.py` has the fields' meaning)."""

    def __hash__(self) -> int: ...  # programs are shared by specs

    @property
    def source(self) -> str: ...  # "tokens", "features" or "none"
    @property
    def source_size(self) -> int: ...
    @property
    def target_size(self) -> int: ...
    @property
    def output(self) -> str: ...  # "tokens", "classes" or "real"
    @property
    def output_size(self) -> int: ...
    @property
    def loss(self) -> str: ...  # "cross_entropy" or "mse"
    @property
    def layout(self) -> str: ...  # one of LAYOUTS
    @property
    def free_running(self) -> bool: ...  # target_in is the target, shifted
    @property
    def shared_vocabulary(self) -> bool: ...
    @property
    def max_source_length(self) -> int: ...
    @property
    def max_target_length(self) -> int: ...
    @property
    def trained_lengths(self) -> tuple[int, int]: ...
    @property
    def pad(self) -> int: ...
    @property
    def bos(self) -> int: ...
    @property
    def eos(self) -> int | None: ...


Taps = Mapping[str, Array | None]
"""What to capture, by name. None captures; an array is added to the tapped value first, so that the
gradient with respect to a zero array is the gradient with respect to that value. A scan carries both
as its own inputs and outputs. `Architecture.tap_names()` lists the names."""


class Output(NamedTuple):
    logits: Float[Array, "B T V"]  # float32, or predictions where the task's output is real
    carry: Any  # the final decoder state, to stream the next chunk of target; None where unsupported
    taps: dict[str, Array]  # what was captured, in full-length arrays
    readout: Num[Array, "B T R"]  # what the output layer read: logits = model.logits(readout)


class Counted(NamedTuple):
    nll: float  # nats a token of the text that was counted
    notes: list[str]  # what a user should know of it


LAYOUTS = {
    "sequence": "a sequence of answers of its own length",
    "aligned": "an answer at each source position",
    "label": "one answer for the whole source",
}
"""Where a task's answers stand (`Spec.layout`), in words."""


class Architecture(nnx.Module):
    """Base of every entry of `MODELS`. Parameters are `nnx.Param`; nothing else is kept on `self`."""

    causal: ClassVar[bool] = True  # no output sees a later target_in
    decodes: ClassVar[bool] = True  # has `start` and `step`
    needs_source: ClassVar[bool] = False  # cannot run where spec.source == "none"
    layouts: ClassVar[tuple[str, ...]] = tuple(LAYOUTS)  # where its answers can stand
    takes_source: ClassVar[bool] = True  # can run elsewhere
    ahead: ClassVar[int] = 0  # tokens of its own that stand before the source
    counted: ClassVar[bool] = False  # trained by counting: `count`, and no gradient

    def __init__(self, config: ConfigDict, spec: Spec, rngs: nnx.Rngs):
        """Draws parameters through `rngs.params()`. Raises ValueError for values that do not fit."""
        raise NotImplementedError

    @classmethod
    def options(cls) -> Options:
        """The config keys; an architecture with keys of its own adds them to `EVERY`."""
        return EVERY

    def __call__(
        self,
        source: Num[Array, "B S"] | Float[Array, "B S W"],
        source_mask: Bool[Array, "B S"],
        target_in: Int[Array, "B T"],
        *,
        key: Key[Array, ""] | None = None,
        carry: Any = None,
        taps: Taps | None = None,
    ) -> Output:
        """Teacher-forced logits. `key` drives dropout; no key means deterministic."""
        raise NotImplementedError

    def logits(self, readout: Num[Array, "... R"]) -> Float[Array, "... V"]:
        """The output layer alone, for `step` and for a loss that wants few positions' logits at a time.

        `Embedded` (`models/layers.py`) has it.
        """
        raise NotImplementedError

    def start(
        self,
        source: Num[Array, "B S"] | Float[Array, "B S W"],
        source_mask: Bool[Array, "B S"],
        max_len: int,
        prefix: Int[Array, "B P"] | None = None,
        prefix_mask: Bool[Array, "B P"] | None = None,
    ) -> tuple[Any, Any]:
        """Encodes the source and the `prefix` of target_in that is already known.

        Returns (memory, state). `memory` never changes while decoding; every leaf of both leads with
        the batch axis, so that a beam can repeat memory and reorder state. At most `max_len` calls of
        `step` may follow; a greater `max_len` changes nothing but the length of the state's axes, which it
        fills up with zeros at their ends.
        """
        raise NotImplementedError

    def step(
        self, token_B: Int[Array, "B"], t: Int[Array, ""], memory: Any, state: Any
    ) -> tuple[Float[Array, "B V"], Any]:
        """Feeds target_in position `len(prefix) + t` (t counts from 0) and returns its logits."""
        raise NotImplementedError

    def count(self, tokens_N: np.ndarray) -> Counted:
        """Where `counted`: becomes the model of a text, given as target ids, whatever it was. Arrays change shape."""
        raise NotImplementedError

    def tap_names(self) -> tuple[str, ...]:
        """The names that `taps` accepts, such as `decoder.0.hidden` or `decoder.0.attention`."""
        return ()
