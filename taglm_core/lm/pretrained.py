"""Frozen word vectors of a file that a language model reads beside its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from taglm_core.corpus.vector_files import read_all
from taglm_core.corpus.word_vectors import WordVectors, candidate_keys, load_vectors, write_vectors

MOST_ROWS = (
    400_000  # of a file, frequent words first (GloVe 6B has as many); in no key: to change it, raise the version
)
NO_ROW = -1


@dataclass(frozen=True)
class PretrainedVectors:
    """Vectors of all words of a file: a language model will also meet words that its own text lacks.

    Attributes:
        words: R words as the file writes them.
        matrix: [R, D] float32.
        in_file: number of vectors in the file, including those left out.
    """

    words: tuple[str, ...]
    matrix: NDArray[np.float32]
    in_file: int

    @classmethod
    def read(cls, path: Path) -> PretrainedVectors:
        """Read the vectors of the first `MOST_ROWS` words of a file (formats: `taglm_core.corpus.vector_layout`).

        Raises:
            InputError: the file is missing or damaged.
        """
        rows = read_all(path, most=MOST_ROWS)
        return cls(tuple(rows.vectors), np.stack(list(rows.vectors.values())), rows.total)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.words)}

    def rows(self, words: Sequence[str]) -> NDArray[np.int64]:
        """Return the row of each word [n]: as written, else in lower case, else with digits as 0, else `NO_ROW`."""
        known = self._numbers
        keys = (candidate_keys(word) for word in words)
        return np.array([next((known[key] for key in its if key in known), NO_ROW) for its in keys], np.int64)

    def save(self, folder: Path) -> None:
        """Write `vectors.arrow`."""
        write_vectors(WordVectors(self.words, self.matrix, {"rows": self.in_file}), folder)

    @classmethod
    def load(cls, folder: Path) -> PretrainedVectors:
        """Read what `save` wrote."""
        vectors = load_vectors(folder)
        rows = vectors.coverage["rows"]
        assert isinstance(rows, int)
        return cls(vectors.words, vectors.matrix, rows)
