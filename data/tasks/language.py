"""Running text in windows, and the language models of it, which have no source (S = 0).

Dims: N tokens of a split, W windows of it, B batch, T window length.
"""

import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data import tokenizers
from data.batch import Batch
from data.checks import integer
from data.files import Corpus, LateCorpus, Text, content_hash, data_dir, read_text
from data.spec import Spec
from data.tasks.text import TextTask


class RunningText(TextTask[Text]):
    """Text in windows, as a task reads it.

    Training never ends: example i is a window of epoch i // W, whose windows tile the text from an offset
    drawn for that epoch, in an order drawn as well. Evaluation gives every token of the split exactly once.
    Where there are several documents (or lines, for subword tokenizers), EOS ends each. The corpus is asked when a
    split of it, or text to learn a tokenizer from, is first needed.
    """

    def __init__(self, config: Mapping[str, Any], corpus: Corpus[Text], tokenizer_dir: str | Path | None = None):
        super().__init__(config, corpus)
        self.length = integer(config, "length", 1)
        self._by_line = config["tokenizer"]["name"] in ("unigram", "bpe")  # they would lose the newlines
        self._documents: dict[str, list[str]] = {}
        self._tokens: dict[str, np.ndarray] = {}
        self._num_bytes: dict[str, int] = {}
        self._tokenizer = tokenizers.obtain(
            "text",
            config["tokenizer"],
            lambda: self._text_of("train"),
            cache_dir=config["cache_dir"],
            tokenizer_dir=tokenizer_dir,
        )

    def num_examples(self, split: str) -> int | None:
        """Windows of an evaluation split; None for training."""
        return None if split == "train" else -(-len(self._encoded(split)) // self.length)

    def lengths(self, split: str) -> None:
        return None

    def window_places(self, split: str, seed: int, index_B: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
        """(B, T) places in the split's ids, 0 where there is no token, and (B, T) bool where there is one."""
        num_tokens = len(self._encoded(split))
        start_B = index_B * self.length
        if split == "train":
            start_B = np.array([self._train_start(num_tokens, seed, i) for i in index_B.tolist()], np.int64)
        place_BT = start_B[:, None] + np.arange(length)
        mask_BT = (place_BT < num_tokens) & (np.arange(length) < self.length) & (index_B >= 0)[:, None]
        return np.where(mask_BT, place_BT, 0), mask_BT

    def decode_target(self, ids: Iterable[int]) -> str:
        return self._tokenizer.decode(ids)

    def encode_target(self, lines: Sequence[str]) -> list[np.ndarray]:
        """Int32 ids of each line, as a prompt: without EOS."""
        return self._tokenizer.encode(self._normalized(lines))

    def target_pieces(self, ids: Iterable[int]) -> list[str]:
        return self._tokenizer.pieces(ids)

    def add_split(self, name: str, documents: Sequence[str]) -> None:
        """Makes any text a split of this task, which is evaluated like the others."""
        if not any(document.strip() for document in documents):
            raise ValueError(f"split {name} has no text; give at least one document")
        self._documents[name] = self._prepared(name, list(documents))
        self._tokens.pop(name, None)
        self._added = tuple(dict.fromkeys((*self._added, name)))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_documents": {}}  # worker processes make batches from the ids alone

    def _train_start(self, num_tokens: int, seed: int, example: int) -> int:
        if example < 0:
            return 0
        windows = max((num_tokens - self.length + 1) // self.length, 1)
        epoch, window = divmod(example, windows)
        offset, order_W = _tiling(windows, min(self.length, max(num_tokens - self.length, 0) + 1), seed, epoch)
        return offset + int(order_W[window]) * self.length

    def _text_of(self, split: str) -> list[str]:
        if split not in self._documents:
            documents = self._read(split).documents[: self._most(split)]
            self._hashes[split] = content_hash(documents)
            self._documents[split] = self._prepared(split, documents)
        return self._documents[split]

    def _prepared(self, split: str, documents: list[str]) -> list[str]:
        if self._by_line:
            lines = [line for document in documents for line in document.removesuffix("\n").split("\n")]
            documents = [line for line in lines if line.strip()]
            blank = len(lines) - len(documents)
            self._note([f"{split}: {blank} of {len(lines)} lines skipped as blank"] if blank else [])
        return self._normalized(documents)

    def _encoded(self, split: str) -> np.ndarray:
        """(N,) ids of the whole split, 16 bits each where the vocabulary allows."""
        if split not in self._tokens:
            documents = self._text_of(split)
            encoded, end = self._tokenizer.encode(documents), np.full(1, tokenizers.EOS, np.int32)
            several = len(documents) > 1
            pieces = [part for ids in encoded for part in ((ids, end) if several else (ids,))]
            kind = np.uint16 if self._tokenizer.size <= 1 << 16 else np.int32
            self._num_bytes[split] = sum(len(document.encode()) + several for document in documents)
            self._tokens[split] = np.concatenate(pieces).astype(kind)
        return self._tokens[split]


class Language(RunningText):
    """A language model's task: each position is fed the token before it, across windows; BOS begins the split."""

    def __init__(self, config: Mapping[str, Any], corpus: Corpus[Text], tokenizer_dir: str | Path | None = None):
        super().__init__(config, corpus, tokenizer_dir)
        self.spec = Spec(
            source="none",
            source_size=0,
            target_size=self._tokenizer.size,
            output="tokens",
            output_size=self._tokenizer.size,
            max_source_length=0,
            max_target_length=self.length,
            free_running=True,
            pad=tokenizers.PAD,
            bos=tokenizers.BOS,
            eos=tokenizers.EOS,
        )

    def batch(self, split: str, seed: int, index_B: np.ndarray, shape: tuple[int, int]) -> Batch:
        tokens_N = self._encoded(split)
        place_BT, mask_BT = self.window_places(split, seed, index_B, shape[1])
        before_BT = np.where(place_BT > 0, tokens_N[place_BT - 1], tokenizers.BOS)
        return {
            "source": np.zeros((len(index_B), 0), np.int32),
            "source_mask": np.zeros((len(index_B), 0), bool),
            "target_in": np.where(mask_BT, before_BT, tokenizers.PAD).astype(np.int32),
            "target_out": np.where(mask_BT, tokens_N[place_BT], tokenizers.PAD).astype(np.int32),
            "target_weights": mask_BT.astype(np.float32),
            "distance": np.full(mask_BT.shape, -1, np.int32),
            "index": index_B.astype(np.int32),
        }

    def num_bytes(self, split: str) -> int:
        """UTF-8 bytes of the text behind the split's tokens: bits per byte = nats / log(2) / bytes."""
        self._encoded(split)
        return self._num_bytes[split]

    def tokens(self, split: str) -> np.ndarray:
        """(N,) ids of the whole split, in the order of the text."""
        return self._encoded(split)

    def same_tokens(self, other: "Language") -> bool:
        """Whether the other task cuts every text into the same ids."""
        ours, theirs = self._tokenizer, other._tokenizer
        alike = type(ours) is type(theirs) and ours.state() == theirs.state()
        return alike and self.lowercase == other.lowercase

    def num_tokens(self, split: str) -> int:
        """Weighted positions of an evaluation of the whole split."""
        return len(self._encoded(split))

    def num_unknown(self, split: str) -> int:
        """How many of `num_tokens` stand for text that the tokenizer does not know."""
        return int((self._encoded(split) == tokenizers.UNK).sum())

    def continuation(self, prompt: np.ndarray, ids: Iterable[int]) -> str:
        """The text of ids that go on from a prompt, with the space, if any, between the two."""
        return self._tokenizer.decode([*prompt, *ids]).removeprefix(self._tokenizer.decode(prompt))


@functools.lru_cache(maxsize=8)
def _tiling(windows: int, offsets: int, seed: int, epoch: int) -> tuple[int, np.ndarray]:
    """The starts of the windows of an epoch, and their order."""
    random = np.random.default_rng([seed, epoch])
    return int(random.integers(offsets)), random.permutation(windows)


class TextFile:
    """A corpus of one file: its first part for training, the rest for validation, as in nanoGPT."""

    splits = ("train", "val")

    def __init__(self, path: str | Path, train_fraction: float = 0.9):
        self._path, self._train_fraction = path, train_fraction

    def read(self, split: str) -> Text:
        text = read_text(self._path)
        cut = int(len(text) * self._train_fraction)
        part = text[:cut] if split == "train" else text[cut:]
        if not part.strip():
            raise ValueError(f"{self._path} is too short to hold a {split} split; give a longer text")
        return Text([part], [])


class JoinedParts:
    """tiny_shakespeare of TFDS has three parts; nanoGPT's split is of the whole."""

    splits = ("train", "val")

    def __init__(self, corpus: Corpus[Text]):
        self._corpus = corpus

    def read(self, split: str) -> Text:
        train = self._corpus.read("train").documents
        if split == "train":
            return Text(train, [])
        return Text(["".join(d for part in ("val", "test") for d in self._corpus.read(part).documents)], [])


def shakespeare(config: Mapping[str, Any], tokenizer_dir: str | Path | None = None) -> Language:
    """The text file `data.file` in the folder `data.dir`, plain or `.gz`; an empty `data.dir` means
    tiny_shakespeare through TFDS. Raises FileNotFoundError where the folder or the file is not there."""
    return Language(config, LateCorpus(functools.partial(open_file, config)), tokenizer_dir)


def open_file(config: Mapping[str, Any]) -> Corpus[Text]:
    if not config["dir"]:
        from data.tfds_source import TfdsText, prepared  # imports tensorflow_datasets

        return JoinedParts(TfdsText(prepared("tiny_shakespeare", ""), "text"))
    folder = data_dir(config["dir"], f"{config['file']}[.gz]")
    if not config["file"]:
        raise ValueError(f"data.file is empty; name the text in data.dir = {folder}")
    for path in (folder / config["file"], folder / f"{config['file']}.gz"):
        if path.is_file():
            return TextFile(path)
    raise FileNotFoundError(
        f"data.dir = {folder} has no {config['file']}[.gz]; give a folder that has it, or another data.file"
    )
