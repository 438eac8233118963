"""Shards of the embedding cache: the files that keep the states of tokens.

part-00000.arrow   a row a token, ROWS a record batch (fewer in the last), uncompressed: `states`, fixed_size_list[W] of
                   float16, float32 or int8; for int8 also `scales`, fixed_size_list<float32>[layers], the
                   factors of its numbers. A batch's buffers are its matrix, so reading copies once.

Axes: n tokens, W = layers * P numbers a token.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from taglm_core.errors import MismatchError
from taglm_core.store.durable import sync_folder

LARGEST = b"largest"
ROWS = 4_096  # a record batch
_BLOCK = 2**20

Precision = Literal["float16", "float32", "int8"]
_TYPES: Mapping[str, tuple[pa.DataType, type[np.generic]]] = {
    "float16": (pa.float16(), np.float16),
    "float32": (pa.float32(), np.float32),
    "int8": (pa.int8(), np.int8),
}


@dataclass(frozen=True, slots=True)
class CacheKey:
    """Origin and format of embeddings; opening a cache compares all fields.

    Attributes:
        language_model: content digest of the language model.
        corpus: content digest of the corpus.
        layers: layers whose states are joined, counted from 1.
        size: P, width of one layer's state.
        precision: precision of the stored numbers.
        context: `sentence` or `document`: the text over which the state is carried.
        token_map: task token -> LM token.
        version: STAGE_VERSION of the embeddings.
    """

    language_model: str
    corpus: str
    layers: tuple[int, ...]
    size: int
    precision: Precision
    context: str
    token_map: Mapping[str, str]
    version: int

    @property
    def width(self) -> int:
        """W, numbers a token."""
        return len(self.layers) * self.size

    @property
    def dtype(self) -> np.dtype[Any]:
        """The narrowest type that holds the stored states: float16 or float32."""
        return np.dtype(np.float16 if self.precision == "float16" else np.float32)

    @property
    def row_bytes(self) -> int:
        """Bytes of a token."""
        return self.width * np.dtype(_TYPES[self.precision][1]).itemsize + 4 * self.scales

    @property
    def scales(self) -> int:
        """Number of scales of a token: for int8 one per layer."""
        return len(self.layers) if self.precision == "int8" else 0


class Rows(NamedTuple):
    """Stored states of tokens: numbers [n, W], and their scales [n, layers] for int8, otherwise [n, 0]."""

    values: NDArray[Any]
    scales: NDArray[np.float32]


def encode(states: NDArray[np.float32], key: CacheKey) -> Rows:
    """Round finite states [n, W] to the precision of the key.

    int8 is symmetric: each layer's state of a token is divided by its largest magnitude / 127.
    """
    if key.precision != "int8":
        return Rows(states.astype(_TYPES[key.precision][1], copy=False), np.empty((len(states), 0), np.float32))
    parts = states.reshape(len(states), len(key.layers), key.size)
    scales = np.abs(parts).max(axis=2) / np.float32(127)
    numbers = np.rint(parts / np.where(scales == 0, np.float32(1), scales)[:, :, None])
    # scales near the smallest float32 are rounded so much that numbers may exceed 127
    return Rows(np.clip(numbers, -127, 127).astype(np.int8).reshape(states.shape), scales)


class Scratch:
    """A mapped file that takes the rows of a shard in any order; they lie in the page cache, not in this process.

    The constructor reserves all blocks: a full disk is then an error, and not a signal during writing.

    Args:
        path: the file; an existing one is replaced.
        rows: number of rows of the shard.
        key: format of the rows.

    Raises:
        OSError: the disk has no room for it.
    """

    def __init__(self, path: Path, rows: int, key: CacheKey) -> None:
        self._path, size = path, rows * key.row_bytes
        try:
            with path.open("wb+") as file:
                _reserve(file, size)
                mapped = mmap.mmap(file.fileno(), size)
        except BaseException:
            self.remove()
            raise
        scales = np.frombuffer(mapped, np.float32, rows * key.scales)
        values = np.frombuffer(mapped, _TYPES[key.precision][1], rows * key.width, offset=scales.nbytes)
        self.rows = Rows(values.reshape(rows, key.width), scales.reshape(rows, key.scales))
        self.largest = 0.0  # largest magnitude of the stored states
        self._key = key

    def put(self, rows: NDArray[np.int64], states: NDArray[np.float32]) -> None:
        """Keep finite states [n, W] as rows `rows` [n]."""
        found = encode(states, self._key)
        self.rows.values[rows] = found.values
        self.rows.scales[rows] = found.scales
        self.largest = max(self.largest, float(np.abs(decode(found, self._key)).max(initial=0.0)))

    def remove(self) -> None:
        """Remove the file; the rows stay readable as long as somebody has them."""
        self._path.unlink(missing_ok=True)


def _reserve(file: IO[bytes], size: int) -> None:
    """Give a file its blocks now; a file system that copies on write may still run full when they are written."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
        return
    for start in range(0, size, _BLOCK):  # macOS
        file.write(bytes(min(_BLOCK, size - start)))
    file.flush()


def write_part(path: Path, rows: Rows, largest: float) -> None:
    """Write a shard under a new name, flush it to the disk, then rename it; its largest magnitude stands in it."""
    write_arrow(path, _schema(rows).with_metadata({LARGEST: repr(largest)}), _batches(rows))


