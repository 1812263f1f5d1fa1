"""Text to ids and back: SentencePiece (unigram, bpe), characters and bytes behind one interface.

Ids 0 to 3 are padding, beginning, end and unknown. A tokenizer is trained once from the training split,
cached by the content it was trained on, and copied into the run's folder, from where it is loaded first.
SentencePiece is imported only where it is used.
"""

import hashlib
import io
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from data import whole_file
from data.checks import one_of

PAD, BOS, EOS, UNK = range(4)
SPECIAL_NAMES = ("<pad>", "<s>", "</s>", "<unk>")
SPECIALS = len(SPECIAL_NAMES)
SPECIAL_PIECES = tuple(f"\ufdd0{name}" for name in SPECIAL_NAMES)
"""Their names in a SentencePiece model, which takes what is called like one out of the text: U+FDD0 is in no text."""
RESERVED = {"\u2581": "\ufdd1", "\u2585": "\ufdd2", "\0": "\ufdd3"}
"""Characters that mean something else to SentencePiece, and what stands for them there."""
IDENTITY = "identity"  # text as it is written
NORMALIZATIONS = (IDENTITY, "nfkc", "nmt_nfkc", "nfkc_cf", "nmt_nfkc_cf")  # the others are SentencePiece's
MAX_TRAINING_LINES = 1_000_000  # SentencePiece learns from evenly spaced lines of a larger corpus


