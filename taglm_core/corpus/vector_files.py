"""Files of word vectors, row by row: GloVe, word2vec (text and binary), fastText (.vec).

    GloVe               the 0.418 0.24968 ...               one line a word
    word2vec, fastText  3000000 300                         first the numbers of words and of values, then as above
    word2vec, binary    3000000 300 / the <300 float32>       the same first line, then words and little-endian values

The format is found by looking at the beginning, never by the file's name; `.gz` and `.zst` are read as they are. Files
stream: memory holds one block, and the vectors that were asked for.
"""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Iterator, Set
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np

from taglm_core.corpus.files import open_text, read_blocks
from taglm_core.errors import InputError


class VectorFormat(StrEnum):
    """How a file writes vectors; `text` is word2vec's text format, which fastText's .vec is as well."""

    GLOVE = "glove"
    TEXT = "text"
    BINARY = "binary"


@dataclass(frozen=True, slots=True)
class Rows:
    """What was found in a file.

    Attributes:
        vectors: [D] float32 of each key asked for and found; the first of several.
        total: vectors in the file.
        dim: D.
    """

    vectors: dict[str, np.ndarray]
    total: int
    dim: int


_HEADER = re.compile(rb"\s*(\d+) (\d+)\s*")
_HEAD_BYTES = 2**16
_MAX_WORD_BYTES = 2**16
_EXPECTED = "word vectors of GloVe, word2vec (text or binary) or fastText (.vec)"
_FORMAT_REMEDY = "give a text file with lines `word number number ...`, all of one length, or download it again"
_FOREIGN = (  # what people give instead, by its first bytes
    (b"\x1f\x8b", "gzip data", "give the file a name that ends in .gz"),
    (b"\x28\xb5\x2f\xfd", "zstandard data", "give the file a name that ends in .zst"),
    (b"PK\x03\x04", "a zip archive", "unpack it, and give the file of the size you want"),
    (b"\xba\x16\x4f\x2f", "a fastText model", "give the .vec file that comes with it"),
    (b"\x80", "a pickle, as gensim saves", "write it with `vectors.save_word2vec_format(path)`"),
    (b"\x93NUMPY", "a numpy array", "write lines `word number number ...`"),
    (b"\x89HDF", "an HDF5 file", "write lines `word number number ...`"),
)


def detect_format(path: Path) -> VectorFormat:
    """Finds out how a file writes vectors.

    Raises:
        InputError: not readable, or something else that is known: an archive, a model of fastText, a pickle.
    """
    head = next(read_blocks(path), b"")[: _HEAD_BYTES + 2**10]
    for magic, what, remedy in _FOREIGN:
        if head.startswith(magic):
            raise InputError(path, None, what, _EXPECTED, remedy)
    first, _, rest = head.partition(b"\n")
    header = _HEADER.fullmatch(first)
    if header is None:
        return VectorFormat.GLOVE
    return VectorFormat.BINARY if _is_binary(rest, int(header[2])) else VectorFormat.TEXT


def read_rows(path: Path, wanted: Set[str]) -> Rows:
    """Reads the vectors of the wanted keys.

    A word of a text file may contain spaces, as a few of GloVe's do: the numbers are the last fields of a line. Keys of
    a binary file that are no UTF-8 (some tools cut long words off) match nothing.

    Args:
        path: plain, `.gz` or `.zst`.
        wanted: keys as the file writes them.

    Raises:
        InputError: a line with another number of values, a value that is no finite number, another number of vectors
            than the first line promises, or no vectors at all; with the line, in binary files the vector's number.
    """
    return _read(path, wanted)


def read_all(path: Path, *, most: int) -> Rows:
    """Reads the vectors of all words, or of the first `most`; of what comes after these, only the form is checked.

    Keys of a binary file that are no UTF-8 are passed over.

    Args:
        path: plain, `.gz` or `.zst`.
        most: vectors to keep at most, all in memory.

    Raises:
        InputError: as `read_rows`; or no key is UTF-8.
    """
    rows = _read(path, None, most)
    if not rows.vectors:
        raise InputError(path, None, f"{rows.total:,} words, none of them UTF-8", "words in UTF-8", _BINARY_REMEDY)
    return rows


def _read(path: Path, wanted: Set[str] | None, most: float = math.inf) -> Rows:
    """The vectors of the wanted keys (None: of all), so many at most."""
    read = _read_binary if detect_format(path) is VectorFormat.BINARY else _read_text
    return read(path, wanted, most)


def _is_binary(rest: bytes, dim: int) -> bool:
    """Whether what follows a first line `N D` is no text."""
    fields = rest.partition(b"\n")[0].split()
    if len(fields) > dim and all(map(_is_number, fields[len(fields) - dim :])):
        return False
    sample = rest[: min(_HEAD_BYTES, 4 * dim + 2**8)]
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample)  # a character cut off at the end is none of the file's
    except UnicodeDecodeError:
        return True
    return b"\0" in sample


