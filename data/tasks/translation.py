"""Translation: parallel text from files or TFDS, as subword ids in length buckets.

Dims: N examples, B batch, S source length, T target length.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data import tokenizers
from data.batch import Batch
from data.checks import integer
from data.files import Corpus, LateCorpus, Parallel, ParallelFiles, content_hash, find_parallel, one_line
from data.spec import Spec
from data.tasks.text import TextTask
from data.tokens import FlatTokens

FILES = ("dir", *(f"{split}_{side}" for split in ("train", "val", "test") for side in ("source", "target")))
"""Config keys of `translate` that say where text lies."""


class Translation(TextTask[Parallel]):
    """Parallel text as a task: source + EOS is read, BOS + target fed, target + EOS to be given.

    The corpus is asked when a split of it, or text to learn a tokenizer from, is first needed, and each split
    read and tokenized when it is: a run that has its tokenizer translates without its training data. Training
    pairs longer than `data.max_length` tokens (EOS counted) are left out and counted in `notes`; evaluation
    examples are always kept whole. Raises ValueError or FileNotFoundError for what is wrong with the config or,
    once opened, the files.
    """

    def __init__(self, config: Mapping[str, Any], corpus: Corpus[Parallel], tokenizer_dir: str | Path | None = None):
        super().__init__(config, corpus)
        self.max_length = integer(config, "max_length", 2)
        self.normalization = str(config["tokenizer"]["normalization"])
        self._text: dict[str, tuple[list[str], list[str]]] = {}
        self._tokens: dict[str, tuple[FlatTokens, FlatTokens]] = {}
        self._source_tokenizer, self._target_tokenizer = self._tokenizers(config, tokenizer_dir)
        self.spec = Spec(
            source="tokens",
            source_size=self._source_tokenizer.size,
            target_size=self._target_tokenizer.size,
            output="tokens",
            output_size=self._target_tokenizer.size,
            max_source_length=self.max_length,
            max_target_length=self.max_length,
            free_running=True,
            shared_vocabulary=self._source_tokenizer is self._target_tokenizer,
            pad=tokenizers.PAD,
            bos=tokenizers.BOS,
            eos=tokenizers.EOS,
        )

    # What every task offers (`data/task.py`).

    def num_examples(self, split: str) -> int:
        return len(self._encoded(split)[0])

    def lengths(self, split: str) -> np.ndarray:
        source, target = self._encoded(split)
        return np.stack([source.lengths, target.lengths], axis=1).astype(np.int32)

    def batch(self, split: str, seed: int, index_B: np.ndarray, shape: tuple[int, int]) -> Batch:
        del seed
        source, target = self._encoded(split)
        source_BS, source_mask_BS = source.padded(index_B, shape[0], tokenizers.PAD)
        target_out_BT, target_mask_BT = target.padded(index_B, shape[1], tokenizers.PAD)
        target_in_BT = np.empty_like(target_out_BT)
        target_in_BT[:, 0] = tokenizers.BOS
        target_in_BT[:, 1:] = target_out_BT[:, :-1]
        return {
            "source": source_BS,
            "source_mask": source_mask_BS,
            "target_in": np.where(target_mask_BT, target_in_BT, tokenizers.PAD).astype(np.int32),
            "target_out": target_out_BT,
            "target_weights": target_mask_BT.astype(np.float32),
            "distance": np.full_like(target_out_BT, -1),
            "index": index_B.astype(np.int32),
        }

    # What text has besides: raw lines, and ways between lines and ids.

    def source_text(self, split: str) -> list[str]:
        """The raw lines, cased as in the file, in the order of the examples' indices."""
        self._encoded(split)
        return self._text_of(split)[0]

    def target_text(self, split: str) -> list[str]:
        """The raw references; as `source_text`."""
        self._encoded(split)
        return self._text_of(split)[1]

    def decode_source(self, ids: Iterable[int]) -> str:
        return self._source_tokenizer.decode(ids)

    def decode_target(self, ids: Iterable[int]) -> str:
        return one_line(self._target_tokenizer.decode(ids))

    def encode_source(self, lines: Sequence[str]) -> list[np.ndarray]:
        """Int32 ids of each line with its EOS, as the model reads them."""
        return self._encode(self._source_tokenizer, lines)

    def encode_target(self, lines: Sequence[str]) -> list[np.ndarray]:
        return self._encode(self._target_tokenizer, lines)

    def source_pieces(self, ids: Iterable[int]) -> list[str]:
        """Each id as readable text, for the axes of attention pictures."""
        return self._source_tokenizer.pieces(ids)

    def target_pieces(self, ids: Iterable[int]) -> list[str]:
        return self._target_tokenizer.pieces(ids)

    def add_split(self, name: str, source_lines: Sequence[str], target_lines: Sequence[str]) -> None:
        """Makes any aligned lines a split of this task, which is evaluated like the others."""
        if len(source_lines) != len(target_lines):
            raise ValueError(
                f"split {name} has {len(source_lines)} source lines but {len(target_lines)} target lines; "
                f"line n of one must translate line n of the other"
            )
        if not source_lines:
            raise ValueError(f"split {name} has no lines; give at least one pair")
        self._text[name] = (list(source_lines), list(target_lines))
        self._tokens.pop(name, None)
        self._added = tuple(dict.fromkeys((*self._added, name)))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_text": {}}  # worker processes make batches from the ids alone

    def _tokenizers(
        self, config: Mapping[str, Any], tokenizer_dir: str | Path | None
    ) -> tuple[tokenizers.Tokenizer, tokenizers.Tokenizer]:
        wanted = config["tokenizer"]
        folders: dict[str, Any] = {"cache_dir": config["cache_dir"], "tokenizer_dir": tokenizer_dir}

        def lines(*sides: int) -> list[str]:
            text = self._text_of("train")
            return self._normalized([line for side in sides for line in text[side]])

        if wanted["joint"]:
            joint = tokenizers.obtain("joint", wanted, lambda: lines(0, 1), **folders)
            return joint, joint
        return (
            tokenizers.obtain("source", wanted, lambda: lines(0), **folders),
            tokenizers.obtain("target", wanted, lambda: lines(1), **folders),
        )

    def _encode(self, tokenizer: tokenizers.Tokenizer, lines: Sequence[str]) -> list[np.ndarray]:
        end = np.full(1, tokenizers.EOS, np.int32)
        return [np.concatenate([ids, end]) for ids in tokenizer.encode(self._normalized(lines))]

    def _text_of(self, split: str) -> tuple[list[str], list[str]]:
        if split not in self._text:
            read, most = self._read(split), self._most(split)
            self._text[split] = (read.source[:most], read.target[:most])
            self._hashes[split] = content_hash([*self._text[split][0], *self._text[split][1]])
        return self._text[split]

    def _encoded(self, split: str) -> tuple[FlatTokens, FlatTokens]:
        if split in self._tokens:
            return self._tokens[split]
        text = self._text_of(split)
        source = FlatTokens.join(self.encode_source(text[0]), self._source_tokenizer.size)
        target = FlatTokens.join(self.encode_target(text[1]), self._target_tokenizer.size)
        longest_N = np.maximum(source.lengths, target.lengths)
        long_N = longest_N > self.max_length
        if long_N.any():
            said = f"{split}: {long_N.sum()} of {len(long_N)} pairs are longer than data.max_length = {self.max_length}"
            if split == "train":
                self._note([f"{said} tokens and left out"])
                if long_N.all():
                    raise ValueError(
                        f"data.max_length = {self.max_length} leaves none of the {len(long_N)} pairs of train, the "
                        f"shortest of which has {longest_N.min()} tokens; raise it"
                    )
                source, target = source.select(~long_N), target.select(~long_N)
                kept = np.flatnonzero(~long_N)
                self._text[split] = ([text[0][i] for i in kept], [text[1][i] for i in kept])
            else:
                self._note([f"{said} tokens (the longest has {longest_N.max()}) and kept whole"])
        self._tokens[split] = (source, target)
        return self._tokens[split]


