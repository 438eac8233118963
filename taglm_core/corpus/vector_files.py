"""Files of word vectors, row by row: GloVe, word2vec (text and binary), fastText (.vec).

`taglm_core.corpus.vector_layout` finds the format. Files stream, compressed ones too: memory holds one block, and the
vectors that were asked for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Set
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from taglm_core.corpus.content import fill
from taglm_core.corpus.files import read_blocks, refuse_nul, whole_lines
from taglm_core.corpus.vector_layout import (
    BLANKS,
    EXPECTED,
    FORMAT_REMEDY,
    Layout,
    VectorFormat,
    find_layout,
    is_number,
)
from taglm_core.errors import InputError

_MAX_WORD_BYTES = 2**16
_MOST_CUT_WORDS = 2
_BINARY_REMEDY = "the file is damaged, or written by another machine's rules: download it again, or give a text file"


@dataclass(frozen=True, slots=True)
class Rows:
    """Vectors found in a file.

    Attributes:
        vectors: vector [D] float32 of each wanted key in the file, the first of several.
        total: number of vectors in the file.
        dim: D.
        not_utf8: number of words that are not UTF-8 and match nothing.
    """

    vectors: dict[str, np.ndarray]
    total: int
    dim: int
    not_utf8: int = 0


def read_rows(path: Path, wanted: Set[str]) -> Rows:
    """Read the vectors of the wanted keys.

    A word of a text file may contain blanks, or be one: the values are the last fields of a line. Words that are not
    UTF-8 (some tools cut long words off) match nothing and are counted.

    Args:
        path: plain or compressed.
        wanted: keys as the file writes them.

    Raises:
        InputError: a line with another number of values, a value that is no finite number, another number of vectors
            than the first line promises, or no vectors at all; with the line, in binary files the vector's number.
            A text file in another encoding than UTF-8.
    """
    return _read(path, wanted)


def read_all(path: Path, *, most: int) -> Rows:
    """Read the vectors of all words, or of the first `most`; of what comes after these, only the form is checked.

    Words that are not UTF-8 are passed over.

    Args:
        path: plain or compressed.
        most: vectors to keep at most, all in memory.

    Raises:
        InputError: as `read_rows`; or no key is UTF-8.
    """
    rows = _read(path, None, most)
    if not rows.vectors:
        raise InputError(path, None, f"{rows.total:,} words, none of them UTF-8", "words in UTF-8", _BINARY_REMEDY)
    return rows


def _read(path: Path, wanted: Set[str] | None, most: float = math.inf) -> Rows:
    """Return the vectors of the wanted keys (None: of all), at most `most` of them."""
    layout = find_layout(path)
    is_binary = layout.format is VectorFormat.BINARY
    rows: dict[str, np.ndarray] = {}
    total = not_utf8 = beyond_ascii = 0
    for word, values, line in (_binary_records if is_binary else _text_records)(path, layout):
        total += 1
        key = word.decode("utf-8", errors="surrogateescape")  # no text holds surrogates, so those match nothing
        if not word.isascii():
            is_text = not any("\ud800" <= sign <= "\udfff" for sign in key)
            beyond_ascii += is_text
            not_utf8 += not is_text
            if wanted is None and not is_text:
                continue
        if key not in rows and len(rows) < most and (wanted is None or key in wanted):
            rows[key] = _from_bytes(path, key, values, total) if is_binary else _from_text(path, line, values)
    if not is_binary and not_utf8 > max(_MOST_CUT_WORDS, beyond_ascii):
        what = f"{not_utf8:,} words that are not UTF-8, and {beyond_ascii:,} beyond ASCII that are"
        remedy = fill(
            "convert the file (from Western European: `iconv -f WINDOWS-1252 -t UTF-8 {path} > {plain}`)", path
        )
        raise InputError(path, None, what, "words in UTF-8", remedy)
    return Rows(rows, total, layout.dim, not_utf8)


def _text_records(path: Path, layout: Layout) -> Iterator[tuple[bytes, bytes, int]]:
    """Yield the word, values and line of each vector of a text file. Blank lines may end it."""
    number = total = blank = 0
    has_header = layout.promised is not None
    lines = chain.from_iterable(block.removesuffix(b"\n").split(b"\n") for block in whole_lines(path, EXPECTED))
    for number, line in enumerate(map(bytes.rstrip, lines), 1):
        if number == 1 and has_header:
            continue
        if not line:
            blank = blank or number
            continue
        if blank:
            raise _wrong_width(path, blank, b"", 0, layout.dim)
        if b"\0" in line:
            refuse_nul(path, number)
        total += 1
        yield *_split_line(path, number, line, layout), number
    if has_header and total != layout.promised:
        remedy = f"correct line 1 to `{total} {layout.dim}`, or download the file again" if total else FORMAT_REMEDY
        raise InputError(path, number, f"{total:,} vectors", f"{layout.promised:,}, as line 1 says", remedy)


def _split_line(path: Path, number: int, line: bytes, layout: Layout) -> tuple[bytes, bytes]:
    """Split a line into its word and its values."""
    dim = layout.dim
    if line.count(b" ") == dim and line[:1] != b" " and b"\t" not in line and b"  " not in line:
        word, _, values = line.partition(b" ")
        return word, values
    fields = BLANKS.split(line)  # a blank at the beginning gives an empty field
    parts, last = fields[:-dim], fields[-dim:]
    if not parts:
        raise _wrong_width(path, number, line, len(fields) - 1, dim)
    if len(parts) > 1 and not parts[0]:
        parts = parts[1:]
    if len(parts) > 1 and layout.promised is None and is_number(parts[-1]) and not _is_plain(parts[-1], last):
        raise _wrong_width(path, number, line, len(fields) - 1, dim, b" ".join(parts))
    return b" ".join(parts) or b" ", b" ".join(last)


def _is_plain(field: bytes, values: list[bytes]) -> bool:
    """Return whether a number is not written like a value, and so belongs to the word: 4 in `iPhone 4 0.25 -0.5`."""
    return field.isdigit() and not any(value.isdigit() for value in values)


def _wrong_width(path: Path, number: int, line: bytes, found: int, dim: int, word: bytes = b"") -> InputError:
    """Return the error for a line with another number of values; `word` may be one that ends in a number."""
    shown, name = (text[:40].decode("utf-8", errors="replace") for text in (line, word))
    remedy = f"remove the line if it is a header, or {FORMAT_REMEDY}" if number == 1 else FORMAT_REMEDY
    if word:
        first = f"a first line with the numbers of words and of values, such as `400000 {dim}`"
        remedy = f"correct the line; if `{name}` is a word, add {first}"
    return InputError(path, number, f"{found} values ({shown!r})", f"{dim} as in other lines", remedy)


def _from_text(path: Path, line: int, text: bytes) -> np.ndarray:
    values = text.split(b" ")
    try:
        with np.errstate(over="ignore"):  # beyond float32: inf, refused below
            vector = np.array(list(map(float, values)), np.float64).astype(np.float32)
    except ValueError:
        index = next(index for index, value in enumerate(values) if not is_number(value))
    else:
        if np.isfinite(vector).all():
            return vector
        index = int(np.flatnonzero(~np.isfinite(vector))[0])
    shown = repr(values[index].decode("utf-8", errors="replace"))
    raise InputError(path, line, f"{shown} as value {index + 1}", "a finite number", FORMAT_REMEDY)


def _from_bytes(path: Path, key: str, values: bytes, number: int) -> np.ndarray:
    vector = np.frombuffer(values, "<f4").astype(np.float32)
    if np.isfinite(vector).all():
        return vector
    index = int(np.flatnonzero(~np.isfinite(vector))[0])
    what = f"{vector[index]} as value {index + 1} of vector {number:,} ({key!r})"
    raise InputError(path, None, what, "a finite number", _BINARY_REMEDY)


def _binary_records(path: Path, layout: Layout) -> Iterator[tuple[bytes, bytes, int]]:
    """Yield the word and the values of each vector of a binary file, and no line."""
    blocks = read_blocks(path)
    buffer = next(blocks)
    while b"\n" not in buffer:
        buffer += next(blocks)
    assert layout.promised is not None
    total, size, at = layout.promised, 4 * layout.dim, buffer.index(b"\n") + 1
    expected = f"{total:,} vectors of {layout.dim} values, as line 1 says"
    for number in range(1, total + 1):
        space = buffer.find(b" ", at)
        while space < 0 or len(buffer) < space + 1 + size:
            block = next(blocks, b"")
            if not block or (space < 0 and len(buffer) - at > _MAX_WORD_BYTES):
                what = "the end" if not block else f"a word of more than {_MAX_WORD_BYTES:,} bytes"
                raise InputError(path, None, f"{what} in vector {number:,}", expected, _BINARY_REMEDY)
            buffer, at = buffer[at:] + block, 0
            space = buffer.find(b" ", at)
        yield buffer[at:space].lstrip(b"\n"), buffer[space + 1 : space + 1 + size], 0
        at = space + 1 + size
    left = buffer[at:] + next(blocks, b"")
    if left.strip(b"\n"):
        raise InputError(path, None, f"more after vector {total:,}", expected, _BINARY_REMEDY)
