"""The table of word vectors: the bits of the file, found as the reader of the file finds them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from taglm_core.corpus.vector_table import TABLE_FILE, VectorTable, write_rows, write_vector_table
from taglm_core.corpus.word_vectors import read_vectors
from taglm_core.errors import DamagedObject
from tests.exports import vector_file

ASKED = {"Anna", "SAW", "1999", "Émile", "émile", "Zoe", "new", "", "a\ud800"}


def test_it_finds_what_the_file_has(tmp_path: Path) -> None:
    """As written, in lower case, digits as 0: the same words and bits as from the file."""
    file = vector_file(tmp_path)
    assert write_vector_table(file, tmp_path / "table") == 11
    table, expected = VectorTable(tmp_path / "table"), read_vectors(file, ASKED - {"", "a\ud800"})
    found = table.find(ASKED)
    assert len(table) == 11
    assert set(found) == set(expected.words) == {"Anna", "SAW", "1999", "Émile", "new"}
    for word, vector in zip(expected.words, expected.matrix, strict=True):
        assert np.array_equal(found[word], vector)
    write_vector_table(file, tmp_path / "again")
    assert (tmp_path / "again" / TABLE_FILE).read_bytes() == (tmp_path / "table" / TABLE_FILE).read_bytes()


def test_every_word_of_a_large_table_is_found(tmp_path: Path) -> None:
    """Words in any order of code points; neighbours of theirs are not found."""
    words = [f"w{number}{'é東😀'[number % 3]}" for number in range(3000)]
    write_rows({word: np.full(2, number, np.float32) for number, word in enumerate(words)}, 2, tmp_path)
    found = VectorTable(tmp_path).find([*words, "w", "w3000", "zz", "w1"])
    assert {word: int(vector[0]) for word, vector in found.items()} == {word: n for n, word in enumerate(words)}


def test_a_damaged_table_says_so(tmp_path: Path) -> None:
    """Half a file, and none."""
    with pytest.raises(DamagedObject, match="export the tagger again"):
        VectorTable(tmp_path)
    write_rows({"a": np.zeros(2, np.float32)}, 2, tmp_path)
    path = tmp_path / TABLE_FILE
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DamagedObject, match="export the tagger again"):
        VectorTable(tmp_path)
