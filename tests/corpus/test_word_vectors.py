"""Word vectors: look-ups in order, coverage, and every malformed line named."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

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
        ("a 1 2 3\nb 1 2\n", r"vectors\.txt:2: found 2 values \('b 1 2'\); expected 3 as in the lines before"),
        ("a 1 2 3\nb 1 2 3 4\n", r"vectors\.txt:2: found 4 values"),
        ("a 1 2 3\nb 1 x 3\n", r"vectors\.txt:2: found 'x' as value 2; expected a finite number"),
        ("a 1 2 3\nb 1 nan 3\n", r"vectors\.txt:2: found 'nan' as value 2; expected a finite number"),
        ("a 1 2 3\nb 1 1e99 3\n", r"vectors\.txt:2: found '1e99' as value 2; expected a finite number"),
        ("a 1 2 3\n\nb 1 2 3\n", r"vectors\.txt:2: found 0 values"),
        ("3 2\na 1 2\nb 1 2\n", r"vectors\.txt:3: found 2 vectors; expected 3, as line 1 says"),
        ("word\n", r"vectors\.txt:1: found 0 values"),
        ("", r"vectors\.txt: found 0 vectors; expected at least one"),
    ],
)
def test_malformed_lines_stop_with_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    """Too few or too many values, no numbers, a file shorter than it says: each is named."""
    with pytest.raises(InputError, match=message):
        read_vectors(_write(tmp_path, text), {"a", "b"})


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