def _read_text(path: Path, wanted: Set[str] | None, most: float) -> Rows:
    rows: dict[str, np.ndarray] = {}
    dim = total = number = 0
    promised: int | None = None
    for number, line in open_text(path):
        line = line.rstrip()
        if number == 1 and re.fullmatch(r"\d+ \d+", line):
            promised, dim = map(int, line.split(" "))
            continue
        key, values = _split_line(path, number, line, dim)
        dim = dim or len(values)
        total += 1
        if key not in rows and len(rows) < most and (wanted is None or key in wanted):
            rows[key] = _parse(path, number, values)
    if not total or (promised is not None and total != promised):
        expected = "at least one" if promised is None else f"{promised:,}, as line 1 says"
        raise InputError(path, number or None, f"{total:,} vectors", expected, _FORMAT_REMEDY)
    return Rows(rows, total, dim)


def _split_line(path: Path, number: int, line: str, dim: int) -> tuple[str, list[str]]:
    """Splits a line into its word and its `dim` values (0: as many as there are)."""
    fields = line.split(" ")
    if "  " in line or "\t" in line:  # other separators than GloVe's, or a line of nothing
        fields = line.split()
    width = dim or len(fields) - 1
    if not fields or width < 1 or len(fields) <= width:
        expected = f"{dim} as in the lines before" if dim else "a word and its values"
        raise InputError(path, number, f"{max(len(fields) - 1, 0)} values ({line[:40]!r})", expected, _FORMAT_REMEDY)
    key, values = fields[:-width], fields[-width:]
    if len(key) > 1 and _is_number(key[-1]):
        # A word with spaces, or a value too many? GloVe's words with spaces end in no number.
        raise InputError(path, number, f"{len(fields) - 1} values ({line[:40]!r})", f"{width} values", _FORMAT_REMEDY)
    return " ".join(key), values


def _is_number(text: str | bytes) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _parse(path: Path, number: int, values: list[str]) -> np.ndarray:
    try:
        with np.errstate(over="ignore"):  # beyond float32: inf, refused below
            vector = np.array(list(map(float, values)), np.float64).astype(np.float32)
    except ValueError:
        place = next(place for place, value in enumerate(values) if not _is_number(value))
    else:
        if np.isfinite(vector).all():
            return vector
        place = int(np.flatnonzero(~np.isfinite(vector))[0])
    raise InputError(path, number, f"{values[place]!r} as value {place + 1}", "a finite number", _FORMAT_REMEDY)


def _read_binary(path: Path, wanted: Set[str] | None, most: float) -> Rows:
    rows: dict[str, np.ndarray] = {}
    total, dim, records = _open_binary(path)
    for number, (word, values) in enumerate(records, 1):
        key = word.decode("utf-8", errors="surrogateescape")  # no text holds surrogates, so those match nothing
        if key not in rows and len(rows) < most and (_is_text(key) if wanted is None else key in wanted):
            vector = np.frombuffer(values, "<f4").astype(np.float32)
            if not np.isfinite(vector).all():
                place = int(np.flatnonzero(~np.isfinite(vector))[0])
                what = f"{vector[place]} as value {place + 1} of vector {number:,} ({key!r})"
                raise InputError(path, None, what, "a finite number", _BINARY_REMEDY)
            rows[key] = vector
    return Rows(rows, total, dim)


def _is_text(key: str) -> bool:
    return not any("\ud800" <= sign <= "\udfff" for sign in key)


_BINARY_REMEDY = "the file is damaged, or written by another machine's rules: download it again, or give a text file"


def _open_binary(path: Path) -> tuple[int, int, Iterator[tuple[bytes, bytes]]]:
    """Number of vectors, values of each, and the (word, values) of each in turn."""
    blocks = read_blocks(path)
    first, _, rest = next(blocks).partition(b"\n")
    total, dim = map(int, first.split())
    if not total or not dim:
        raise InputError(path, 1, f"{total:,} vectors of {dim} values", "at least one of each", _BINARY_REMEDY)
    return total, dim, _binary_records(path, blocks, rest, total, dim)


def _binary_records(
    path: Path, blocks: Iterator[bytes], buffer: bytes, total: int, dim: int
) -> Iterator[tuple[bytes, bytes]]:
    size, at = 4 * dim, 0
    for number in range(1, total + 1):
        space = buffer.find(b" ", at)
        while space < 0 or len(buffer) < space + 1 + size:
            block = next(blocks, b"")
            if not block or (space < 0 and len(buffer) - at > _MAX_WORD_BYTES):
                what = "the end" if not block else f"a word of more than {_MAX_WORD_BYTES:,} bytes"
                expected = f"{total:,} vectors of {dim} values, as line 1 says"
                raise InputError(path, None, f"{what} in vector {number:,}", expected, _BINARY_REMEDY)
            buffer, at = buffer[at:] + block, 0
            space = buffer.find(b" ", at)
        yield buffer[at:space].lstrip(b"\n"), buffer[space + 1 : space + 1 + size]
        at = space + 1 + size
    left = buffer[at:] + next(blocks, b"")
    if left.strip(b"\n"):
        what = f"more after vector {total:,}"
        raise InputError(path, None, what, f"{total:,} vectors of {dim} values, as line 1 says", _BINARY_REMEDY)
