"""Word order: have neighbouring words of a caption changed places?

The probing task BShift ("bigram shift") of Conneau et al. 2018, on Multi30k. Who knows the language sees it; few
labelled captions do not teach it. In half of the captions, by lot, two neighbours are swapped: the pair is drawn from
those whose words differ. With `swaps` above 1 as many pairs are, one after another, which is easier to see. The lot of
a caption is always the same, so that `labelled_examples` are as many labels.

Dims: B captions, S tokens.

    source      the caption's tokens
    target_in   bos
    target_out  1 where words changed places, else 0

`train_examples` says how much text is read, which the tokenizer learns from; of it the first `labelled_examples` (0:
all) are trained on. A caption of more than `length` tokens is cut, and counted in a note. Captions of fewer than two
different words are left out. Chance is 1/2.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data import random, tokenizers
from data.batch import Batch
from data.checks import integer
from data.files import Corpus, Text
from data.spec import Spec
from data.tasks.captions import captions
from data.tasks.language import RunningText
from data.tokens import FlatTokens


class Labelled(NamedTuple):
    tokens: FlatTokens
    swapped: np.ndarray  # (N,) int32


class WordOrder(RunningText):
    def __init__(self, config: Mapping[str, Any], corpus: Corpus[Text], tokenizer_dir: str | Path | None = None):
        super().__init__(config, corpus, tokenizer_dir)
        self._most_labelled = integer(config, "labelled_examples", 0, 2**31 - 1)
        self._swaps = integer(config, "swaps", 1, 1000)
        self._labelled_: dict[str, Labelled] = {}
        self.chance = {"token_accuracy": 0.5, "loss": float(np.log(2))}
        self.spec = Spec(
            source="tokens",
            source_size=self._tokenizer.size,
            target_size=self._tokenizer.size,
            output="classes",
            output_size=2,
            max_source_length=self.length,
            max_target_length=1,
            layout="label",
            shared_vocabulary=True,
            pad=tokenizers.PAD,
            bos=tokenizers.BOS,
        )

    def num_examples(self, split: str) -> int:
        return len(self._labelled(split).tokens)

    def batch(self, split: str, seed: int, index_B: np.ndarray, shape: tuple[int, int]) -> Batch:
        del seed
        labelled, real_B = self._labelled(split), index_B >= 0
        source_BS, mask_BS = labelled.tokens.padded(index_B, shape[0], tokenizers.PAD)
        answer_B = np.where(real_B, labelled.swapped[np.where(real_B, index_B, 0)], 0)
        return {
            "source": source_BS,
            "source_mask": mask_BS,
            "target_in": np.where(real_B, tokenizers.BOS, tokenizers.PAD)[:, None].astype(np.int32),
            "target_out": answer_B[:, None].astype(np.int32),
            "target_weights": real_B[:, None].astype(np.float32),
            "distance": np.full((len(index_B), 1), -1, np.int32),
            "index": index_B.astype(np.int32),
        }

    def source_pieces(self, ids: Iterable[int]) -> list[str]:
        return self._tokenizer.pieces(ids)

    def target_pieces(self, ids: Iterable[int]) -> list[str]:
        return [str(i) for i in ids]

    def _labelled(self, split: str) -> Labelled:
        if split not in self._labelled_:
            lines = [line for line in self._text_of(split) if len(places(line.split()))]
            if split == "train" and self._most_labelled:
                lines = lines[: self._most_labelled]
            key_N = random.keys(0, 0 if split == "train" else 1, np.arange(len(lines)))
            swapped_N = random.integers(key_N, 1, 1, 2)[:, 0]
            lots_NK = random.uniform(key_N, 2, self._swaps)
            shown = [
                swap(line, lots) if swapped else line
                for line, swapped, lots in zip(lines, swapped_N.tolist(), lots_NK.tolist(), strict=True)
            ]
            encoded = self._tokenizer.encode(shown)
            if long := sum(len(ids) > self.length for ids in encoded):
                said = f"{split}: {long} of {len(lines)} captions are longer than data.length = {self.length} tokens"
                self._note([f"{said} and cut"])
            tokens = FlatTokens.join([ids[: self.length] for ids in encoded], self._tokenizer.size)
            self._labelled_[split] = Labelled(tokens, swapped_N.astype(np.int32))
        return self._labelled_[split]


def places(words: list[str]) -> list[int]:
    """Where a word differs from the next."""
    return [n for n in range(len(words) - 1) if words[n] != words[n + 1]]


def swap(line: str, lots: Sequence[float]) -> str:
    """The line with a word in the next one's place for each lot in [0, 1), which says where. If these undo each other,
    the first alone."""
    words = line.split()
    for lot in lots:
        where = places(words)
        n = where[int(lot * len(where))]
        words[n], words[n + 1] = words[n + 1], words[n]
    return " ".join(words) if words != line.split() else swap(line, lots[:1])


def word_order(config: Mapping[str, Any], tokenizer_dir: str | Path | None = None) -> WordOrder:
    """Raises as `multi30k`."""
    return WordOrder(config, captions(config), tokenizer_dir)
