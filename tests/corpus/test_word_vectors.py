"""Word vectors: look-ups in order, coverage, and every malformed line named."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import zstandard

from taglm_core.corpus.vector_files import read_all
from taglm_core.corpus.vector_layout import find_layout
from taglm_core.corpus.word_vectors import load_vectors, read_vectors, write_vectors
from taglm_core.errors import DamagedObject, InputError

FILE = """the 0.1 0.2 0.3
The 1 2 3
rome -1e-3 5 6.5
0000 7 7 7
. . . 9 9 9
the 4 4 4
"""


def _write(folder: Path, text: str, name: str = "vectors.txt") -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


@pytest.mark.parametrize("name", ["vectors.txt", "vectors.txt.gz"])
@pytest.mark.parametrize("header", ["", "6 3\n"])
def test_lookup_order_and_coverage(tmp_path: Path, name: str, header: str) -> None:
    """Exact before lower case before zeroed digits, the first of two lines, each way counted in types and tokens."""
    needed = {"the": 10, "The": 5, "THE": 2, "Rome": 3, "1996": 4, "zebra": 1}
    vectors = read_vectors(_write(tmp_path, header + FILE, name), set(needed), counts=needed)
    assert vectors.words == ("1996", "Rome", "THE", "The", "the")
    assert vectors.matrix.dtype == np.float32
    np.testing.assert_allclose(
        vectors.matrix, [[7, 7, 7], [-1e-3, 5, 6.5], [0.1, 0.2, 0.3], [1, 2, 3], [0.1, 0.2, 0.3]], rtol=1e-6
    )
    assert vectors.coverage == {
        "exact": {"types": 2, "tokens": 15},
        "lower": {"types": 2, "tokens": 5},
        "digits": {"types": 1, "tokens": 4},
        "missing": {"types": 1, "tokens": 1},
        "rows": 6,
    }


def test_tabs_and_trailing_spaces_are_read(tmp_path: Path) -> None:
    """Other tools' separators give the same numbers."""
    path = _write(tmp_path, "a\t1\t2\nb 3  4 \n")
    assert read_vectors(path, {"a", "b"}).matrix.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a 1 2 3\nb 1 2\n", r"vectors\.txt:2: found 2 values \('b 1 2'\); expected 3 as in other lines"),
        ("a 1 2 3\nb 1 2 3 4\n", r"vectors\.txt:2: found 4 values"),
        ("a 1 2 3\nb 1 x 3\n", r"vectors\.txt:2: found 'x' as value 2; expected a finite number"),
        ("a 1 2 3\nb 1 nan 3\n", r"vectors\.txt:2: found 'nan' as value 2; expected a finite number"),
        ("a 1 2 3\nb 1 1e99 3\n", r"vectors\.txt:2: found '1e99' as value 2; expected a finite number"),
        ("a 1 2 3\n\nb 1 2 3\n", r"vectors\.txt:2: found 0 values"),
        ("3 2\na 1 2\nb 1 2\n", r"vectors\.txt:3: found 2 vectors; expected 3, as line 1 says"),
        ("word\n", r"vectors\.txt:1: found no numbers at the ends of lines \('word'\)"),
        ("", r"vectors\.txt: found 0 vectors; expected at least one"),
        ("a 1 2\nb 1 2 3\nc 1 2 3\n", r"vectors\.txt:1: found 2 values .*expected 3 as in other lines"),
        ("a 1 2 3 4\nb 1 2 3\nc 1 2 3\n", r"vectors\.txt:1: found 4 values"),
        (
            "a 0.1 0.2\nWin 3.1 0.1 0.2\nb 0.1 0.2\n",
            r"vectors\.txt:2: found 3 values.*`Win 3\.1` is a word",
        ),
        ("3 2\na 1 2 3\nb 1 2 3\nc 1 2 3\n", r"vectors\.txt:1: .* 2 values a word; expected 3.*to `3 3`"),
        (
            "1 2\na 1 2\nb 1 2\n",
            r"vectors\.txt:3: found 2 vectors; expected 1, as.*line 1 to `2 2`",
        ),
        ("<!DOCTYPE html>\n<html>\n", r"vectors\.txt:1: found an HTML page"),
        ("a,1,2\nb,1,2\n", r"vectors\.txt:1: found no numbers at the ends of lines"),
        ("a 1 2\rb 1 2\r", r"vectors\.txt:1: found line ends of old Macs"),
        ("a 1 2\nb\0 1 2\n", r"vectors\.txt:2: found a NUL character"),
    ],
)
def test_malformed_lines_stop_with_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    """Too few or too many values, no numbers, a file shorter than it says: each is named."""
    with pytest.raises(InputError, match=message):
        read_vectors(_write(tmp_path, text), {"a", "b"})