def translate(config: Mapping[str, Any], tokenizer_dir: str | Path | None = None) -> Translation:
    """Any pair of parallel files: `data.dir` with `train.<language>[.gz]`, `val.<language>[.gz]` and others,
    or files named one by one (`data.train_source`, `data.train_target`, `data.val_source`, ...)."""
    if config["source_language"] == config["target_language"] and config["dir"]:
        raise ValueError(
            f"data.target_language = {config['target_language']} is the source language too, so one file would be both "
            "sides; name two, or give the files by data.train_source, data.train_target and so on"
        )
    for key in ("source_language", "target_language"):
        if config["dir"] and not config[key]:
            raise ValueError(f"data.{key} is empty; give the ending of the files, as de for train.de")
    named: dict[str, tuple[Path, Path]] = {}
    for split in ("train", "val", "test"):
        source, target = config[f"{split}_source"], config[f"{split}_target"]
        if bool(source) != bool(target):
            given, other = ("source", "target") if source else ("target", "source")
            raise ValueError(f"data.{split}_{given} is set but data.{split}_{other} is not; set both or neither")
        if source:
            named[split] = (Path(source), Path(target))

    def open_corpus() -> ParallelFiles:
        languages = config["source_language"], config["target_language"]
        return parallel_files(config, (find_parallel(config["dir"], *languages) if config["dir"] else {}) | named)

    return Translation(config, LateCorpus(open_corpus), tokenizer_dir)


def parallel_files(config: Mapping[str, Any], paths: Mapping[str, tuple[Path, Path]]) -> ParallelFiles:
    """The corpus of `paths`, train and val first. Raises FileNotFoundError where these are not among them."""
    for split in ("train", "val"):
        if split not in paths:
            ending = f"{config['source_language']}[.gz] and {split}.{config['target_language']}[.gz]"
            where = f"data.dir = {config['dir']} has no" if config["dir"] else "data.dir is empty, so there is no"
            raise FileNotFoundError(f"{where} {split}.{ending}; give a folder that has them")
    return ParallelFiles({split: paths[split] for split in ("train", "val", *sorted(paths.keys() - {"train", "val"}))})
