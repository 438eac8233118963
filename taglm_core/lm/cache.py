"""The embedding cache: LM states per token in Arrow files, memory-mapped.

part-00000.arrow   one column `states`, fixed_size_list<float16>[P], one record batch, uncompressed: the file's
                   bytes are the matrix, so reading a sentence is a view into the page cache
index.arrow        one row a sentence of the corpus: shard, first row, length, digest of its tokens; in the
                   metadata the language model and the corpus it belongs to
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from taglm_core.errors import MismatchError
from taglm_core.store.durable import sync_folder

INDEX = "index.arrow"
METADATA = b"taglm"


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """Where one sentence lies: rows `row .. row + length` of a shard."""

    shard: int
    row: int
    length: int
    digest: bytes


def token_digest(tokens: Sequence[str]) -> bytes:
    """Digest of a sentence's tokens: 16 bytes. Lengths are part of it, so ("a b",) and ("a", "b") differ."""
    parts = [token.encode() for token in tokens]
    sizes = np.array([len(part) for part in parts], "<i4").tobytes()
    return hashlib.blake2b(sizes + b"".join(parts), digest_size=16).digest()


def part_name(shard: int) -> str:
    """File name of a shard."""
    return f"part-{shard:05d}.arrow"


def write_part(path: Path, states: NDArray[np.float16]) -> None:
    """Write a shard's states [rows, P] under a new name, then rename."""
    values = pa.array(np.ascontiguousarray(states).reshape(-1), pa.float16())
    column = pa.FixedSizeListArray.from_arrays(values, states.shape[1])
    _write(path, pa.record_batch([column], names=["states"]))


def read_part(path: Path, rows: int, size: int) -> NDArray[np.float16] | None:
    """A finished shard's states [rows, P]; None where the file is absent, cannot be read, or has other sizes."""
    try:
        column = _map(path).column(0)
    except (OSError, pa.ArrowException):
        return None
    if len(column) != rows or column.type != pa.list_(pa.float16(), size):
        return None
    return _matrix(column, size)


def write_index(path: Path, entries: Sequence[IndexEntry], metadata: dict[str, Any]) -> None:
    """Write the index of a corpus's sentences, in their order."""
    batch = pa.record_batch(
        {
            "shard": pa.array([entry.shard for entry in entries], pa.int32()),
            "row": pa.array([entry.row for entry in entries], pa.int64()),
            "length": pa.array([entry.length for entry in entries], pa.int32()),
            "tokens": pa.array([entry.digest for entry in entries], pa.binary(16)),
        }
    ).replace_schema_metadata({METADATA: json.dumps(metadata, sort_keys=True)})
    _write(path, batch)


class EmbeddingCache:
    """Reads the embeddings of one corpus by one language model.

    Args:
        folder: an `embeddings` object.
        language_model: content digest of the language model they must be from.
        corpus: content digest of the corpus they must be of.

    Raises:
        MismatchError: they are from another language model or of another corpus.
    """

    def __init__(self, folder: Path, *, language_model: str, corpus: str) -> None:
        self._folder = folder
        index = _map(folder / INDEX)
        metadata = json.loads(index.schema.metadata[METADATA])
        for what, wanted in (("language_model", language_model), ("corpus", corpus)):
            if metadata[what] != wanted:
                raise MismatchError(
                    f"{folder}: these embeddings were made with {what} {metadata[what]}, "
                    f"but {what} {wanted} is asked for; run the embed stage for it"
                )
        self.size: int = metadata["size"]
        self._shard = index["shard"].to_numpy()
        self._row = index["row"].to_numpy()
        self._length = index["length"].to_numpy()
        self._tokens = index["tokens"]
        self._parts: dict[int, NDArray[np.float16]] = {}

    def __len__(self) -> int:
        return len(self._shard)

    def sentence(self, number: int) -> NDArray[np.float16]:
        """Embeddings of one sentence of the corpus: [n, P], a view into the mapped file."""
        start = int(self._row[number])
        return self._part(int(self._shard[number]))[start : start + int(self._length[number])]

    def check(self, sentences: Sequence[Sequence[str]]) -> None:
        """Compare the token digests of all sentences.

        Raises:
            MismatchError: another number of sentences, or a sentence with other tokens.
        """
        if len(sentences) != len(self):
            raise MismatchError(f"{self._folder}: embeddings of {len(self):,} sentences for {len(sentences):,}")
        for number, tokens in enumerate(sentences):
            if self._tokens[number].as_py() != token_digest(tokens):
                raise MismatchError(f"{self._folder}: sentence {number:,} has other tokens: {' '.join(tokens)[:200]}")

    def _part(self, shard: int) -> NDArray[np.float16]:
        if shard not in self._parts:
            column = _map(self._folder / part_name(shard)).column(0)
            self._parts[shard] = _matrix(column, self.size)
        return self._parts[shard]


def _write(path: Path, batch: pa.RecordBatch) -> None:
    temporary = path.with_name(f".{path.name}")
    with temporary.open("wb") as file:
        with pa.ipc.new_file(file, batch.schema) as writer:
            writer.write_batch(batch)
        file.flush()
        os.fsync(file.fileno())  # a resumed run trusts what has its final name
    temporary.replace(path)
    sync_folder(path.parent)


def _matrix(column: pa.FixedSizeListArray, size: int) -> NDArray[np.float16]:
    """A view of the mapped column: [rows, P]."""
    values: NDArray[np.float16] = column.values.to_numpy(zero_copy_only=True)
    return values.reshape(-1, size)


def _map(path: Path) -> pa.RecordBatch:
    reader = pa.ipc.open_file(pa.memory_map(str(path), "r"))
    return reader.get_batch(0)