NBSP = "\u00a0"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the 0.1 0.2\n  0.5 0.6\nof 3 4\n", {"the": [0.1, 0.2], " ": [0.5, 0.6], "of": [3, 4]}),
        ("  0.5 0.6\nthe 0.1 0.2\n", {" ": [0.5, 0.6], "the": [0.1, 0.2]}),
        ("2 2\n  0.5 0.6\nthe 0.1 0.2\n", {" ": [0.5, 0.6], "the": [0.1, 0.2]}),
        ("the\t0.1\t0.2\n \t0.5\t0.6\n", {" ": [0.5, 0.6], "the": [0.1, 0.2]}),
        (f"the 0.1 0.2\n{NBSP} 0.5 0.6\n", {NBSP: [0.5, 0.6]}),
        (f"the\t0.1\t0.2\n10{NBSP}000\t3\t4\n", {f"10{NBSP}000": [3, 4]}),
        ("2 2\niPhone 4 0.1 0.2\nof 3 4\n", {"iPhone 4": [0.1, 0.2], "of": [3, 4]}),
        ("of 0.3 0.4\niPhone 4 0.1 0.2\na 0.1 0.2\n", {"iPhone 4": [0.1, 0.2]}),
        ("iPhone 4 0.1 0.2\nof 0.3 0.4\na 0.1 0.2\n", {"iPhone 4": [0.1, 0.2], "of": [0.3, 0.4]}),
        ("3 2\nWindows 3.1 0.1 0.2\nof 3 4\na 1 2\n", {"Windows 3.1": [0.1, 0.2]}),
        (" 2 2\nthe 1 2\nof 3 4\n", {"of": [3, 4]}),
        ("\ufeff2\t2 \r\nthe 1 2\r\nof 3 4\r\n", {"of": [3, 4]}),
        ("2 2\nthe 1 2\nof 3 4\n\n \n", {"of": [3, 4]}),
        ("5 1 2\n6 3 4\n7 5 6\n", {"6": [3, 4]}),
        (" the 0.1 0.2\n of 0.3 0.4\n", {"the": [0.1, 0.2], "of": [0.3, 0.4]}),
        ("<unk> 1e-5 -2E+3\nof 3 4\nof 5 6\n", {"<unk>": [1e-5, -2000], "of": [3, 4]}),
    ],
)
def test_unusual_words_and_lines_of_sound_files(tmp_path: Path, text: str, expected: dict[str, list[float]]) -> None:
    """Blanks as words and in them, numbers at their ends, header lines with more blanks, blank lines at the end."""
    vectors = read_vectors(_write(tmp_path, text), set(expected))
    assert vectors.words == tuple(sorted(expected))
    np.testing.assert_allclose(vectors.matrix, [expected[word] for word in vectors.words], rtol=1e-6)


@pytest.mark.parametrize("header", ["", "3 2\n"])
def test_a_word_cut_inside_a_character_is_counted_and_matches_nothing(tmp_path: Path, header: str) -> None:
    """One such word says nothing of the others; several, and no right ones, are another encoding."""
    path = tmp_path / "vectors.txt"
    path.write_bytes(header.encode() + b"ab\xe4\xb8 1 2\nthe 3 4\n\xc3\xa9t\xc3\xa9 5 6\n")
    vectors = read_vectors(path, {"the", "\u00e9t\u00e9", "ab"})
    assert (vectors.words, vectors.not_utf8, vectors.coverage["rows"]) == (("the", "\u00e9t\u00e9"), 1, 3)
    assert set(read_all(path, most=9).vectors) == set(vectors.words)
    path.write_bytes("".join(f"\u00e9{number} 1 2\n" for number in range(9)).encode("latin-1"))
    with pytest.raises(InputError, match=r"9 words that are not UTF-8.*iconv -f WINDOWS-1252"):
        read_vectors(path, {"the"})


def _binary(folder: Path, rows: dict[str, list[float]], end: bytes = b"\n", name: str = "vectors.bin") -> Path:
    """A file as word2vec writes it (`end` after each vector), or gensim (nothing)."""
    dim = len(next(iter(rows.values())))
    parts = [f"{len(rows)} {dim}\n".encode()]
    for word, values in rows.items():
        parts += [word.encode("utf-8", "surrogateescape"), b" ", struct.pack(f"<{dim}f", *values), end]
    data = b"".join(parts)
    path = folder / name
    path.write_bytes(
        gzip.compress(data) if name.endswith(".gz") else zstandard.compress(data) if name.endswith(".zst") else data
    )
    return path