class Tokenizer(Protocol):
    size: int

    def encode(self, lines: Sequence[str]) -> list[np.ndarray]:
        """One int32 array of ids per line, without BOS and EOS."""
        ...

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids up to the first EOS; padding and BOS are left out."""
        ...

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """Each id as readable text."""
        ...

    def state(self) -> bytes:
        """What `load` needs beside the settings."""
        ...


class SentencePiece:
    """Subword pieces by unigram language model (Kudo 2018) or byte-pair encoding (Sennrich et al. 2016)."""

    def __init__(self, state: bytes):
        import sentencepiece

        self._model = state
        self._processor = sentencepiece.SentencePieceProcessor(model_proto=state)
        self.size = int(self._processor.get_piece_size())
        # Models of older runs were trained without.
        self._reserved = RESERVED if self._processor.id_to_piece(UNK) == SPECIAL_PIECES[UNK] else {}

    @staticmethod
    def train(lines: Sequence[str], name: str, vocab_size: int, normalization: str = IDENTITY) -> "SentencePiece":
        """Raises ValueError, with the size that fits, where the text does not support `vocab_size` pieces."""
        import sentencepiece

        model = io.BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(_replaced(lines[:: -(-len(lines) // MAX_TRAINING_LINES)], RESERVED)),
                model_writer=model,
                model_type=name,
                vocab_size=vocab_size,
                character_coverage=1.0,
                pad_id=PAD,
                bos_id=BOS,
                eos_id=EOS,
                unk_id=UNK,
                pad_piece=SPECIAL_PIECES[PAD],
                bos_piece=SPECIAL_PIECES[BOS],
                eos_piece=SPECIAL_PIECES[EOS],
                unk_piece=SPECIAL_PIECES[UNK],
                normalization_rule_name=normalization,
                remove_extra_whitespaces=normalization != IDENTITY,
                num_threads=1,  # the sums of several threads round differently
                max_sentence_length=1 << 24,  # longer lines would be passed over in silence
                minloglevel=2,
            )
        except (RuntimeError, OSError) as error:
            raise ValueError(_vocabulary_error(str(error), vocab_size)) from None
        return SentencePiece(model.getvalue())

    def encode(self, lines: Sequence[str]) -> list[np.ndarray]:
        return [np.asarray(ids, np.int32) for ids in self._processor.encode(_replaced(lines, self._reserved))]

    def decode(self, ids: Iterable[int]) -> str:
        return self._written(self._processor.decode(_content(ids)))

    def pieces(self, ids: Iterable[int]) -> list[str]:
        return [SPECIAL_NAMES[i] if i < SPECIALS else self._written(self._processor.id_to_piece(int(i))) for i in ids]

    def _written(self, text: str) -> str:
        return _replaced([text], {there: here for here, there in self._reserved.items()})[0]

    def state(self) -> bytes:
        return self._model

    def __reduce__(self):
        return SentencePiece, (self._model,)


class Characters:
    """One id per Unicode character, the most frequent first; at most `vocab_size` ids, 0 for no limit."""

    def __init__(self, state: bytes):
        self._characters = json.loads(state)
        self._ids = {character: SPECIALS + i for i, character in enumerate(self._characters)}
        self.size = SPECIALS + len(self._characters)

    @staticmethod
    def train(lines: Sequence[str], name: str, vocab_size: int, normalization: str = IDENTITY) -> "Characters":
        counts = Counter[str]()
        for line in lines:
            counts.update(line)
        ranked = sorted(counts, key=lambda character: (-counts[character], character))
        kept = ranked[: max(vocab_size - SPECIALS, 1)] if vocab_size else ranked
        return Characters(json.dumps(kept).encode())

    def encode(self, lines: Sequence[str]) -> list[np.ndarray]:
        ids = self._ids
        return [np.fromiter((ids.get(c, UNK) for c in line), np.int32, len(line)) for line in lines]

    def decode(self, ids: Iterable[int]) -> str:
        return "".join("\ufffd" if i == UNK else self._characters[i - SPECIALS] for i in _content(ids))

    def pieces(self, ids: Iterable[int]) -> list[str]:
        return [SPECIAL_NAMES[i] if i < SPECIALS else self._characters[i - SPECIALS] for i in ids]

    def state(self) -> bytes:
        return json.dumps(self._characters).encode()


class Bytes:
    """One id per UTF-8 byte; nothing is unknown."""

    size = SPECIALS + 256

    def __init__(self, state: bytes = b""):
        del state

    @staticmethod
    def train(lines: Sequence[str], name: str, vocab_size: int, normalization: str = IDENTITY) -> "Bytes":
        return Bytes()

    def encode(self, lines: Sequence[str]) -> list[np.ndarray]:
        return [np.frombuffer(line.encode(), np.uint8).astype(np.int32) + SPECIALS for line in lines]

    def decode(self, ids: Iterable[int]) -> str:
        return bytes(i - SPECIALS for i in _content(ids) if i != UNK).decode(errors="replace")

    def pieces(self, ids: Iterable[int]) -> list[str]:
        return [SPECIAL_NAMES[i] if i < SPECIALS else repr(bytes([i - SPECIALS]))[2:-1] for i in ids]

    def state(self) -> bytes:
        return b""


class Settings(NamedTuple):
    """The settings of `config.data.tokenizer`, checked."""

    name: str
    vocab_size: int  # 0 where it is not chosen
    normalization: str


KINDS: dict[str, type[SentencePiece] | type[Characters] | type[Bytes]] = {
    "unigram": SentencePiece,
    "bpe": SentencePiece,
    "char": Characters,
    "byte": Bytes,
}


def settings(config: Mapping[str, Any]) -> Settings:
    """Raises ValueError for a value that no tokenizer has."""
    name, vocab_size, normalization = config["name"], int(config["vocab_size"]), config["normalization"]
    one_of("data.tokenizer.name", name, KINDS)
    one_of("data.tokenizer.normalization", normalization, NORMALIZATIONS)
    if KINDS[name] is not SentencePiece and normalization != IDENTITY:
        raise ValueError(
            f"data.tokenizer.normalization = {normalization} is of unigram and bpe; use {IDENTITY} with {name}"
        )
    if vocab_size < 0 or (KINDS[name] is SentencePiece and vocab_size <= SPECIALS):
        raise ValueError(f"data.tokenizer.vocab_size = {vocab_size} is too small; use {SPECIALS + 1} or more")
    return Settings(name, 0 if name == "byte" else vocab_size, normalization)


def normalization_before(name: str) -> str:
    """The normalization of tokenizers and runs made before it was a key."""
    return "nmt_nfkc" if KINDS[name] is SentencePiece else IDENTITY


def obtain(
    role: str,
    config: Mapping[str, Any],
    lines: Callable[[], Sequence[str]],
    *,
    cache_dir: str | Path = "",
    tokenizer_dir: str | Path | None = None,
) -> Tokenizer:
    """The tokenizer `role` (joint, source, target or text) of a run.

    Taken from `tokenizer_dir` where it is already there, else from the cache, else trained on `lines()`;
    then it is in both. `lines` is not called where `tokenizer_dir` has the tokenizer, nor for bytes, of which there is
    nothing to learn. Raises ValueError where the stored tokenizer has other settings, or the settings do not fit the
    text.
    """
    wanted = settings(config)
    if tokenizer_dir is not None and (stored := load(tokenizer_dir, role, wanted)):
        return stored
    tokenizer = Bytes() if wanted.name == "byte" else _learned(wanted, lines(), cache_dir)
    if tokenizer_dir is not None:
        save(tokenizer, tokenizer_dir, role, wanted)
    return tokenizer


def _learned(wanted: Settings, training_lines: Sequence[str], cache_dir: str | Path) -> Tokenizer:
    """From the cache, or trained and then put there."""
    folder = Path(cache_dir or default_cache_dir(), "tokenizers", _content_hash(wanted, training_lines))
    tokenizer = load(folder, "tokenizer", wanted)
    if tokenizer is None:
        tokenizer = KINDS[wanted.name].train(training_lines, *wanted)
        try:
            save(tokenizer, folder, "tokenizer", wanted)
        except OSError as error:
            if cache_dir:  # else nobody asked for one, and not every user has a home folder
                raise ValueError(f"data.cache_dir = {cache_dir}: {error}") from None
    return tokenizer


def default_cache_dir() -> Path:
    """The folder may be impossible to write to, as for a user without a home folder."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(cache if os.path.isabs(cache) else "/nonexistent", "longreach")


