"""Masked-token prediction: say which tokens of a text were hidden, from what stands on both sides of them.

Devlin et al. 2019, section 3.1. Of the tokens of a window a share `mask_rate` is chosen, at least one; of these 80 %
are hidden, 10 % replaced by a random token and 10 % left as they are. Loss and accuracy count the chosen ones alone.

Dims: B windows, T tokens of a window.

    source      the tokens after that
    target_in   the same, for models that are fed
    target_out  the tokens as they were, whose places are those of the source

A hidden token is UNK, which training text has nowhere: a model that read it knows as much of it. A training window is
another in every epoch, and is hidden anew; in evaluation a window's choice is always the same. `data.corpus` says what
is read: `file`, as the task `shakespeare` does, or `multi30k`, one language of it.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from data import random, tokenizers
from data.batch import Batch
from data.checks import choice
from data.files import Corpus, LateCorpus, Text
from data.spec import Spec
from data.tasks.captions import captions
from data.tasks.language import RunningText, open_file

HIDDEN, REPLACED = 0.8, 0.9  # of what is chosen: the first 80 %, and the next 10


class MaskedText(RunningText):
    def __init__(self, config: Mapping[str, Any], corpus: Corpus[Text], tokenizer_dir: str | Path | None = None):
        super().__init__(config, corpus, tokenizer_dir)
        self.rate = float(config["mask_rate"])
        if not 0 < self.rate < 1:
            raise ValueError(f"data.mask_rate = {self.rate} is not between 0 and 1; use a share such as 0.15")
        self.spec = Spec(
            source="tokens",
            source_size=self._tokenizer.size,
            target_size=self._tokenizer.size,
            output="tokens",
            output_size=self._tokenizer.size,
            max_source_length=self.length,
            max_target_length=self.length,
            layout="aligned",
            shared_vocabulary=True,
            pad=tokenizers.PAD,
            bos=tokenizers.BOS,
        )

    def batch(self, split: str, seed: int, index_B: np.ndarray, shape: tuple[int, int]) -> Batch:
        place_BT, real_BT = self.window_places(split, seed, index_B, shape[1])
        token_BT = np.where(real_BT, self._encoded(split)[place_BT], tokenizers.PAD).astype(np.int32)
        key_B = random.keys(seed, 0, index_B) if split == "train" else random.keys(0, 1, index_B)
        chosen_BT = chosen(key_B, token_BT >= tokenizers.SPECIALS, self.rate)
        read_BT = np.where(chosen_BT, corrupted(key_B, token_BT, self._tokenizer.size), token_BT).astype(np.int32)
        return {
            "source": read_BT,
            "source_mask": real_BT,
            "target_in": read_BT,
            "target_out": token_BT,
            "target_weights": chosen_BT.astype(np.float32),
            "distance": np.full(token_BT.shape, -1, np.int32),
            "index": index_B.astype(np.int32),
        }

    def source_pieces(self, ids: Iterable[int]) -> list[str]:
        return self._tokenizer.pieces(ids)


def chosen(key_B: np.ndarray, may_BT: np.ndarray, rate: float) -> np.ndarray:
    """(B, T) bool: of the places that may be chosen a share of `rate`, rounded, and at least one."""
    count_B = np.maximum(np.rint(rate * may_BT.sum(1)), 1)
    lot_BT = np.where(may_BT, random.uniform(key_B, 1, may_BT.shape[1]), 2.0)
    rank_BT = np.argsort(np.argsort(lot_BT, axis=1), axis=1)
    return may_BT & (rank_BT < count_B[:, None])


def corrupted(key_B: np.ndarray, token_BT: np.ndarray, vocab_size: int) -> np.ndarray:
    """(B, T) what stands for each token where it is chosen: UNK, a random token, or the token itself."""
    fate_BT = random.uniform(key_B, 2, token_BT.shape[1])
    other_BT = tokenizers.SPECIALS + random.integers(key_B, 3, token_BT.shape[1], vocab_size - tokenizers.SPECIALS)
    return np.where(fate_BT < HIDDEN, tokenizers.UNK, np.where(fate_BT < REPLACED, other_BT, token_BT))


def masked_text(config: Mapping[str, Any], tokenizer_dir: str | Path | None = None) -> MaskedText:
    """Raises as `shakespeare` and `multi30k` do, and ValueError for another corpus."""
    if choice(config, "corpus", ("file", "multi30k")) == "multi30k":
        return MaskedText(config, captions(config), tokenizer_dir)
    return MaskedText(config, LateCorpus(lambda: open_file(config)), tokenizer_dir)
