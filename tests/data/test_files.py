"""Text files: what is right is read, what is wrong is said with file and line."""

import gzip

import pytest

from data.files import decode, find_parallel, read_lines, read_parallel, read_text
from tests.data.texts import write


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_reads_plain_and_gz(tmp_path, name):
    assert read_lines(write(tmp_path / name, ["über die Straße", " two ", ""])) == ["über die Straße", "two", ""]


def test_only_newlines_end_a_line(tmp_path):
    path = tmp_path / "a"
    path.write_bytes("\ufeffone\u2028still one\r\ntwo\x0bstill two".encode())
    assert read_lines(path) == ["one\u2028still one", "two\x0bstill two"]
    assert read_text(path) == "one\u2028still one\ntwo\x0bstill two"


@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_empty_file(tmp_path, content):
    path = tmp_path / "train.xx"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"train\.xx is empty"):
        read_lines(path)


def test_undecodable_byte_names_its_line(tmp_path):
    path = tmp_path / "train.xx"
    path.write_bytes("good\nüber\n".encode() + "schön\n".encode("latin1"))
    with pytest.raises(ValueError, match=r"train\.xx: line 3 holds byte 0xf6"):
        read_lines(path)


LANGUAGES = ["a short line, and one more\n", "ein Satz über Straßen\n", "Это русский текст из слов\n", "中文 句子\n"]


@pytest.mark.parametrize("text", LANGUAGES)
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
def test_wide_encodings_are_told_with_and_without_a_mark(tmp_path, encoding, text):
    path = tmp_path / "train.xx"
    path.write_bytes((text * 20).encode(encoding))
    name = encoding.upper().replace("-LE", "LE").replace("-BE", "BE")
    with pytest.raises(ValueError, match=rf"train\.xx is text in {name}, not UTF-8; .* iconv -f {name} -t"):
        read_lines(path)


@pytest.mark.parametrize(("encoding", "named"), [("cp1252", "CP1252"), ("latin1", "LATIN1")])
def test_the_likely_encoding_of_single_bytes_is_named(tmp_path, encoding, named):
    path = tmp_path / "train.xx"
    path.write_bytes("schöne Straße\n".encode(encoding) + ("“quoted”\n".encode("cp1252") if named == "CP1252" else b""))
    with pytest.raises(ValueError, match=f"iconv -f {named} -t UTF-8"):
        read_lines(path)


@pytest.mark.parametrize(
    "content",
    [
        b"abc\0def\0\n" * 200,
        b"col\0val\0" * 30 + b"\n",
        "w\u00f6rter\0".encode() * 40,
        b"\0" * 1000 + b"hello world\n" * 50,
        b"text " * 30 + b"\0" * 200,
        b"\0" * 8,
        b"\x7fELF\2\1\1" + b"\0" * 9 + b"\3\0>\0\1\0\0\0\xe0" * 50,
        bytes(range(256)) * 20,
    ],
)
def test_what_is_no_text_is_called_none(tmp_path, content):
    path = tmp_path / "train.xx"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"train\.xx is no text: .* give a text file, in UTF-8"):
        read_lines(path)


@pytest.mark.parametrize(
    "text", ["Привет мир\n", "你好世界，我们。\n", "नमस्ते दुनिया\n", "Γειά σου\n", "tiếng Việt\n", "a"]
)
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_wide_encodings_of_every_alphabet(text, encoding):
    name = encoding.upper().replace("-LE", "LE").replace("-BE", "BE")
    with pytest.raises(ValueError, match=f"is text in {name}, not UTF-8"):
        decode((text * 9).encode(encoding), "a file")


@pytest.mark.parametrize(
    ("encoding", "text"), [("koi8-r", "Привет мир"), ("gb18030", "你好世界"), ("shift_jis", "こんにちは")]
)
def test_no_western_encoding_is_advised_for_other_letters(encoding, text):
    with pytest.raises(ValueError, match="iconv -f ENCODING -t UTF-8, where ENCODING is such as CP1251 or GB18030"):
        decode(text.encode(encoding), "a file")


def test_gzip_without_its_ending_is_named(tmp_path):
    (tmp_path / "train.xx").write_bytes(gzip.compress(b"one\ntwo\n"))
    with pytest.raises(ValueError, match=r"is compressed by gzip; give it a name that ends in \.gz"):
        read_lines(tmp_path / "train.xx")


def test_every_text_of_utf_8_is_read(tmp_path):
    path = tmp_path / "a"
    path.write_bytes("".join(LANGUAGES).encode() + b"one NUL \0 among many letters\n")
    assert read_lines(path)[:4] == [line.strip() for line in LANGUAGES] and len(read_lines(path)) == 5


@pytest.mark.parametrize("end", ["", "\r"])
def test_carriage_returns_end_lines_alone_and_among_newlines(tmp_path, end):
    path = tmp_path / "a"
    path.write_bytes(b"one\rtwo\r\rfour" + end.encode())
    assert read_lines(path) == ["one", "two", "", "four"]
    path.write_bytes(b"one\rtwo\nthree\r\nfour\r\r\n" + end.encode())
    assert read_lines(path) == ["one", "two", "three", "four", *([""] if end else [])]


@pytest.mark.parametrize("damage", ["truncated", "garbled", "not gzip"])
def test_damaged_gz(tmp_path, damage):
    whole = gzip.compress("".join(f"line {i} of many\n" for i in range(40_000)).encode(), mtime=0)
    if damage == "truncated":
        content = whole[: len(whole) // 2]
    elif damage == "garbled":
        content = whole[:5000] + bytes(200) + whole[5200:]
    else:
        content = b"plain text\n"
    path = tmp_path / "train.xx.gz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"train\.xx\.gz is a damaged .gz file, broken after line \d+"):
        read_lines(path)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.xx is not a file"):
        read_lines(tmp_path / "nothing.xx")
    with pytest.raises(FileNotFoundError, match=r"data\.dir = .*nowhere is not a folder; give one that holds"):
        find_parallel(tmp_path / "nowhere", "xx", "yy")


def test_files_of_different_length_are_both_named(tmp_path):
    source, target = write(tmp_path / "a.xx", ["1", "2", "3"]), write(tmp_path / "a.yy", ["1", "2"])
    with pytest.raises(ValueError, match=r"a\.xx has 3 lines but .*a\.yy has 2;"):
        read_parallel(source, target)


def test_blank_lines_are_skipped_in_pairs_and_counted(tmp_path):
    source = write(tmp_path / "a.xx", ["one", "", "three", "four"])
    target = write(tmp_path / "a.yy", ["eins", "zwei", "  ", "vier"])
    read = read_parallel(source, target)
    assert (read.source, read.target) == (["one", "four"], ["eins", "vier"])
    assert len(read.notes) == 1 and "2 of 4 pairs skipped for a blank side, the first in line 2" in read.notes[0]


def test_pairs_are_found_by_ending(tmp_path):
    for name in ("train.xx", "train.yy.gz", "val.xx.gz", "val.yy", "alone.xx", "train.zz"):
        write(tmp_path / name, ["text"])
    found = find_parallel(tmp_path, "xx", "yy")
    assert {split: (a.name, b.name) for split, (a, b) in found.items()} == {
        "train": ("train.xx", "train.yy.gz"),
        "val": ("val.xx.gz", "val.yy"),
    }
