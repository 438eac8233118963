"""All vectors of a file of word vectors as one table that is looked up without being loaded.

vector-table.arrow   words in the order of their UTF-8 bytes, and a vector each; memory-mapped, found by binary search
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from taglm_core.corpus.vector_files import read_all
from taglm_core.corpus.word_vectors import candidate_keys
from taglm_core.errors import DamagedObject

TABLE_FILE = "vector-table.arrow"
_NO_LIMIT = 2**31 - 1  # rows that an Arrow batch of strings can hold


def write_vector_table(source: Path, folder: Path) -> int:
    """Write the vectors of a file as a table; return the number of words.

    Words that are not UTF-8 are left out; of a word that occurs twice the first vector counts.

    Args:
        source: the file, in any of the formats of `taglm_core.corpus.vector_layout`.
        folder: folder of the table.

    Raises:
        InputError: the file is missing or damaged.
    """
    rows = read_all(source, most=_NO_LIMIT)
    return write_rows(rows.vectors, rows.dim, folder)


def write_rows(vectors: dict[str, NDArray[np.float32]], dim: int, folder: Path) -> int:
    """Write vectors [D] by word as a table; the same vectors give the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    words = sorted(vectors, key=str.encode)
    matrix = np.stack([vectors[word] for word in words]) if words else np.zeros((0, dim), np.float32)
    flat = pa.array(np.ascontiguousarray(matrix, np.float32).reshape(-1))
    schema = pa.schema([
        pa.field("word", pa.large_binary(), nullable=False),
        pa.field("vector", pa.list_(pa.float32(), dim), nullable=False),
    ])  # fmt: skip
    names = pa.array([word.encode() for word in words], pa.large_binary())
    batch = pa.record_batch([names, pa.FixedSizeListArray.from_arrays(flat, dim)], schema=schema)
    with pa.ipc.new_file(folder / TABLE_FILE, schema) as writer:
        writer.write_batch(batch)
    return len(words)


class VectorTable:
    """A table of word vectors; only what is looked up is read from disk.

    Args:
        folder: what `write_vector_table` wrote.

    Raises:
        DamagedObject: the file is missing or incomplete.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / TABLE_FILE
        try:
            self._map = pa.memory_map(str(path))
            batch = pa.ipc.open_file(self._map).get_batch(0)
        except (OSError, pa.ArrowInvalid) as error:
            reason = str(error).splitlines()[0]
            raise DamagedObject(
                f"{path}: found no readable file ({reason}), expected a table of word vectors; export the tagger again"
            ) from error
        words, vectors = batch.column("word"), batch.column("vector")
        _, offsets, data = words.buffers()
        self._offsets = np.frombuffer(offsets, np.int64, len(words) + 1)
        self._words = memoryview(data) if data is not None else memoryview(b"")
        self.dim = vectors.type.list_size
        values = vectors.values.buffers()[1]  # to_numpy would import pandas
        rows = np.frombuffer(values, np.float32, len(words) * self.dim) if len(words) else np.zeros(0, np.float32)
        self._vectors = rows.reshape(-1, self.dim)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def find(self, words: Iterable[str]) -> dict[str, NDArray[np.float32]]:
        """Return the vectors [D] of the words that have one: as written, else in lower case, else with digits as 0."""
        found = {}
        for word in words:
            for key in candidate_keys(word):
                row = self._row(key.encode("utf-8", errors="replace"))
                if row is not None:
                    found[word] = self._vectors[row]
                    break
        return found

    def _row(self, key: bytes) -> int | None:
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            word = bytes(self._words[self._offsets[middle] : self._offsets[middle + 1]])
            if word == key:
                return middle
            if word < key:
                low = middle + 1
            else:
                high = middle
        return None
