"""Temporal order: two marked symbols far apart in noise; say which came first and which second.

Hochreiter and Schmidhuber 1997, experiment 6a; the form of Pascanu et al. 2013, section 4.
Dims: B examples, S source length, T = 1 target length.

    source      noise X noise Y noise        noise is any of four symbols
    target_in   bos
    target_out  XX, XY, YX or YY as class 0 to 3

Ids: pad, bos, eos, X, Y, then the noise. Chance is 1/4. Distance is that to the first of the two.
`positions` = "pascanu" puts the first in [0.1 S, 0.2 S) and the second in [0.5 S, 0.6 S); "anywhere" makes the
first uniform over the source and the second uniform after it.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from data import checks, random
from data.spec import Spec
from data.tasks.synthetic import BOS, FIRST, Examples, Synthetic

FIRST_NOISE, NUM_NOISE = FIRST + 2, 4


class TemporalOrder(Synthetic):
    def __init__(self, config: Mapping[str, Any], tokenizer_dir: str | None = None):
        super().__init__(config)
        positions = checks.choice(config, "positions", ("anywhere", "pascanu"))
        self.fixed_windows = positions == "pascanu"
        shortest, why = (10, "each window is a tenth of it") if self.fixed_windows else (2, "two symbols")
        self.length = length = checks.integer(config, "length", shortest, why=why)
        self.first_window = (length // 10, length // 5) if self.fixed_windows else (0, length - 1)
        self.second_window = (length // 2, length * 6 // 10)
        self.spec = Spec(
            source="tokens",
            source_size=FIRST_NOISE + NUM_NOISE,
            target_size=FIRST,
            output="classes",
            output_size=4,
            max_source_length=length,
            max_target_length=1,
            layout="label",
        )
        self.chance = {"token_accuracy": 0.25, "loss": float(np.log(4))}
        self.distances = np.sort(length - np.arange(*self.first_window))

    def draw(self, split: str, key_B: np.ndarray, index_B: np.ndarray) -> Examples:
        rows, (low, high) = len(key_B), self.first_window
        first_B1 = low + self.place(split, key_B, 1, index_B, high - low)[:, None]
        start_B1, end = first_B1 + 1, self.length
        if self.fixed_windows:
            start_B1, end = np.full_like(first_B1, self.second_window[0]), self.second_window[1]
        second_B1 = start_B1 + random.integers(key_B, 2, 1, end - start_B1)
        marked_B2 = random.integers(key_B, 3, 2, 2)
        source_BS = FIRST_NOISE + random.integers(key_B, 4, self.length, NUM_NOISE)
        np.put_along_axis(source_BS, np.concatenate([first_B1, second_B1], axis=1), FIRST + marked_B2, axis=1)
        return Examples(
            source_BS,
            target_in=np.full((rows, 1), BOS),
            target_out=marked_B2[:, :1] * 2 + marked_B2[:, 1:],
            weights=np.ones((rows, 1)),
            distance=self.length - first_B1,
            source_length=np.full(rows, self.length),
            space=np.full(rows, 2.0 * (self.length - 1)),
        )