@pytest.mark.parametrize("end", [b"\n", b""], ids=["word2vec", "gensim"])
@pytest.mark.parametrize("name", ["v.bin", "v.bin.gz", "v.txt.zst"])
def test_binary_files_give_what_text_gives(tmp_path: Path, end: bytes, name: str) -> None:
    """The same vectors and coverage from binary as from text, whatever the file is called and however it is packed."""
    generator = np.random.default_rng(0)
    rows = {f"w{number}" if number else "New_York": generator.normal(size=9).round(3).tolist() for number in range(500)}
    rows["bad\udcff"] = [0.0] * 9  # a word cut off inside a character, as some tools write
    rows |= {f"last{number}": [10 + number] * 9 for number in range(3)}
    text = "".join(f"{word.replace(chr(0xDCFF), '')} {' '.join(map(str, values))}\n" for word, values in rows.items())
    needed = {"New_York", "W3", "w499", "last2", "absent"}
    expected = read_vectors(_write(tmp_path, f"{len(rows)} 9\n{text}"), needed)
    found = read_vectors(_binary(tmp_path, rows, end, name), needed)
    assert (found.words, found.coverage) == (expected.words, expected.coverage)
    np.testing.assert_array_equal(found.matrix, expected.matrix)


def test_binary_files_larger_than_a_block(tmp_path: Path) -> None:
    """Vectors that lie across the borders of blocks come out whole."""
    rows = {f"word{number}": [float(number)] * 300 for number in range(4_000)}  # 4.8 MB
    needed = {f"word{number}" for number in range(0, 4_000, 7)}
    found = read_vectors(_binary(tmp_path, rows), needed)
    assert found.matrix.tolist() == [rows[word] for word in found.words]
    assert len(found.words) == len(needed)


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"the 1 2\n", "glove"),
        (b"2 3\nthe 1 2 3\n", "text"),
        ("2 3\n\u00e9t\u00e9 1 2 3\n".encode(), "text"),
        ("2 3\n\u00e9t\u00e9 1 2 3\n".encode("latin-1"), "text"),
        (b"2 3\nthe 1 x 3\n", "text"),
        (b"2 3\nthe " + struct.pack("<3f", 1, 2, 3), "binary"),
        (b"2 3\nthe " + struct.pack("<3f", 0.0127, -0.2, 0.3), "binary"),
    ],
)
def test_formats_are_told_apart_by_their_beginning(tmp_path: Path, head: bytes, expected: str) -> None:
    """Also where the text is malformed or in another encoding: then the text's own error is the helpful one."""
    path = tmp_path / "x"
    path.write_bytes(head)
    assert find_layout(path).format == expected


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (b"PK\x03\x04glove", "found a zip archive.*unpack it"),
        (b"\xba\x16\x4f\x2f\x0c\0\0\0", r"found a fastText model.*\.vec"),
        (b"\x80\x04\x95", "found a Python pickle.*save_word2vec_format"),
        (b"2 3\nthe " + struct.pack("<3f", 1, 2, 3), "found the end in vector 2; expected 2 vectors of 3 values"),
        (b"1 3\nthe " + struct.pack("<4f", 1, 2, 3, 4), "found more after vector 1; expected 1 vectors"),
        (b"1 3\nthe " + struct.pack("<3f", 1, float("nan"), 3), r"nan as value 2 of vector 1 \('the'\)"),
        (b"1 3\nthe " + struct.pack("<2f", 1, 2), "found the end in vector 1"),
        (b"1 3\n" + b"\0" * 200_000, "found the end in vector 1"),
    ],
)
def test_other_files_and_damaged_binary_ones_are_named(tmp_path: Path, head: bytes, message: str) -> None:
    """What it is instead and what to do, or which vector is damaged."""
    path = tmp_path / "vectors"
    path.write_bytes(head)
    with pytest.raises(InputError, match=message):
        read_vectors(path, {"the"})


def test_written_vectors_come_back_in_the_same_bytes(tmp_path: Path) -> None:
    """Words, numbers and coverage survive the file; two writings are equal; an empty set of words too."""
    for needed in ({"the", "Rome", "no"}, {"no"}):
        vectors = read_vectors(_write(tmp_path, FILE), needed)
        first = write_vectors(vectors, tmp_path / "a").read_bytes()
        assert write_vectors(vectors, tmp_path / "b").read_bytes() == first
        loaded = load_vectors(tmp_path / "a")
        assert (loaded.words, loaded.coverage, loaded.dim) == (vectors.words, vectors.coverage, 3)
        np.testing.assert_array_equal(loaded.matrix, vectors.matrix)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    """A missing or cut-off vector file is a damaged object."""
    with pytest.raises(DamagedObject, match=r"vectors\.arrow"):
        load_vectors(tmp_path)
    path = write_vectors(read_vectors(_write(tmp_path, FILE), {"the"}), tmp_path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(DamagedObject, match=r"vectors\.arrow"):
        load_vectors(tmp_path)
