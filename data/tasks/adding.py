"""The adding problem: the sum of the two marked numbers of a long list.

Hochreiter and Schmidhuber 1997, experiment 4; the form of Le et al. 2015 and Arjovsky et al. 2016.
Dims: B examples, S source length, T = 1 target length.

    source      (value, marker) at each position; values uniform in [0, 1), two markers are 1
    target_in   bos
    target_out  the sum of the two marked values

Scored by squared error. Chance is that of the constant 1: the variance of two uniform numbers, 1/6.
Distance is that to the older of the two marked values. `positions` = "halves" puts one marker in each
half (Arjovsky et al. 2016); "anywhere" makes the older one uniform over the list and the younger one
uniform after it.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from data import checks, random
from data.spec import Spec
from data.tasks.synthetic import BOS, FIRST, Examples, Synthetic


class Adding(Synthetic):
    def __init__(self, config: Mapping[str, Any], tokenizer_dir: str | None = None):
        super().__init__(config)
        self.length = checks.integer(config, "length", 2, why="two marked values")
        self.positions = checks.choice(config, "positions", ("anywhere", "halves"))
        self.num_older = self.length // 2 if self.positions == "halves" else self.length - 1
        self.spec = Spec(
            source="features",
            source_size=2,
            target_size=FIRST,
            output="real",
            output_size=1,
            max_source_length=self.length,
            max_target_length=1,
            layout="label",
            loss="mse",
        )
        self.chance = {"loss": 1 / 6}
        self.distances = self.length - np.arange(self.num_older)[::-1]

    def draw(self, split: str, key_B: np.ndarray, index_B: np.ndarray) -> Examples:
        rows = len(key_B)
        older_B1 = self.place(split, key_B, 1, index_B, self.num_older)[:, None]
        first_B1 = np.full_like(older_B1, self.num_older) if self.positions == "halves" else older_B1 + 1
        younger_B1 = first_B1 + random.integers(key_B, 2, 1, self.length - first_B1)
        value_BS = random.uniform(key_B, 3, self.length).astype(np.float32)
        source_BSW = np.stack([value_BS, np.zeros_like(value_BS)], axis=-1)
        marked_B2 = np.concatenate([older_B1, younger_B1], axis=1)
        np.put_along_axis(source_BSW[:, :, 1], marked_B2, 1.0, axis=1)
        return Examples(
            source_BSW,
            target_in=np.full((rows, 1), BOS),
            target_out=np.take_along_axis(value_BS, marked_B2, axis=1).sum(axis=1, keepdims=True),
            weights=np.ones((rows, 1)),
            distance=self.length - older_B1,
            source_length=np.full(rows, self.length),
            space=np.full(rows, 23.0 * self.length),
        )