def read_part(path: Path, rows: int, key: CacheKey) -> Part | None:
    """Return a finished shard; None if the file is absent, unreadable or has another number of rows."""
    try:
        part = Part(path, key)
    except (OSError, KeyError, pa.ArrowException, MismatchError):
        return None
    return part if len(part) == rows else None


class Part:
    """A mapped shard.

    Args:
        path: the file.
        key: required format.
        ahead: whether to map all pages now; mapping each at its first use takes twice the time.

    Attributes:
        values: views of the record batches [ROWS, W], fewer rows in the last.
        scales: views of their scales [ROWS, layers]; empty without scales.
        largest: largest magnitude of the states.

    Raises:
        MismatchError: the file holds numbers of another type or width, or batches of other sizes.
    """

    def __init__(self, path: Path, key: CacheKey, *, ahead: bool = False) -> None:
        reader = pa.ipc.open_file(_map_ahead(path) if ahead else pa.memory_map(str(path), "r"))
        batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
        wanted = pa.list_(_TYPES[key.precision][0], key.width)
        sizes = [batch.num_rows for batch in batches]
        if reader.schema.field("states").type != wanted or any(size != ROWS for size in sizes[:-1]):
            raise MismatchError(f"{path}: found {reader.schema.field('states').type} in batches of {sizes[:3]} rows; "
                                f"expected {wanted} in batches of {ROWS}; run the embed stage again")  # fmt: skip
        self._rows, self._key = sum(sizes), key
        self.largest = float((reader.schema.metadata or {})[LARGEST])
        self.values = [_matrix(batch.column("states"), key.width) for batch in batches]
        self.scales = [_matrix(batch.column("scales"), key.scales) for batch in batches] if key.scales else []

    def __len__(self) -> int:
        return self._rows

    def pieces(self, row: int, length: int) -> Iterator[tuple[int, Rows]]:
        """Yield rows `row .. row + length` as views into the file, each with its offset from `row`."""
        done = 0
        while done < length:
            number, first = divmod(row + done, ROWS)
            values = self.values[number][first : first + length - done]
            scales = self.scales[number][first : first + length - done] if self.scales else _NO_SCALES
            yield done, Rows(values, scales)
            done += len(values)

    def copy(self, row: int, length: int, out: NDArray[Any]) -> None:
        """Write the states of rows `row .. row + length` to `out` [length, W], multiplied by their scales."""
        for start, piece in self.pieces(row, length):
            _decode(piece, self._key, out[start : start + len(piece.values)])


_NO_SCALES = np.empty((0, 0), np.float32)


def decode(rows: Rows, key: CacheKey) -> NDArray[Any]:
    """Return the states [n, W] of stored rows, in the `dtype` of the key."""
    out = np.empty(rows.values.shape, key.dtype)
    _decode(rows, key, out)
    return out


def _map_ahead(path: Path) -> pa.NativeFile:
    flags = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)  # Linux
    with path.open("rb") as file:
        return pa.BufferReader(pa.py_buffer(mmap.mmap(file.fileno(), 0, flags=flags, prot=mmap.PROT_READ)))


def _decode(rows: Rows, key: CacheKey, out: NDArray[Any]) -> None:
    if not key.scales:
        out[:] = rows.values
        return
    shape = len(rows.values), len(key.layers), key.size
    out[:] = (rows.values.reshape(shape) * rows.scales[:, :, None]).reshape(rows.values.shape)


def _schema(rows: Rows) -> pa.Schema:
    types = {np.dtype(kind): arrow for arrow, kind in _TYPES.values()}
    columns = {"states": pa.list_(types[rows.values.dtype], rows.values.shape[1])}
    if rows.scales.shape[1]:
        columns["scales"] = pa.list_(pa.float32(), rows.scales.shape[1])
    return pa.schema(columns)


def _batches(rows: Rows) -> Iterator[pa.RecordBatch]:
    schema = _schema(rows)
    for start in range(0, len(rows.values), ROWS):
        parts = [part[start : start + ROWS] for part in rows if part.shape[1]]
        columns = [_column(part, field.type) for part, field in zip(parts, schema, strict=True)]
        yield pa.record_batch(columns, schema=schema)


def _column(part: NDArray[Any], kind: pa.DataType) -> pa.FixedSizeListArray:
    """Return a matrix as a column, without copying."""
    buffer = pa.py_buffer(np.ascontiguousarray(part))
    return pa.FixedSizeListArray.from_arrays(
        pa.Array.from_buffers(kind.value_type, part.size, [None, buffer]), type=kind
    )


def write_arrow(path: Path, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> None:
    """Write record batches under a new name, flush them to the disk, then rename."""
    temporary = path.with_name(f".{path.name}")
    try:
        with temporary.open("wb") as file:
            with pa.ipc.new_file(file, schema) as writer:
                for batch in batches:
                    writer.write_batch(batch)
            file.flush()
            os.fsync(file.fileno())  # a resumed run trusts files with final names
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def _matrix(column: pa.FixedSizeListArray, size: int) -> NDArray[Any]:
    """Return a view of a mapped column: [rows, size]."""
    values: NDArray[Any] = column.values.to_numpy(zero_copy_only=True)
    return values.reshape(-1, size)
