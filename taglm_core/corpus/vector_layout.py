"""The layout of a file of word vectors.

    GloVe               the 0.418 0.24968 ...               one line a word
    word2vec, fastText  3000000 300                         first the numbers of words and of values, then as above
    word2vec, binary    3000000 300 / the <300 float32>       the same first line, then words and little-endian values

The beginning of the file decides, never its name.
"""

from __future__ import annotations

import codecs
import re
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from taglm_core.corpus.content import describe_content, refuse_foreign
from taglm_core.corpus.files import BOM, read_blocks, refuse_old_line_ends
from taglm_core.errors import InputError

EXPECTED = "word vectors of GloVe, word2vec (text or binary) or fastText (.vec)"
FORMAT_REMEDY = "give a text file with lines `word number number ...`, all of one length, or download it again"
BLANKS = re.compile(rb"[ \t]+")

_HEADER = re.compile(rb"\s*(\d+)[ \t]+(\d+)\s*")
_HEAD_BYTES = 2**16
_MOST_HEAD_BYTES = 2**22
_LOOK_LINES = 1000
_FEW_LINES = 3
_REMEDIES: dict[str, str] = {  # where the general one is not the best
    "a zip archive": "unpack it (`unzip {path}`), and give the file of the size you want",
    "a Python pickle": "if gensim saved it, write it with `vectors.save_word2vec_format(path)`",
    **dict.fromkeys(
        (
            "a NumPy array",
            "a NumPy archive (.npz)",
            "a PyTorch file",
            "an HDF5 file",
            "a safetensors file",
            "a Parquet file",
            "an Arrow file",
            "a Feather file",
            "an SQLite database",
            "a DuckDB database",
        ),
        "write lines `word number number ...`",
    ),
}


class VectorFormat(StrEnum):
    """Formats of vector files; `text` is the text format of word2vec and of fastText (.vec)."""

    GLOVE = "glove"
    TEXT = "text"
    BINARY = "binary"


@dataclass(frozen=True, slots=True)
class Layout:
    """The layout of a file.

    Attributes:
        format: format of the vectors.
        dim: D, values of a vector.
        promised: number of vectors in the first line; None without such a line.
    """

    format: VectorFormat
    dim: int
    promised: int | None


def find_layout(path: Path) -> Layout:
    """Find out how a file writes vectors.

    Raises:
        InputError: the file is unreadable, has no vectors, or is another known kind: archive, fastText model, pickle.
    """
    head = _head(path)
    first, _, rest = head.removeprefix(BOM).partition(b"\n")
    header = _HEADER.fullmatch(first)
    if header is None:
        refuse_foreign(path, head, EXPECTED, _REMEDIES)
        refuse_old_line_ends(path, head)
        return Layout(VectorFormat.GLOVE, _usual_width(path, head.removeprefix(BOM)), None)
    promised, dim = map(int, header.groups())
    if not promised or not dim:
        raise InputError(path, 1, f"{promised:,} vectors of {dim} values", "at least one of each", FORMAT_REMEDY)
    if rest and _is_binary(rest, dim):
        return Layout(VectorFormat.BINARY, dim, promised)
    _require_width(path, rest, promised, dim)
    return Layout(VectorFormat.TEXT, dim, promised)


def is_number(text: bytes) -> bool:
    """Return whether Python reads text as a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _head(path: Path) -> bytes:
    """Return the beginning of a file, with at least two lines if it has them."""
    head = b""
    for block in read_blocks(path):
        head += block
        if (len(head) >= _HEAD_BYTES and head.count(b"\n") > 1) or len(head) >= _MOST_HEAD_BYTES:
            break
    return head


def _require_width(path: Path, text: bytes, promised: int, dim: int) -> None:
    """Refuse a first line whose number of values no line below has: values would be taken for words."""
    lines = _sample(text)
    if len(lines) >= _FEW_LINES and not any(dim in (_width(line), line.count(b" ")) for line in lines):
        usual = _usual_width(path, text)
        remedy = f"correct line 1 to `{promised} {usual}`, or download the file again"
        raise InputError(path, 1, f"the promise of {dim} values a word", f"{usual}, as the lines below have", remedy)


def _sample(text: bytes) -> list[bytes]:
    """Return the first lines that are not blank."""
    lines = text.split(b"\n")
    if len(text) >= _HEAD_BYTES and len(lines) > 1:
        lines.pop()  # its end may not be read yet
    return [line for line in lines[:_LOOK_LINES] if line.strip()]


def _usual_width(path: Path, text: bytes) -> int:
    """Return the number of values of most lines at a file's beginning: one damaged line does not decide."""
    lines = _sample(text)
    if not lines:
        raise InputError(path, None, "0 vectors", "at least one", FORMAT_REMEDY)
    ((width, _),) = Counter(map(_width, lines)).most_common(1)  # of equally many the first
    if width == 0:
        shown = repr(lines[0][:40].decode("utf-8", errors="replace"))
        what = describe_content(text) or f"no numbers at the ends of lines ({shown})"
        raise InputError(path, 1, what, EXPECTED, FORMAT_REMEDY)
    return width


def _width(line: bytes) -> int:
    """Count the values at the end of a line: numbers, all fields but the word (which may be a blank)."""
    fields = BLANKS.split(line.strip())
    numbers = next((at for at, field in enumerate(reversed(fields)) if not is_number(field)), len(fields))
    return min(numbers, len(fields) - (line[:1] not in (b" ", b"\t")))


def _is_binary(rest: bytes, dim: int) -> bool:
    """Return whether the bytes after a first line `N D` are no text."""
    fields = rest.partition(b"\n")[0].split()
    if len(fields) >= dim and all(map(is_number, fields[-dim:])):
        return False
    sample = rest[: min(_HEAD_BYTES, 4 * dim + 2**8)]
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample)  # a character cut off at the end is none of the file's
    except UnicodeDecodeError:
        return True
    return b"\0" in sample