def save(tokenizer: Tokenizer, folder: str | Path, role: str, wanted: Settings) -> None:
    """Writes `role.model`, then `role.json`, each in one rename: who sees the second sees a whole first.

    Two processes that write at once write the same bytes, so either may come last.
    """
    folder = Path(folder)
    state = tokenizer.state()
    described = {**wanted._asdict(), "size": tokenizer.size, "sha256": hashlib.sha256(state).hexdigest()}
    for name, content in ((f"{role}.model", state), (f"{role}.json", json.dumps(described, indent=1).encode())):
        whole_file.write_bytes(folder / name, content)


def load(folder: str | Path, role: str, wanted: Settings | None = None) -> Tokenizer | None:
    """The tokenizer that `save` wrote, or None where there is none.

    Raises ValueError where it was made with other settings than `wanted`, or its file is damaged.
    """
    description = Path(folder) / f"{role}.json"
    if not description.is_file():
        return None
    stored = whole_file.read_json(description, f"remove {folder} and run again")
    if not {"name", "vocab_size", "sha256"} <= stored.keys() or str(stored["name"]) not in KINDS:
        raise ValueError(f"{description} describes no tokenizer; remove {folder} and run again")
    path = description.with_suffix(".model")
    if not path.is_file() or hashlib.sha256(state := path.read_bytes()).hexdigest() != stored["sha256"]:
        raise ValueError(f"{path} is {'damaged' if path.is_file() else 'gone'}; remove {folder} and run again")
    before = {"normalization": normalization_before(stored["name"])}
    found = Settings(*((before | stored)[name] for name in Settings._fields))
    if wanted is not None and found != wanted:
        raise ValueError(
            f"{description} holds data.tokenizer.{_told(found)}, but the config asks for {_told(wanted)}; change the "
            "config or use a new folder"
        )
    return KINDS[stored["name"]](state)


def _told(settings: Settings) -> str:
    return ", ".join(f"{name} = {value}" for name, value in settings._asdict().items())


def _replaced(lines: Sequence[str], characters: Mapping[str, str]) -> list[str]:
    for old, new in characters.items():
        lines = [line.replace(old, new) for line in lines]
    return list(lines)


def _content(ids: Iterable[int]) -> list[int]:
    kept: list[int] = []
    for i in ids:
        if i == EOS:
            break
        if i not in (PAD, BOS):
            kept.append(int(i))
    return kept


def _content_hash(wanted: Settings, lines: Sequence[str]) -> str:
    """A hash of the settings, the library's version and the text."""
    version = ""
    if KINDS[wanted.name] is SentencePiece:
        import sentencepiece

        version = sentencepiece.__version__
    digest = hashlib.sha256(
        json.dumps([wanted._asdict(), version, MAX_TRAINING_LINES, SPECIAL_PIECES], sort_keys=True).encode()
    )
    for line in lines:
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()[:32]


def _vocabulary_error(message: str, vocab_size: int) -> str:
    if found := re.search(r"value <= (\d+)", message):
        advice = f"is more than the training text supports; use {found[1]} or less"
    elif found := re.search(r"required_chars\. \d+ vs (\d+)", message):
        advice = f"is less than the training text's characters; use more than {found[1]}"
    else:
        advice = f"does not fit the training text; SentencePiece says: {' '.join(message.split())}"
    return f"data.tokenizer.vocab_size = {vocab_size} {advice}"
