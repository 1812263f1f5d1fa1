"""Text files, plain or `.gz`, UTF-8, one example per line. Errors name file and line.

`corpus.read(split)` is all that a text task knows of its source, here and in `data/tfds_source.py`.
"""

import codecs
import functools
import gzip
import hashlib
import re
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

WIDE = (  # marks, the longer before those that they begin with
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
GZIP = b"\x1f\x8b\x08"
CONTROLS = re.compile(rb"[\0-\x08\x0e-\x1a\x1c-\x1f\x7f]")  # that no text has; escapes are of some encodings
LINE_END = r"\r*\n|\r"  # of Unix, of Windows, of both in turn, and of what was written on a Mac once


class Parallel(NamedTuple):
    """Aligned lines of one split; `notes` says in words what was skipped."""

    source: list[str]
    target: list[str]
    notes: list[str]


class Text(NamedTuple):
    """The documents of one split; `notes` as above."""

    documents: list[str]
    notes: list[str]


Lines = TypeVar("Lines", bound=Parallel | Text, covariant=True)


class Corpus(Protocol[Lines]):
    @property
    def splits(self) -> tuple[str, ...]: ...

    def read(self, split: str) -> Lines: ...


class LateCorpus(Generic[Lines]):
    """A corpus that is opened at its first use, so that it needs no files before that.

    A copy in a worker process, which makes batches from ids alone, cannot open it.
    """

    def __init__(self, open_corpus: Callable[[], Corpus[Lines]]):
        self._open = open_corpus

    @functools.cached_property
    def _corpus(self) -> Corpus[Lines]:
        return self._open()

    @property
    def splits(self) -> tuple[str, ...]:
        return self._corpus.splits

    def read(self, split: str) -> Lines:
        return self._corpus.read(split)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_open"}


def read_text(path: str | Path, *, may_be_blank: bool = False) -> str:
    """The whole file as text, without a byte order mark and with Unix line ends.

    Raises FileNotFoundError where there is no such file, ValueError for an empty file, a damaged `.gz` (saying after
    how many whole lines) or bytes that are not UTF-8 (saying in which line).
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is not a file{_looked_in(path)}; give the path of a UTF-8 text file, plain or .gz"
        )
    text = decode(_unzip(path) if path.suffix == ".gz" else path.read_bytes(), str(path))
    if not text.strip() and not may_be_blank:
        raise ValueError(f"{path} is empty; give a file with one example a line")
    return re.sub(LINE_END, "\n", text) if "\r" in text else text


def decode(raw: bytes, where: str, line: int = 1) -> str:
    """UTF-8 as text, without a mark. Raises ValueError naming `where`, the line (the first is `line`) and the likely
    encoding of anything else."""
    if raw.startswith(GZIP):
        raise ValueError(f"{where} is compressed by gzip; give it a name that ends in .gz")
    if wide := _wide_encoding(raw[: 1 << 20]):
        raise ValueError(f"{where} is text in {wide}, not UTF-8; convert it with iconv -f {wide} -t UTF-8")
    nuls = raw.count(0)
    try:
        if 20 * nuls > len(raw):
            raise ValueError(
                f"{where} is no text: {nuls:,} of its {len(raw):,} bytes are NUL; give a text file, in UTF-8"
            )
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        byte, line = f"0x{raw[error.start]:02x}", line + raw.count(b"\n", 0, error.start)
        controls, high = len(CONTROLS.findall(raw)), sum(byte > 0x7F for byte in raw[: 1 << 20])
        if 100 * controls > len(raw):
            raise ValueError(f"{where} is no text: line {line} holds byte {byte}; give a text file, in UTF-8") from None
        # CP1252 is LATIN1 with quotes and dashes where that has control characters.
        likely = "CP1252" if re.search("[\udc80-\udc9f]", raw.decode(errors="surrogateescape")) else "LATIN1"
        if 3 * high > min(len(raw), 1 << 20):  # more than any language has that is written with Latin letters
            likely = "ENCODING"
        raise ValueError(
            f"{where}: line {line} holds byte {byte}, which is not UTF-8; convert it, for example "
            f"with iconv -f {likely} -t UTF-8"
            + ", where ENCODING is such as CP1251 or GB18030"
            * (likely == "ENCODING")
        ) from None


def _wide_encoding(raw: bytes) -> str:
    """UTF-16 or UTF-32, told by its mark or, since spaces and newlines have them in every language, by its NULs; ""
    for anything else, such as text with NULs in it."""
    for mark, name in WIDE:
        if raw.startswith(mark):
            return name
    if 20 * raw.count(0) < max(len(raw), 1):
        return ""
    try:
        narrow = raw.replace(b"\0", b"").decode()
    except UnicodeDecodeError:
        narrow = "\0"
    for name in ("UTF-32LE", "UTF-32BE", "UTF-16LE", "UTF-16BE"):
        try:
            text = codecs.getincrementaldecoder(name)().decode(raw)  # whose end may be cut
        except UnicodeDecodeError:
            continue
        letters = sum(character < "\u2000" for character in text)  # of alphabets; two letters read as one are beyond
        if text and _readable(text) and (letters > 0.9 * len(text) or not _readable(narrow)):
            return name
    return ""


def _readable(text: str) -> bool:
    """Whether nearly all characters are printable."""
    return sum(character.isprintable() or character.isspace() for character in text) > 0.98 * len(text)


def read_lines(path: str | Path, *, may_be_blank: bool = False) -> list[str]:
    """The lines of a file, stripped at both ends; errors as `read_text`. Only newlines and carriage returns end one."""
    text = read_text(path, may_be_blank=may_be_blank)
    return [line.strip() for line in text.removesuffix("\n").split("\n")] if text else []


def one_line(text: str) -> str:
    """The text with a space for every character that would end its line in a file of predictions."""
    return re.sub(r"[\r\n]+", " ", text)


def read_parallel(source: str | Path, target: str | Path) -> Parallel:
    """Two files whose lines translate each other. Pairs with a blank side are skipped and counted. Raises as
    `read_text`, and ValueError if the numbers of lines differ or no pair is left."""
    sources, targets = read_lines(source), read_lines(target)
    if len(sources) != len(targets):
        raise ValueError(
            f"{source} has {len(sources)} lines but {target} has {len(targets)}; "
            f"line n of one must translate line n of the other"
        )
    kept, notes = drop_blank(sources, targets, f"{source} and {target}")
    if not kept:
        raise ValueError(f"{source} and {target} have no line where both sides hold text; check the files")
    return Parallel([sources[i] for i in kept], [targets[i] for i in kept], notes)


def content_hash(lines: Iterable[str]) -> str:
    """A hash of the text, the same wherever it lies."""
    found = hashlib.sha256()
    for line in lines:
        found.update(line.encode() + b"\n")
    return found.hexdigest()[:16]


def drop_blank(sources: Sequence[str], targets: Sequence[str], where: str) -> tuple[list[int], list[str]]:
    """Indices of the pairs with text on both sides, and a note on the others."""
    blank = [i for i, (a, b) in enumerate(zip(sources, targets, strict=True)) if not a.strip() or not b.strip()]
    if not blank:
        return list(range(len(sources))), []
    dropped = set(blank)
    note = f"{where}: {len(blank)} of {len(sources)} pairs skipped for a blank side, the first in line {blank[0] + 1}"
    return [i for i in range(len(sources)) if i not in dropped], [note]


class ParallelFiles:
    """A corpus whose splits are pairs of files."""

    def __init__(self, paths: Mapping[str, tuple[Path, Path]]):
        self.paths = dict(paths)
        self.splits = tuple(self.paths)

    def read(self, split: str) -> Parallel:
        return read_parallel(*self.paths[split])


def data_dir(folder: str | Path, holding: str) -> Path:
    """The folder that the config names. Raises FileNotFoundError where there is none; it should be one `holding` what
    the task reads."""
    if not Path(folder).is_dir():
        raise FileNotFoundError(
            f"data.dir = {folder} is not a folder{_looked_in(folder)}; give one that holds {holding}"
        )
    return Path(folder)


def _looked_in(path: str | Path) -> str:
    """Where a relative path was looked for, in words."""
    return "" if Path(path).is_absolute() else f" in {Path.cwd()}"


def find_parallel(folder: str | Path, source_language: str, target_language: str) -> dict[str, tuple[Path, Path]]:
    """Every pair `NAME.<source_language>[.gz]`, `NAME.<target_language>[.gz]` of a folder, by NAME.

    Raises FileNotFoundError where there is no such folder.
    """
    folder = data_dir(folder, f"train.{source_language}[.gz] and train.{target_language}[.gz]")
    sources, targets = _by_stem(folder, source_language), _by_stem(folder, target_language)
    return {name: (sources[name], targets[name]) for name in sorted(sources.keys() & targets.keys())}


def _by_stem(folder: Path, language: str) -> dict[str, Path]:
    """Files `NAME.language`, plain or `.gz`, by NAME; the plain one where both exist."""
    endings = (f".{language}.gz", f".{language}")
    return {
        path.name.removesuffix(ending): path
        for ending in endings
        for path in sorted(folder.iterdir())
        if path.name.endswith(ending) and path.is_file()
    }


def _unzip(path: Path) -> bytes:
    """Reads in chunks, so that the error can say how much of the file is whole."""
    chunks: list[bytes] = []
    try:
        with gzip.open(path) as file:
            while chunk := file.read(1 << 16):
                chunks.append(chunk)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        whole = sum(chunk.count(b"\n") for chunk in chunks)
        raise ValueError(
            f"{path} is a damaged .gz file, broken after line {whole} ({error}); fetch or compress it again"
        ) from None
    return b"".join(chunks)
