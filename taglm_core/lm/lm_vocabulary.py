"""Vocabulary of a language model: the boundary mark, classes of unknown words, and the most frequent words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from taglm_core.corpus.shapes import SHAPES, shape_class
from taglm_core.corpus.token_bytes import BOUNDARY

UNKNOWN_SINGLE = "<unk>"


@dataclass(frozen=True)
class LmVocabulary:
    """Vocabulary of one language model: entry 0 is the boundary mark, then unknown classes, then words by frequency.

    Attributes:
        words: the known words, most frequent first.
        shapes: whether unknown words have a class per shape instead of a single class.
    """

    words: tuple[str, ...]
    shapes: bool

    @classmethod
    def select(cls, words_file: Path, *, size: int, min_count: int, shapes: bool) -> LmVocabulary:
        """Select the most frequent words of a `words.parquet`: as many as fit in `size` entries beside the classes."""
        table = pq.read_table(words_file, columns=["word", "count"]).slice(1)  # row 0 is the boundary mark
        limit = max(0, size - 1 - (len(SHAPES) if shapes else 1))
        counts = table["count"].to_numpy()
        keep = min(limit, int(np.searchsorted(-counts, -min_count, side="right")))  # counts are falling
        return cls(tuple(table["word"].slice(0, keep).to_pylist()), shapes)

    @property
    def classes(self) -> int:
        """Number of unknown classes."""
        return len(SHAPES) if self.shapes else 1

    def __len__(self) -> int:
        return 1 + self.classes + len(self.words)

    @cached_property
    def _ids(self) -> Mapping[str, int]:
        return {BOUNDARY: 0} | {word: 1 + self.classes + rank for rank, word in enumerate(self.words)}

    def ids(self, tokens: Sequence[str]) -> NDArray[np.int64]:
        """Return the entries of words [n]; an unknown word has the entry of its class."""
        known = self._ids
        return np.array([known[token] if token in known else self._unknown(token) for token in tokens], np.int64)

    def is_unknown(self, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which entries are unknown classes."""
        return (ids >= 1) & (ids <= self.classes)

    def _unknown(self, token: str) -> int:
        return 1 + (shape_class(token) if self.shapes else 0)

    def save(self, path: Path) -> None:
        """Write as Parquet: one column `entry`, in order, classes included."""
        classes = [f"<{name}>" for name in SHAPES] if self.shapes else [UNKNOWN_SINGLE]
        pq.write_table(pa.table({"entry": [BOUNDARY, *classes, *self.words]}), path, compression="zstd")

    @classmethod
    def load(cls, path: Path, *, shapes: bool) -> LmVocabulary:
        """Read what `save` wrote."""
        entries = pq.ParquetFile(path).read()["entry"].to_pylist()  # read_table would import pandas
        return cls(tuple(entries[1 + (len(SHAPES) if shapes else 1) :]), shapes)
