"""Frozen word vectors of new text, looked up as new words come: in a table of an export, or in the vector file."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from taglm_core.corpus.vector_table import VectorTable
from taglm_core.corpus.word_vectors import WordVectors, read_vectors
from taglm_core.errors import MismatchError
from taglm_core.tagging.trained import FrozenVectors
from taglm_core.tagging.words import TaggerWords, normalise

logger = logging.getLogger("taglm")
SAMPLES = 3


def samples(vectors: Sequence[WordVectors]) -> dict[str, list[float]]:
    """Return a few entries of the vector file of a tagger, by which the file is recognised later."""
    if not vectors or not vectors[0].words:
        return {}
    first = vectors[0]
    rows = np.unique(np.linspace(0, len(first.words) - 1, SAMPLES).astype(int))
    return {first.words[row]: [float(value) for value in first.matrix[row]] for row in rows}


class VectorSource(Protocol):
    """What has vectors of new words."""

    def frozen(self, sentences: Sequence[Sequence[str]]) -> FrozenVectors:
        """Return the frozen vectors of these sentences."""


class TableVectors:
    """The vectors that training did not have, from a table.

    Args:
        table: the table.
        words: trainable words of the tagger, which have vectors already.
        size: D of the tagger.
        expected: `samples` of the tagger; words that the table lacks are not compared.

    Raises:
        MismatchError: the tagger was trained with another file.
    """

    def __init__(
        self, table: VectorTable, words: TaggerWords, size: int, expected: Mapping[str, Sequence[float]]
    ) -> None:
        found = table.find(expected)
        if table.dim != size or any(
            not np.array_equal(vector, np.array(expected[word], np.float32)) for word, vector in found.items()
        ):
            raise MismatchError("the table of word vectors is not that of the tagger; export the tagger again")
        self._table, self._words, self._size = table, words, size

    def frozen(self, sentences: Sequence[Sequence[str]]) -> FrozenVectors:
        """Return the frozen vectors of these sentences."""
        tokens = dict.fromkeys(token for sentence in sentences for token in sentence)
        found = self._table.find(token for token in tokens if normalise(token) not in self._words.ids)
        matrix = np.stack(list(found.values())) if found else np.zeros((0, self._size), np.float32)
        return FrozenVectors.of(self._words, [WordVectors(tuple(found), matrix, {})])


class OnlineVectors:
    """The vectors that training did not have, by word.

    The file is read once when it is opened, and once in each call with words not met before; results are kept, also for
    words that the file lacks. A call with many sentences is therefore much faster than many calls.

    Args:
        path: the file that the tagger was trained with, in any of the formats of `taglm_core.corpus.vector_layout`.
        words: trainable words of the tagger, which have vectors already.
        size: D of the tagger.
        expected: `samples` of the tagger.

    Raises:
        MismatchError: the tagger was trained without a file, or with another one.
        InputError: the file cannot be read.
    """

    def __init__(self, path: Path, words: TaggerWords, size: int, expected: Mapping[str, Sequence[float]]) -> None:
        if not expected:
            raise MismatchError(f"{path}: the tagger was trained without a vector file; give none")
        found = read_vectors(path, expected.keys())
        same = found.dim == size and set(found.words) == set(expected)
        if not same or any(
            not np.array_equal(row, np.array(expected[word], np.float32))
            for word, row in zip(found.words, found.matrix, strict=True)
        ):
            raise MismatchError(
                f"{path}: {found.dim} values a word, and {', '.join(map(repr, expected))} are not as the tagger was "
                f"trained with ({size} values); give the file it was trained with"
            )
        self._path, self._words, self._size = path, words, size
        self._known: dict[str, np.ndarray | None] = {}

    def frozen(self, sentences: Sequence[Sequence[str]]) -> FrozenVectors:
        """Return the frozen vectors of these sentences."""
        tokens = dict.fromkeys(token for sentence in sentences for token in sentence)
        needed = [token for token in tokens if normalise(token) not in self._words.ids]
        new = {token for token in needed if token not in self._known}
        if new:
            found = read_vectors(self._path, new)
            self._known |= dict.fromkeys(new)
            self._known |= dict(zip(found.words, found.matrix, strict=True))
            logger.info("%s: vectors of %d of %d new words", self._path, len(found.words), len(new))
        rows = {token: vector for token in needed if (vector := self._known[token]) is not None}
        matrix = np.stack(list(rows.values())) if rows else np.zeros((0, self._size), np.float32)
        return FrozenVectors.of(self._words, [WordVectors(tuple(rows), matrix, {})])
